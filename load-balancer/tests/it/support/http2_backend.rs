//! Backends that speak HTTP/2 alone, each request answered by a function.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use hyper::http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// One request as it came, and the way to answer it.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
}

impl Call {
    /// Reads the body to its end; `None` where it broke off.
    pub(crate) async fn body(&mut self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(piece) = self.request.body_mut().data().await {
            let piece = piece.ok()?;
            let _ = self.request.body_mut().flow_control().release_capacity(piece.len());
            all.extend_from_slice(&piece);
        }
        Some(all)
    }

    /// Answers with 200 and this body.
    pub(crate) fn ok(&mut self, body: impl Into<Bytes>) {
        let mut stream = self.respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(body.into(), true).unwrap();
    }

    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }
}

/// A listening backend. Dropping it refuses further connections and ends those there are.
pub(crate) struct Http2Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<Request<()>>>>,
    accepting: JoinHandle<()>,
}

/// How many streams a connection of a backend may have, and requests it takes before it says GOAWAY.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) streams: u32,
    pub(crate) requests: usize,
}

impl Http2Backend {
    pub(crate) async fn start<F, Fut>(answer: F) -> Http2Backend
    where
        F: Fn(Call) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Http2Backend::bounded(Bounds { streams: 1_000, requests: usize::MAX }, answer).await
    }

    pub(crate) async fn bounded<F, Fut>(bounds: Bounds, answer: F) -> Http2Backend
    where
        F: Fn(Call) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Http2Backend::listening(bounds, None, answer).await
    }

    /// One that speaks TLS alone.
    pub(crate) async fn secure<F, Fut>(tls: TlsAcceptor, answer: F) -> Http2Backend
    where
        F: Fn(Call) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Http2Backend::listening(Bounds { streams: 1_000, requests: usize::MAX }, Some(tls), answer).await
    }

    async fn listening<F, Fut>(bounds: Bounds, tls: Option<TlsAcceptor>, answer: F) -> Http2Backend
    where
        F: Fn(Call) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, heads) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<_>>>::default());
        let ended = Arc::<AtomicUsize>::default();
        let over = Arc::clone(&ended);
        let (counted, seen) = (Arc::clone(&connections), Arc::clone(&heads));
        let accepting = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                let (answer, seen, over) = (answer.clone(), Arc::clone(&seen), Arc::clone(&over));
                let tls = tls.clone();
                all.spawn(async move {
                    match tls {
                        None => speak(stream, bounds, answer, &seen).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            speak(stream, bounds, answer, &seen).await;
                        }
                    }
                    over.fetch_add(1, SeqCst);
                });
            }
        });
        Http2Backend { address, connections, ended, heads, accepting }
    }

    /// Answers every request with its path.
    pub(crate) async fn echoing() -> Http2Backend {
        Http2Backend::start(|mut call| async move {
            if call.body().await.is_some() {
                let path = call.request.uri().path().to_owned();
                call.ok(path);
            }
        })
        .await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Connections that are over.
    pub(crate) fn ended(&self) -> usize {
        self.ended.load(SeqCst)
    }

    pub(crate) fn heads(&self) -> Vec<Request<()>> {
        self.heads.lock().unwrap().iter().map(head_of).collect()
    }
}

/// One connection, to its end.
async fn speak<S, F, Fut>(stream: S, bounds: Bounds, answer: F, seen: &Mutex<Vec<Request<()>>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Call) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    let handshake = builder.max_concurrent_streams(bounds.streams).handshake(stream);
    let Ok(mut connection) = handshake.await else { return };
    let mut taken = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        seen.lock().unwrap().push(head_of(&request));
        tokio::spawn(answer(Call { request, respond }));
        taken += 1;
        if taken == bounds.requests {
            connection.graceful_shutdown();
        }
    }
}

fn head_of<B>(request: &Request<B>) -> Request<()> {
    let mut head = Request::new(());
    *head.method_mut() = request.method().clone();
    *head.uri_mut() = request.uri().clone();
    *head.headers_mut() = request.headers().clone();
    head
}

impl Drop for Http2Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
