//! Backends that follow a script byte for byte: whatever no decent server does.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wire::{Message, Wire};
use super::within;

/// What a scripted backend saw.
#[derive(Default)]
struct Log {
    accepted: AtomicUsize,
    requests: Mutex<Vec<Message>>,
}

/// One accepted connection.
pub(crate) struct Conn {
    wire: Wire,
    /// 1 for the first connection.
    pub(crate) nth: usize,
    log: Arc<Log>,
}

impl Conn {
    /// A whole request, logged; `None` at the end.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let request = self.wire.request().await?;
        self.log.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    pub(crate) fn reset(self) {
        self.wire.reset();
    }
}

impl Deref for Conn {
    type Target = Wire;
    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}

/// A listening script. Dropping it refuses further connections; those accepted play on.
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
    accepting: JoinHandle<()>,
}

impl Script {
    /// Plays `scene` on each connection.
    pub(crate) async fn start<F, Fut>(scene: F) -> Script
    where
        F: Fn(Conn) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let shared = Arc::clone(&log);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let nth = shared.accepted.fetch_add(1, SeqCst) + 1;
                tokio::spawn(scene(Conn { wire: Wire::new(stream), nth, log: Arc::clone(&shared) }));
            }
        });
        Script { address, log, accepting }
    }

    /// Answers every request on every connection with these bytes.
    pub(crate) async fn answering(bytes: impl Into<Vec<u8>>) -> Script {
        let bytes: Arc<[u8]> = bytes.into().into();
        Script::start(move |mut conn| {
            let bytes = Arc::clone(&bytes);
            async move {
                while conn.request().await.is_some() {
                    if conn.try_send(&bytes).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers every request with 200 and `name`.
    pub(crate) async fn named(name: &str) -> Script {
        Script::answering(ok(name)).await
    }

    /// Answers one request of each connection like that, once it is told `true`.
    pub(crate) async fn gated(name: &'static str) -> (watch::Sender<bool>, Script) {
        let (open, gate) = watch::channel(false);
        let backend = Script::start(move |mut conn| {
            let mut gate = gate.clone();
            async move {
                conn.request().await;
                gate.wait_for(|&open| open).await.unwrap();
                conn.send(ok(name)).await;
            }
        });
        (open, backend.await)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.log.accepted.load(SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Message> {
        self.log.requests.lock().unwrap().clone()
    }

    /// The one request it got.
    pub(crate) fn request(&self) -> Message {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A plain 200.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An address that refuses connections: bound for as long as the tests run, so that nobody else gets it, never listening.
pub(crate) fn refusing() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

/// A listener that nobody accepts from and whose queue is full, so that connecting hangs.
pub(crate) struct Deaf {
    pub(crate) address: SocketAddr,
    _listener: socket2::Socket,
    _queued: TcpStream,
}

impl Deaf {
    pub(crate) async fn start() -> Deaf {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let queued = within("filling the queue", TcpStream::connect(address)).await.unwrap();
        Deaf { address, _listener: listener, _queued: queued }
    }
}
