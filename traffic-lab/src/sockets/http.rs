//! Just enough HTTP/1.1 for the lab's own two ends: where a message ends, and the few things said in its head.
//!
//! How it fails: what no balancer sends here (chunked bodies, heads over 48 fields) is an error, not a guess.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Fields a head may have: a balancer adds about ten to ours.
const FIELDS_MAX: usize = 48;

/// A request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Bytes of head and body.
    pub(crate) length: usize,
    /// Path and query.
    pub(crate) target: &'a str,
}

/// A response's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Bytes of head and body.
    pub(crate) length: usize,
    /// The status code.
    pub(crate) code: u16,
    /// Whether the connection ends with it.
    pub(crate) close: bool,
}

/// Reads a request's head; `None` while it is incomplete.
pub(crate) fn request(bytes: &[u8]) -> io::Result<Option<Request<'_>>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = status else { return Ok(None) };
    let target = request.path.unwrap_or("/");
    Ok(Some(Request { length: head + body_length(request.headers)?, target }))
}

/// Reads a response's head; `None` while it is incomplete.
pub(crate) fn response(bytes: &[u8]) -> io::Result<Option<Response>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let status = response.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = status else { return Ok(None) };
    let close = field(response.headers, "connection").is_some_and(|text| text.eq_ignore_ascii_case("close"));
    let length = head + body_length(response.headers)?;
    Ok(Some(Response { length, code: response.code.unwrap_or(0), close }))
}

fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> Option<&'a str> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(field.value).ok().map(str::trim)
}

fn body_length(fields: &[httparse::Header<'_>]) -> io::Result<usize> {
    if field(fields, "transfer-encoding").is_some() {
        return Err(io::Error::other("chunked bodies are not for the lab"));
    }
    field(fields, "content-length").map_or(Ok(0), |text| text.parse().map_err(io::Error::other))
}

/// Reads until `measure` finds a head, then until the message's end; the buffer then begins with the message.
pub(crate) async fn read<T>(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    measure: impl Fn(&[u8]) -> io::Result<Option<(T, usize)>>,
) -> io::Result<(T, usize)> {
    let (found, length) = loop {
        if !buffer.is_empty()
            && let Some(found) = measure(buffer)?
        {
            break found;
        }
        more(stream, buffer).await?;
    };
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Ok((found, length))
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_measured() {
        let get = b"GET /work?us=7 HTTP/1.1\r\nhost: x\r\n\r\nrest";
        assert_eq!(request(get).unwrap(), Some(Request { length: 36, target: "/work?us=7" }));
        assert_eq!(request(&get[..20]).unwrap(), None);
        let answer = b"HTTP/1.1 503 no\r\nX-Other: 3\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nab";
        let expected = Response { length: answer.len(), code: 503, close: true };
        assert_eq!(response(answer).unwrap(), Some(expected));
    }

    #[test]
    fn what_the_lab_does_not_speak_is_an_error() {
        assert!(response(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(request(b"\x00\x01").is_err());
    }
}
