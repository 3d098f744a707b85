//! Just enough HTTP/1.1 for the bench's own processes: where a message's head ends, and how long its body is.
//!
//! How it fails: what they never send each other (chunked bodies, heads over 32 fields) is an error, not a guess.

use std::io;

/// Fields a head may have.
const FIELDS_MAX: usize = 32;

/// The measures of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the head, its blank line included.
    pub(crate) head: usize,
    /// Bytes of the body, from Content-Length; none means no body.
    pub(crate) body: usize,
}

/// Reads a request's head and its path; `None` while it is incomplete.
pub(crate) fn request(bytes: &[u8]) -> io::Result<Option<(Head, &str)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let status = request.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = status else { return Ok(None) };
    let path = request.path.unwrap_or("/");
    Ok(Some((Head { head, body: body_length(request.headers)? }, path)))
}

/// Reads a response's head; `None` while it is incomplete.
pub(crate) fn response(bytes: &[u8]) -> io::Result<Option<(Head, u16)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let status = response.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(head) = status else { return Ok(None) };
    let code = response.code.unwrap_or(0);
    Ok(Some((Head { head, body: body_length(response.headers)? }, code)))
}

fn body_length(fields: &[httparse::Header<'_>]) -> io::Result<usize> {
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(io::Error::other)?;
            return text.trim().parse().map_err(io::Error::other);
        }
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other("chunked bodies are not for the bench"));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_measured() {
        let get = b"GET /bytes/7 HTTP/1.1\r\nhost: x\r\n\r\nrest";
        assert_eq!(request(get).unwrap(), Some((Head { head: 34, body: 0 }, "/bytes/7")));
        assert_eq!(request(&get[..20]).unwrap(), None);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(response(answer).unwrap(), Some((Head { head: 39, body: 12 }, 200)));
    }

    #[test]
    fn what_the_bench_does_not_speak_is_an_error() {
        assert!(response(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(request(b"\x00\x01").is_err());
    }
}
