//! Reading a response to its last byte (RFC 9112): bodies by length, in chunks or to the connection's end.
//!
//! By hand over httparse rather than by an HTTP client: the time of the last byte is then taken right after the read that
//! brought it, with no second task in between, and a thousand answers that arrive together cost little each.
//! How it fails: what is no HTTP is `InvalidData`, an end in the middle `UnexpectedEof`.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Fields a head may have.
const FIELDS_MAX: usize = 100;
/// Bytes a head, a chunk's head or the trailers may have.
const HEAD_MAX: usize = 64 << 10;
/// Room for a first read: what most answers fit in, so that 10,000 connections need little memory.
const READ: usize = 2 << 10;
/// Room for one read of a long body.
const READ_LONG: usize = 64 << 10;
/// Bytes of a body that are kept, to see who answered.
const KEPT: usize = 4 << 10;

/// A whole response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body's first bytes.
    pub(crate) body: Vec<u8>,
    /// Whether another request may follow on the connection.
    pub(crate) again: bool,
}

/// What a head says: status, how the body ends, whether the connection stays.
type Head = (u16, Framing, bool);

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    Close,
}

/// Reads one response; `buffer` has what was read beyond the last one, and is left with what is beyond this one.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    to_head: bool,
) -> io::Result<Answer> {
    let mut reader = Reader { stream, buffer, answer: Answer::default() };
    let framing = loop {
        let (status, framing, again) = reader.whole(|bytes| head(bytes, to_head)).await?;
        reader.answer.status = status;
        reader.answer.again = again;
        // 1xx other than 101 only announces the response.
        if status >= 200 || status == 101 {
            break framing;
        }
    };
    match framing {
        Framing::Length(length) => reader.take(length).await?,
        Framing::Chunked => reader.chunks().await?,
        Framing::Close => reader.rest().await?,
    }
    let Reader { buffer, mut answer, .. } = reader;
    answer.again &= buffer.is_empty();
    Ok(answer)
}

struct Reader<'a, S> {
    stream: &'a mut S,
    buffer: &'a mut Vec<u8>,
    answer: Answer,
}

impl<S: AsyncRead + Unpin> Reader<'_, S> {
    /// Reads until `parse` finds something whole, and takes it out of the buffer.
    async fn whole<T>(&mut self, parse: impl Fn(&[u8]) -> io::Result<Option<(usize, T)>>) -> io::Result<T> {
        loop {
            if !self.buffer.is_empty()
                && let Some((length, found)) = parse(self.buffer)?
            {
                self.buffer.drain(..length);
                return Ok(found);
            }
            if self.buffer.len() > HEAD_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without end"));
            }
            self.more(READ).await?;
        }
    }

    async fn more(&mut self, room: usize) -> io::Result<()> {
        self.buffer.reserve(room);
        match self.stream.read_buf(self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Takes `left` bytes of body.
    async fn take(&mut self, mut left: u64) -> io::Result<()> {
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            self.keep(here);
            left -= here as u64;
            if left == 0 {
                return Ok(());
            }
            self.more(usize::try_from(left).unwrap_or(usize::MAX).clamp(READ, READ_LONG)).await?;
        }
    }

    async fn chunks(&mut self) -> io::Result<()> {
        loop {
            let size = self.whole(chunk_size).await?;
            if size == 0 {
                // Trailers, up to an empty line.
                while self.whole(line).await? > 0 {}
                return Ok(());
            }
            self.take(size).await?;
            if self.whole(line).await? > 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk is longer than it says"));
            }
        }
    }

    async fn rest(&mut self) -> io::Result<()> {
        loop {
            self.keep(self.buffer.len());
            match self.more(READ_LONG).await {
                Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                other => other?,
            }
        }
    }

    /// Takes `length` bytes out of the buffer, into what is kept while there is room.
    fn keep(&mut self, length: usize) {
        let room = KEPT.saturating_sub(self.answer.body.len()).min(length);
        self.answer.body.extend_from_slice(&self.buffer[..room]);
        self.buffer.drain(..length);
    }
}

/// A response's head and its length; nothing while it is incomplete.
fn head(bytes: &[u8], to_head: bool) -> io::Result<Option<(usize, Head)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = response.parse(bytes).map_err(nonsense)? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let mut again = response.version == Some(1);
    let mut framing = Framing::Close;
    let mut encoded = false;
    for field in response.headers.iter() {
        let value = std::str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("connection") {
            let has = |word| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(word));
            again = !has("close") && (again || has("keep-alive"));
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            let chunked = value.rsplit(',').next().is_some_and(|l| l.trim().eq_ignore_ascii_case("chunked"));
            framing = if chunked { Framing::Chunked } else { Framing::Close };
            encoded = true;
        } else if field.name.eq_ignore_ascii_case("content-length") && !encoded {
            let told = Framing::Length(value.parse().map_err(nonsense)?);
            if framing != Framing::Close && framing != told {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "two lengths"));
            }
            framing = told;
        }
    }
    if to_head || status < 200 && status != 101 || matches!(status, 204 | 304) {
        framing = Framing::Length(0);
    }
    again &= framing != Framing::Close && status != 101;
    Ok(Some((length, (status, framing, again))))
}

fn chunk_size(bytes: &[u8]) -> io::Result<Option<(usize, u64)>> {
    match httparse::parse_chunk_size(bytes) {
        Ok(httparse::Status::Complete(found)) => Ok(Some(found)),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "no chunk size")),
    }
}

/// The length of a line without its end.
fn line(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    Ok(end.map(|at| (at + 1, bytes[..at].trim_ascii_end().len())))
}

fn nonsense(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` in pieces of every length: whatever the network makes of a response, it is the same response.
    async fn answer(text: &[u8], to_head: bool) -> io::Result<Answer> {
        let once = read(&mut &*text, &mut Vec::new(), to_head).await;
        for size in 1..text.len().min(40) {
            let mut pieces = pieces_of(text, size);
            let again = read(&mut pieces, &mut Vec::new(), to_head).await;
            match (&once, &again) {
                // Bytes beyond the end are seen only if they came with it.
                (Ok(one), Ok(other)) => assert_eq!((one.status, &one.body), (other.status, &other.body)),
                (Err(one), Err(other)) => assert_eq!(one.kind(), other.kind()),
                _ => panic!("{once:?} and in pieces of {size} {again:?}"),
            }
        }
        once
    }

    fn pieces_of(text: &[u8], size: usize) -> impl AsyncRead + Unpin + '_ {
        struct Pieces<'a>(std::slice::Chunks<'a, u8>);
        impl AsyncRead for Pieces<'_> {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                into: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                if let Some(piece) = self.0.next() {
                    into.put_slice(piece);
                }
                std::task::Poll::Ready(Ok(()))
            }
        }
        Pieces(text.chunks(size))
    }

    async fn good(text: &str) -> (u16, String, bool) {
        let answer = answer(text.as_bytes(), false).await.unwrap();
        (answer.status, String::from_utf8(answer.body).unwrap(), answer.again)
    }

    #[tokio::test]
    async fn bodies_end_where_they_say() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nx: 1\r\n\r\n";
        assert_eq!(good(chunked).await, (200, "abcde".to_owned(), true));
        let length = "HTTP/1.1 503 no\r\nconnection: Close\r\ncontent-length: 2\r\n\r\nab";
        assert_eq!(good(length).await, (503, "ab".to_owned(), false));
        assert_eq!(good("HTTP/1.1 200 OK\r\n\r\nall of it").await, (200, "all of it".to_owned(), false));
        let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na";
        assert_eq!(good(old).await, (200, "a".to_owned(), true));
        let announced = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(good(announced).await, (204, String::new(), true));
        assert!(!good("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nabeyond").await.2);
    }

    #[tokio::test]
    async fn an_answer_to_head_has_no_body_and_long_bodies_are_not_kept() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n";
        let empty = answer(text, true).await.unwrap();
        assert!(empty.body.is_empty() && empty.again);
        let long = [&text[..], &[b'x'; 5000]].concat();
        assert_eq!(answer(&long, false).await.unwrap().body.len(), KEPT);
    }

    #[tokio::test]
    async fn what_is_cut_short_or_no_http_is_an_error() {
        let kind = async |text: &str| answer(text.as_bytes(), false).await.unwrap_err().kind();
        assert_eq!(kind("").await, io::ErrorKind::UnexpectedEof);
        assert_eq!(
            kind("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab").await,
            io::ErrorKind::UnexpectedEof
        );
        for text in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            assert_eq!(kind(text).await, io::ErrorKind::InvalidData, "{text}");
        }
    }
}
