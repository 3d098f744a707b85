//! One connection: a request written, its answer read.
//!
//! How it fails: as the socket does; [`reason`] has the word that a record keeps.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::answer::{self, Answer};

/// A connection, and what was read from it beyond the last answer.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// To the first of `addresses` that accepts.
    pub(crate) async fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        let stream = TcpStream::connect(addresses).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Whether it is still good for a request: silent, and not closed by the other side while nobody looked.
    pub(crate) fn idle(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends `message` and reads the answer.
    pub(crate) async fn exchange(&mut self, message: &[u8], to_head: bool) -> io::Result<Answer> {
        let written = match self.stream.try_write(message) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if written == message.len() {
            return answer::read(&mut self.stream, &mut self.buffer, to_head).await;
        }
        // A long body. It may be answered before it is sent, or refused; then the answer is what counts.
        let (mut read, mut write) = self.stream.split();
        let mut sent = false;
        let writing = async {
            sent = write.write_all(&message[written..]).await.is_ok();
            std::future::pending().await
        };
        let answered = tokio::select! {
            biased;
            answer = answer::read(&mut read, &mut self.buffer, to_head) => answer,
            never = writing => never,
        };
        answered.map(|answer| Answer { again: answer.again && sent, ..answer })
    }
}

/// In a word, why there is no answer.
pub(crate) fn reason(error: &io::Error) -> &'static str {
    /// Linux's errors for "too many open files", here and everywhere; std has no kind for them.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset",
        io::ErrorKind::UnexpectedEof => "closed",
        io::ErrorKind::TimedOut => "timeout",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
        io::ErrorKind::AddrNotAvailable => "no_port",
        io::ErrorKind::InvalidData => "nonsense",
        _ if error.raw_os_error().is_some_and(|code| TOO_MANY_FILES.contains(&code)) => "no_descriptor",
        _ => "other",
    }
}
