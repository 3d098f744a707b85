//! Asking a balancer or a replica something, one request a connection: what control needs, not what is measured.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take: `/add` waits for the replicas it starts.
const WITHIN: Duration = Duration::from_secs(30);

/// Status and body of a request.
pub(crate) async fn call(address: &str, method: &str, target: &str, body: &str) -> Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let length = body.len();
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answered = tokio::time::timeout(WITHIN, exchange).await;
    let what = || format!("{method} http://{address}{target}");
    let answer = answered.map_err(std::io::Error::from).flatten().with_context(what)?;
    parse(&String::from_utf8_lossy(&answer)).with_context(what)
}

/// The body is all that follows the head: answers of control have a length, and the connection ends.
fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    if head.to_ascii_lowercase().contains("\r\ntransfer-encoding:") {
        bail!("an answer in chunks");
    }
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab";
        assert_eq!(parse(ok).unwrap(), (200, "ab".to_owned()));
        assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_err());
        assert!(parse("").is_err() && parse("nonsense\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_with_the_address() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = format!("{:#}", call(&free.to_string(), "GET", "/rep", "").await.unwrap_err());
        assert!(error.contains(&format!("GET http://{free}/rep")), "{error}");
    }
}
