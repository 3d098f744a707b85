//! Trivial backends in one process, six or more: any path answers 200 with 100 bytes, `/bytes/N` with N; keep-alive.
//!
//! They share the load generator's core, so they must cost little: one write per request, the answer made once. Beyond six they
//! share ports on further addresses of the loopback network, so that thousands leave ports to connections.
//! As a process of their own they print their addresses on one line, then serve until ended.
//! How it fails: a connection that sends what is not HTTP is closed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

use super::message;

/// How many there are; PERFORMANCE's figures are for six.
pub(crate) const COUNT: usize = 6;
/// Bytes of an ordinary answer.
pub(crate) const BODY: usize = 100;
/// The longest answer: 16 MiB, so that a typing error in a path cannot fill memory.
const BODY_MAX: usize = 16 << 20;
/// Room for one read; a load generator's request has about 60 bytes, a proxy's a few hundred.
const READ: usize = 4096;

/// Answers by body size, made at first use.
type Answers = Rc<RefCell<HashMap<usize, Rc<[u8]>>>>;

/// Takes an address for each.
pub(crate) async fn bind(count: usize) -> Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for index in 0..count {
        let port = match index.checked_sub(COUNT) {
            Some(_) => listeners[index % COUNT].local_addr()?.port(),
            None => 0,
        };
        listeners.push(TcpListener::bind(SocketAddr::from((host(index), port))).await?);
    }
    Ok(listeners)
}

/// The next loopback address for every six.
fn host(index: usize) -> Ipv4Addr {
    let turn = (index / COUNT) as u32;
    // The last octet is neither 0 nor 255.
    Ipv4Addr::new(127, 0, 0, 1 + (turn % 250) as u8).to_bits().saturating_add((turn / 250) << 8).into()
}

/// Prints the addresses and serves for ever.
pub(crate) async fn run(count: usize) -> Result<()> {
    let listeners = bind(count).await?;
    let addresses: io::Result<Vec<String>> =
        listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string())).collect();
    println!("{}", addresses?.join(" "));
    LocalSet::new().run_until(serve(listeners)).await;
    Ok(())
}

/// Serves on them for ever, within a [`LocalSet`].
pub(crate) async fn serve(listeners: Vec<TcpListener>) {
    let answers = Answers::default();
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn_local(accept(listener, Rc::clone(&answers)));
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(listener: TcpListener, answers: Answers) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(converse(stream, Rc::clone(&answers)));
    }
}

async fn converse(mut stream: TcpStream, answers: Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(READ);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some((head, path)) = message::request(&buffer)? {
            let answer = answer(&answers, path);
            let end = head.head + head.body;
            while buffer.len() < end {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            buffer.drain(..end);
            stream.write_all(&answer).await?;
        }
    }
}

fn answer(answers: &Answers, path: &str) -> Rc<[u8]> {
    let size = path.strip_prefix("/bytes/").and_then(|size| size.parse().ok()).unwrap_or(BODY).min(BODY_MAX);
    let make = || {
        let mut bytes =
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n")
                .into_bytes();
        bytes.resize(bytes.len() + size, b'x');
        bytes.into()
    };
    Rc::clone(answers.borrow_mut().entry(size).or_insert_with(make))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_six_have_an_address_of_their_own() {
        let hosts = [0, 5, 6, 1499, 1500, 9_999].map(|index| host(index).to_string());
        assert_eq!(hosts, ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.250", "127.0.1.1", "127.0.6.167"]);
    }

    #[test]
    fn the_path_sets_the_size_within_bounds() {
        let answers = Answers::default();
        let body = |path| {
            let answer = answer(&answers, path);
            message::response(&answer)
                .unwrap()
                .map(|(head, _)| (head.body, answer.len() - head.head))
                .unwrap()
        };
        assert_eq!(body("/health"), (100, 100));
        assert_eq!(body("/bytes/1024"), (1024, 1024));
        assert_eq!(body("/bytes/99999999999"), (BODY_MAX, BODY_MAX));
    }
}
