//! The bare relay: parses heads, pools upstream connections, decides nothing. What it costs is what a proxy must cost.
//!
//! Backends take turns; no retry, no timeout, no header is touched.
//! How it fails: any error closes both connections, and the load generator counts it.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::message;

/// Room for one read, so that a large body moves in large pieces.
const READ: usize = 64 << 10;

/// The backends and the idle connections to each.
#[derive(Debug)]
struct Pool {
    backends: Vec<(SocketAddr, RefCell<Vec<TcpStream>>)>,
    next: Cell<usize>,
}

/// Serves for ever.
pub(crate) async fn serve(port: u16, backends: Vec<SocketAddr>) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let backends = backends.into_iter().map(|address| (address, RefCell::default())).collect();
    let pool = Rc::new(Pool { backends, next: Cell::new(0) });
    LocalSet::new()
        .run_until(async move {
            loop {
                let (client, _) = listener.accept().await?;
                tokio::task::spawn_local(converse(client, Rc::clone(&pool)));
            }
        })
        .await
}

async fn converse(mut client: TcpStream, pool: Rc<Pool>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(READ);
    loop {
        let Some(length) = read_message(&mut client, &mut buffer, |bytes| {
            Ok(message::request(bytes)?.map(|(head, _)| head.head + head.body))
        })
        .await?
        else {
            return Ok(());
        };
        let turn = pool.next.get();
        pool.next.set((turn + 1) % pool.backends.len());
        let (address, idle) = &pool.backends[turn];
        let pooled = idle.borrow_mut().pop();
        let mut upstream = match pooled {
            Some(stream) => stream,
            None => connect(*address).await?,
        };
        copy(&mut client, &mut upstream, &mut buffer, length).await?;
        let length = read_message(&mut upstream, &mut buffer, |bytes| {
            Ok(message::response(bytes)?.map(|(head, _)| head.head + head.body))
        })
        .await?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
        copy(&mut upstream, &mut client, &mut buffer, length).await?;
        idle.borrow_mut().push(upstream);
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until the head of a message is in the buffer; its length, or `None` at an end between messages.
async fn read_message(
    from: &mut TcpStream,
    buffer: &mut Vec<u8>,
    measure: impl Fn(&[u8]) -> io::Result<Option<usize>>,
) -> io::Result<Option<usize>> {
    loop {
        if !buffer.is_empty()
            && let Some(length) = measure(buffer)?
        {
            return Ok(Some(length));
        }
        if from.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// Sends a message of which the buffer holds the beginning; what follows it in the buffer stays there.
async fn copy(
    from: &mut TcpStream,
    to: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    let mut left = length;
    loop {
        let ready = buffer.len().min(left);
        to.write_all(&buffer[..ready]).await?;
        buffer.drain(..ready);
        left -= ready;
        if left == 0 {
            return Ok(());
        }
        if from.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
