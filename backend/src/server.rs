//! Listens, serves each connection, and stops in good order.
//!
//! hyper is driven directly rather than through `axum::serve`, for the counted connections and for `TCP_NODELAY`
//! (without it small answers wait up to 40 ms for the peer's acknowledgement). There is no idle timeout on purpose:
//! the balancer owns the pooled connections, and one that dies under a request in its hand would look like our fault.
//! How it fails: [`StartError`] says in one line why it cannot listen and what to do; out of file descriptors it goes
//! on with the connections it has and tries again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::app::App;
use crate::config::Config;
use crate::conn::Counted;
use crate::front::Front;
use crate::usage::Usage;
use crate::{register, routes};

/// Longest that a stop waits for requests under way; what is left is cut.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);

/// Pause after a failed accept (out of descriptors, mostly): long enough not to spin, short enough not to be noticed.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Why the server did not start; one line that says what to do.
#[derive(Debug)]
pub enum StartError {
    /// It cannot listen there.
    Bind(SocketAddr, io::Error),
    /// The metrics cannot be registered, such as for a bad label.
    Meters(prometheus::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => {
                let (ip, port) = (address.ip(), address.port());
                match error.kind() {
                    io::ErrorKind::AddrInUse => write!(
                        f,
                        "port {port} on {ip} is taken; stop what listens there, or choose another with --port or PORT \
                         (0 takes a free one)"
                    ),
                    io::ErrorKind::PermissionDenied => {
                        write!(
                            f,
                            "port {port} on {ip} is not allowed; choose one above 1023 with --port or PORT"
                        )
                    }
                    _ => write!(f, "cannot listen on {address}: {error}; see --bind and --port"),
                }
            }
            Self::Meters(error) => write!(f, "cannot set up the metrics: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A server that listens. Dropping it does not stop it; [`Running::stop`] does.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    app: Arc<App>,
    accepting: JoinHandle<()>,
    helpers: JoinSet<()>,
}

/// Listens, then serves in the background and, if told to, announces itself.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let wanted = SocketAddr::new(config.bind, config.port);
    let bind = |error| StartError::Bind(wanted, error);
    let listener = TcpListener::bind(wanted).await.map_err(bind)?;
    let address = listener.local_addr().map_err(bind)?;

    let usage = Usage::new();
    let app = App::new(config, usage.as_ref().map(Usage::limits)).map_err(StartError::Meters)?;
    let app = Arc::new(app);
    let accepting = tokio::spawn(accept(listener, app.clone()));
    let mut helpers = JoinSet::new();
    if let Some(usage) = usage {
        helpers.spawn(usage.watch(app.meters.clone()));
    }
    if let Some(register) = app.config.register.clone() {
        helpers.spawn(register::until_accepted(register, address));
    }
    Ok(Running { address, app, accepting, helpers })
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its state, for those who run it in their own process.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Accepts no more, lets requests under way end within [`STOP_WITHIN`]; true when all did. Streams of events
    /// and WebSockets end at once.
    pub async fn stop(mut self) -> bool {
        self.helpers.abort_all();
        self.app.stop();
        let abort = self.accepting.abort_handle();
        let ended = tokio::time::timeout(STOP_WITHIN, self.accepting).await.is_ok();
        // Its connections are in its own set and go with it.
        abort.abort();
        ended
    }
}

/// The listener's task: owns the connections, so that ending it ends them.
async fn accept(listener: TcpListener, app: Arc<App>) {
    let front = Front::new(app.clone(), routes::router(app.clone()));
    let mut connections = JoinSet::new();
    let stopping = app.stopping();
    tokio::pin!(stopping);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => {
                    connections.spawn(serve(stream, app.clone(), front.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept; trying again");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stopping => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One connection, until either side ends it; on a stop, until the request under way is answered.
async fn serve(stream: TcpStream, app: Arc<App>, front: Front) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let counted = Counted::new(stream, app.meters.clone());
    let connection = http1::Builder::new().serve_connection(TokioIo::new(counted), front).with_upgrades();
    tokio::pin!(connection);
    // An error here is a client that went away or spoke no HTTP; both are its own business.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = app.stopping() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
