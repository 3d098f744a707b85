//! HTTP/1.1 by hand, from either side of the wire: what is sent is sent byte for byte, what comes is taken apart strictly.
//! Every wait ends after [`PATIENCE`], so that a hang is a failure with a name.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

/// One message, request or response.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    /// The head as it came, its last empty line included.
    pub(crate) raw: Vec<u8>,
    /// Names in lower case, in order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    fn parse(raw: &[u8]) -> Message {
        let text = String::from_utf8_lossy(raw);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Message { start, raw: raw.to_vec(), headers: lines.map(field).collect(), ..Message::default() }
    }

    pub(crate) fn status(&self) -> u16 {
        let code = self.start.strip_prefix("HTTP/1.").and_then(|s| s.get(2..5));
        code.and_then(|c| c.parse().ok()).unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    pub(crate) fn method(&self) -> &str {
        self.start.split(' ').next().unwrap()
    }

    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The only value of `name`.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} occurs {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.text()))
    }
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header field: {line:?}"));
    (name.to_ascii_lowercase(), value.trim().to_owned())
}

/// A connection.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    buf: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).unwrap();
        Wire::over(stream)
    }

    pub(crate) async fn connect(address: SocketAddr) -> Wire {
        Wire::new(within("connect", TcpStream::connect(address)).await.unwrap())
    }

    /// From an address of this machine's own: 127.0.0.2 and the like are clients of their own. An error where it is reset
    /// while it connects.
    pub(crate) async fn from(client: &str, address: SocketAddr) -> std::io::Result<Wire> {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(client.parse().unwrap(), 0)).unwrap();
        within("connect", socket.connect(address)).await.map(Wire::new)
    }

    /// With so small a window that what is not read stays with the sender.
    pub(crate) async fn narrow(address: SocketAddr) -> Wire {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        Wire::new(within("connect", socket.connect(address)).await.unwrap())
    }

    /// Ends with a reset instead of a farewell.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection of another kind.
    pub(crate) fn over(stream: S) -> Wire<S> {
        Wire { stream, buf: Vec::new() }
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within("send", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Reads once more; 0 at the end, a reset included.
    async fn fill(&mut self) -> usize {
        within("read", self.stream.read_buf(&mut self.buf)).await.unwrap_or(0)
    }

    /// What came up to and with `end`; `None` where the connection ended first.
    pub(crate) async fn upto(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buf.windows(end.len()).position(|w| w == end) {
                return Some(self.buf.drain(..at + end.len()).collect());
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buf.len() < n {
            if self.fill().await == 0 {
                return None;
            }
        }
        Some(self.buf.drain(..n).collect())
    }

    /// Everything until the connection ends.
    pub(crate) async fn end(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buf)
    }

    /// The same, then closes our side as well: who is owed that waits no longer.
    pub(crate) async fn gone(mut self) -> Vec<u8> {
        self.end().await
    }

    /// A head alone.
    pub(crate) async fn head(&mut self) -> Option<Message> {
        Some(Message::parse(&self.upto(b"\r\n\r\n").await?))
    }

    async fn chunked(&mut self, message: &mut Message) -> Option<()> {
        loop {
            let line = self.upto(b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n");
        }
        loop {
            let line = self.upto(b"\r\n").await?;
            if line == b"\r\n" {
                return Some(());
            }
            message.trailers.push(field(std::str::from_utf8(&line).unwrap().trim_end()));
        }
    }

    async fn framed(&mut self, message: &mut Message) -> Option<bool> {
        if message.header("transfer-encoding").is_some_and(|v| v == "chunked") {
            assert!(message.header("content-length").is_none(), "two framings: {message:?}");
            self.chunked(message).await?;
        } else if let Some(length) = message.header("content-length") {
            message.body = self.exactly(length.parse().unwrap()).await?;
        } else {
            return Some(false);
        }
        Some(true)
    }

    /// A whole request; `None` where the connection ended first.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        self.framed(&mut message).await?;
        Some(message)
    }

    /// A whole response; `None` where it broke off.
    pub(crate) async fn try_reply(&mut self) -> Option<Message> {
        let mut message = self.head().await?;
        if !matches!(message.status(), 100..=199 | 204 | 304) && !self.framed(&mut message).await? {
            message.body = self.end().await;
        }
        Some(message)
    }

    pub(crate) async fn reply(&mut self) -> Message {
        self.try_reply().await.expect("a whole response")
    }
}
