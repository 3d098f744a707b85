//! The requests, always the same ones in the same order, one after the other.
//!
//! They look like a browser's: a dozen fields, a cookie, now and then a form; a new connection for each hundred.
//! How it fails: an answer that is not 200, or none for a while, is an error.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::message;

/// Requests on one connection.
const PER_CONNECTION: u32 = 100;
/// One in so many sends a body.
const POSTS: u32 = 10;
/// Of so many bytes.
const FORM: usize = 256;
/// One in so many is traced: its sender has decided, since a draw would trace now ten and now fifteen of a thousand.
const TRACED: u32 = 100;
/// Clients in turn, from networks of three regions.
const CLIENTS: [&str; 4] = ["8.8.8.8", "193.99.144.80", "133.11.0.1", "2a00:1450:4001::8a"];
/// An answer under callgrind takes milliseconds, on a loaded machine a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `requests` times.
pub(super) async fn ask(port: u16, requests: u32) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    for n in 0..requests {
        if n % PER_CONNECTION == 0 && n > 0 {
            stream = TcpStream::connect(("127.0.0.1", port)).await?;
        }
        let exchange = exchange(&mut stream, n);
        let status =
            tokio::time::timeout(PATIENCE, exchange).await.with_context(|| format!("request {n}"))??;
        if status != 200 {
            bail!("request {n} was answered with {status}");
        }
    }
    Ok(())
}

async fn exchange(stream: &mut TcpStream, n: u32) -> Result<u16> {
    stream.write_all(&request(n)).await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the connection ended");
        }
        if let Some((head, status)) = message::response(&answer)?
            && answer.len() >= head.head + head.body
        {
            return Ok(status);
        }
    }
}

fn request(n: u32) -> Vec<u8> {
    let client = CLIENTS[n as usize % CLIENTS.len()];
    let post = n % POSTS == POSTS - 1;
    let (method, body) = if post { ("POST", "x".repeat(FORM)) } else { ("GET", String::new()) };
    let form = if post {
        format!("content-type: application/x-www-form-urlencoded\r\ncontent-length: {FORM}\r\n")
    } else {
        String::new()
    };
    let trace = if n % TRACED == TRACED / 2 {
        format!("traceparent: 00-4bf92f3577b34da6a3ce929d0e{n:06x}-00f067aa0ba902b7-01\r\n")
    } else {
        String::new()
    };
    format!(
        "{method} /items/{n}?page=2&sort=price HTTP/1.1\r\nhost: shop.example\r\n\
         user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
         accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
         accept-language: en-GB,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\n\
         referer: https://shop.example/items\r\ncookie: session=0123456789abcdef; theme=dark\r\n\
         sec-fetch-dest: document\r\nsec-fetch-mode: navigate\r\nsec-fetch-site: same-origin\r\n\
         x-forwarded-for: {client}\r\n{trace}{form}\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_and_some_have_a_body() {
        let mut posts = 0;
        for n in 0..100 {
            let bytes = request(n);
            let (head, path) = message::request(&bytes).unwrap().unwrap();
            assert_eq!(head.head + head.body, bytes.len());
            assert!(path.starts_with("/items/"));
            posts += usize::from(head.body == FORM);
        }
        assert_eq!(posts, 10);
    }
}
