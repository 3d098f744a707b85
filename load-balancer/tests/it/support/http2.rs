//! HTTP/2 from the client's side: by the library for what decent clients do, by hand for what they do not.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use hyper::http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Wire, within};

/// A decent client's connection.
pub(crate) struct H2 {
    send: SendRequest<Bytes>,
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status().as_u16()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all: Vec<_> = self.head.headers().get_all(name).iter().collect();
        assert!(all.len() <= 1, "{name} occurs {} times: {all:?}", all.len());
        all.first().map(|value| value.to_str().unwrap())
    }
}

impl H2 {
    pub(crate) async fn connect(address: SocketAddr) -> H2 {
        let stream = within("connect", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        H2::over(stream).await
    }

    /// On a connection of another kind.
    pub(crate) async fn over<S>(stream: S) -> H2
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, connection) = within("handshake", h2::client::handshake(stream)).await.unwrap();
        H2 { send, connection: tokio::spawn(connection) }
    }

    /// Begins a request; what is to follow is sent by the other half.
    pub(crate) async fn begin(
        &mut self,
        request: Request<()>,
        end: bool,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await.unwrap();
        self.send.send_request(request, end).unwrap()
    }

    /// Sends all of it, and waits for all of the answer.
    pub(crate) async fn send(&mut self, request: Request<()>, body: &[u8]) -> Answer {
        let (answer, mut stream) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
        }
        whole(answer).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path), &[]).await
    }
}

/// A request for `path`.
pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://lab{path}")).body(()).unwrap()
}

/// The whole answer.
pub(crate) async fn whole(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = within("an answer", answer).await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = within("more of it", stream.data()).await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    let trailers = within("trailers", stream.trailers()).await?;
    Ok(Answer { head: Response::from_parts(head, ()), body, trailers })
}

/// One frame, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == Raw::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection by hand.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) wire: Wire<S>,
}

impl Raw {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RESET: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    pub(crate) async fn connect(address: SocketAddr) -> Raw {
        Raw::over(Wire::connect(address).await).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// With the preface and empty settings sent.
    pub(crate) async fn over(wire: Wire<S>) -> Raw<S> {
        let mut raw = Raw { wire };
        raw.wire.send(Raw::PREFACE).await;
        assert!(raw.send(Raw::SETTINGS, 0, 0, &[]).await);
        raw
    }

    /// Whether it could be sent.
    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.wire.try_send(frame(kind, flags, stream, payload)).await.is_ok()
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let head = self.wire.exactly(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = self.wire.exactly(length).await?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of one of these kinds.
    pub(crate) async fn until(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// All frames to the end of the connection.
    pub(crate) async fn rest(mut self) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Some(frame) = self.next().await {
            all.push(frame);
        }
        all
    }

    /// A GET on `stream`, complete.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) -> bool {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", "lab"), (":path", path)].map(bytes);
        self.send(Raw::HEADERS, Raw::END_STREAM | Raw::END_HEADERS, stream, &head(&fields)).await
    }
}

fn bytes((name, value): (&str, &str)) -> (Vec<u8>, Vec<u8>) {
    (name.into(), value.into())
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as HPACK's plainest form has them: literal, never indexed, no Huffman (RFC 7541, 6.2.2).
pub(crate) fn head(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            length(&mut out, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// An integer with a prefix of 7 bits (RFC 7541, 5.1).
fn length(out: &mut Vec<u8>, n: usize) {
    if n < 127 {
        return out.push(n as u8);
    }
    out.push(127);
    let mut rest = n - 127;
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
}
