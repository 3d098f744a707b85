//! Listening sockets that this process was started with: by the service manager, or by the balancer before it.
//!
//! Both say so by the same protocol (sd_listen_fds(3)): `LISTEN_FDS` sockets from descriptor 3 on, called as
//! `LISTEN_FDNAMES` says, `traffic`, `tls` or `admin`; one of another name is found by its address. The predecessor sends one
//! descriptor more, on which it is told who this process is, and that it is ready, or why it is not. How it fails: what does not fit the
//! configuration is an error that names both, and nothing is listened on.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use socket2::{Domain, SockRef, Type};

use crate::{StartError, listener};

mod passing;
pub(crate) mod systemd;
pub(crate) mod upgrade;

pub use upgrade::Predecessor;

/// What clients' sockets are called.
pub(crate) const TRAFFIC: &str = "traffic";
/// What those of clients with TLS are called.
pub(crate) const TLS: &str = "tls";
/// What operators' socket is called.
pub(crate) const ADMIN: &str = "admin";
/// What the predecessor's descriptor is called.
const PREDECESSOR: &str = "predecessor";
/// What it is called where this process is to start the successor, and to be gone.
const GO_BETWEEN: &str = "go-between";
/// The variable with the names.
const NAMES: &str = "LISTEN_FDNAMES";
/// What the predecessor is told first: the process id of its successor.
const PROCESS: &str = "PID=";
/// What the predecessor is told once it may go.
const READY: &str = "READY=1";
/// What begins the reason why it must stay.
const FAILED: &str = "FAILED=";

/// What this process was started with.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, TcpListener)>,
    predecessor: Option<Predecessor>,
    /// Its process.
    succeeds: Option<u32>,
    go_between: Option<UnixStream>,
}

impl Inherited {
    /// Takes what the environment names. To be called once, before there are threads.
    ///
    /// # Errors
    /// Where something is no listening TCP socket.
    pub fn from_env() -> Result<Inherited, String> {
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':');
        let mut found = ListenFd::from_env();
        let mut inherited = Inherited::default();
        for at in 0..found.len() {
            let name = names.next().unwrap_or_default();
            let odd = |what: &dyn std::fmt::Display| format!("the inherited socket {at}, {name:?}: {what}");
            if name == PREDECESSOR || name == GO_BETWEEN {
                let (family, kind) = (Domain::UNIX.into(), Type::STREAM.into());
                let line =
                    found.take_custom(at, family, kind, "unix stream socket").map_err(|error| odd(&error))?;
                if name == GO_BETWEEN {
                    inherited.go_between = line;
                } else {
                    inherited.predecessor = line.map(Predecessor);
                }
                continue;
            }
            let socket = found.take_tcp_listener(at).map_err(|error| odd(&error))?;
            let Some(socket) = socket else { continue };
            if !SockRef::from(&socket).is_listener().map_err(|error| odd(&error))? {
                return Err(odd(&"does not listen"));
            }
            // The service manager's need not be so, and a worker must never wait in a call.
            socket.set_nonblocking(true).map_err(|error| odd(&error))?;
            inherited.sockets.push((name.to_owned(), socket));
        }
        if let Some(predecessor) = &inherited.predecessor {
            let fault = |error| format!("the predecessor wants no successor: {error}");
            predecessor.meet().map_err(fault)?;
            inherited.succeeds = Some(predecessor.process().map_err(fault)?);
        }
        Ok(inherited)
    }

    /// Where this process is only to start the successor: does so, and says what came of it.
    pub(crate) fn pass_on(&self) -> Option<Result<(), String>> {
        let line = self.go_between.as_ref()?;
        Some(upgrade::pass_on(self, line).inspect_err(|why| {
            if let Ok(line) = line.try_clone() {
                Predecessor(line).failed(why);
            }
        }))
    }

    /// Takes the sockets called `name`, or listening on `address` under a name of the service manager's; none where there are
    /// none.
    ///
    /// # Errors
    /// Where one of that name listens elsewhere.
    pub(crate) fn take(&mut self, name: &str, address: SocketAddr) -> Result<Vec<TcpListener>, String> {
        let mut ours = Vec::new();
        for (called, socket) in std::mem::take(&mut self.sockets) {
            let fits = socket.local_addr().is_ok_and(|own| own.ip() == address.ip() && is_port(own, address));
            let named = called == name;
            if named && !fits {
                let own = socket.local_addr().map(|own| own.to_string()).unwrap_or_default();
                return Err(format!(
                    "listen.{name} = \"{address}\", but the inherited socket {name:?} listens on {own}: make them the same \
                     (another address needs a stop and a start)"
                ));
            }
            if named || (fits && ![TRAFFIC, TLS, ADMIN].contains(&called.as_str())) {
                ours.push(socket);
            } else {
                self.sockets.push((called, socket));
            }
        }
        Ok(ours)
    }

    /// Nothing may be left: clients would wait on it for ever.
    ///
    /// # Errors
    /// Where something is.
    pub(crate) fn used_up(&self) -> Result<(), String> {
        let Some((name, socket)) = self.sockets.first() else { return Ok(()) };
        let own = socket.local_addr().map(|own| own.to_string()).unwrap_or_default();
        Err(format!(
            "the inherited socket {name:?} on {own} is none of listen.traffic, listen.tls and listen.admin: give it that address, \
             or a FileDescriptorName= of traffic, tls or admin"
        ))
    }

    /// The process of the balancer that goes on until this one is ready.
    pub(crate) fn succeeds(&self) -> Option<u32> {
        self.succeeds
    }

    /// The way to that balancer.
    pub fn predecessor(&mut self) -> Option<Predecessor> {
        // It stays known that there is one: the socket is shared.
        self.predecessor.as_ref().and_then(|told| told.0.try_clone().ok()).map(Predecessor)
    }
}

/// Sockets that were inherited for this address, else new ones.
pub(crate) fn listen(
    name: &str,
    field: &'static str,
    address: SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<(SocketAddr, Vec<TcpListener>), StartError> {
    let sockets = inherited.take(name, address).map_err(StartError::Inherited)?;
    let fault = |source| StartError::Listen { field, address, source };
    match sockets.first() {
        Some(socket) => Ok((socket.local_addr().map_err(fault)?, sockets)),
        None => listener::bind(address, workers).map_err(fault),
    }
}

/// Whether `own` has the port that is wanted; nought is any.
fn is_port(own: SocketAddr, wanted: SocketAddr) -> bool {
    wanted.port() == 0 || own.port() == wanted.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    fn inherited(sockets: Vec<(&str, TcpListener)>) -> Inherited {
        let sockets = sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect();
        Inherited { sockets, ..Inherited::default() }
    }

    #[test]
    fn sockets_are_found_by_name_and_by_address() {
        let ((a, on_a), (b, on_b), (c, on_c)) = (listener(), listener(), listener());
        let mut all = inherited(vec![(TRAFFIC, a), ("load-balancer.socket", b), (TRAFFIC, c)]);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert_eq!(all.take(ADMIN, on_b).unwrap().len(), 1);
        let traffic = all.take(TRAFFIC, any).unwrap();
        let found: Vec<_> = traffic.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert_eq!(found, [on_a, on_c]);
        assert!(all.used_up().is_ok() && all.take(TRAFFIC, any).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let ((a, on_a), (b, on_b)) = (listener(), listener());
        let why = inherited(vec![(TRAFFIC, a)]).take(TRAFFIC, on_b).unwrap_err();
        assert!(why.contains("listen.traffic") && why.contains(&on_a.to_string()), "{why}");
        let mut all = inherited(vec![("x", b)]);
        assert!(all.take(TRAFFIC, on_a).unwrap().is_empty());
        let why = all.used_up().unwrap_err();
        assert!(why.contains("\"x\"") && why.contains(&on_b.to_string()), "{why}");
    }
}
