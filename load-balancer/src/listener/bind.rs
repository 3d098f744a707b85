//! Listening sockets: opened here, or taken over from whoever listened before; and accepting on them.
//!
//! One socket per worker where they are opened here. Sockets that were taken over are as many as they are: none may be left
//! without somebody who accepts on it, since the kernel has clients waiting on each, so workers share them in turn. None is
//! opened beside them: what would queue on it is lost if this process does not come to serve.

use std::cell::Cell;
use std::net::SocketAddr;
use std::task::Poll;

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections the kernel may hold before they are accepted.
const BACKLOG: i32 = 1_024;

/// Opens one listening socket per worker on the same address; port 0 takes a free one for all.
///
/// # Errors
/// Where the address is taken or not ours. A plain bind comes first, because SO_REUSEPORT would silently share the port
/// with another balancer.
pub fn bind(
    address: SocketAddr,
    workers: usize,
) -> std::io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let claim = socket(address, false)?;
    let address = claim.local_addr()?;
    drop(claim);
    let sockets: std::io::Result<Vec<_>> = (0..workers).map(|_| socket(address, true)).collect();
    Ok((address, sockets?))
}

fn socket(address: SocketAddr, share: bool) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Shares of `sockets` for so many workers: each socket is somebody's, and nobody has none.
///
/// # Errors
/// Where one cannot be duplicated for two workers that share it.
pub fn spread(
    sockets: &[std::net::TcpListener],
    workers: usize,
) -> std::io::Result<Vec<Vec<std::net::TcpListener>>> {
    let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for turn in 0..workers.max(sockets.len()) {
        let Some(socket) = sockets.get(turn % sockets.len().max(1)) else { break };
        shares[turn % workers.max(1)].push(socket.try_clone()?);
    }
    Ok(shares)
}

/// A worker's listening sockets; nearly always one.
pub struct Doors {
    sockets: Vec<TcpListener>,
    /// Which is looked at first: none is preferred.
    first: Cell<usize>,
}

impl Doors {
    /// Within a runtime.
    ///
    /// # Errors
    /// Where the runtime cannot watch them.
    pub fn new(sockets: Vec<std::net::TcpListener>) -> std::io::Result<Self> {
        let sockets: std::io::Result<_> = sockets.into_iter().map(TcpListener::from_std).collect();
        Ok(Doors { sockets: sockets?, first: Cell::new(0) })
    }

    /// The next client.
    ///
    /// # Errors
    /// What the system says, out of descriptors mostly.
    pub async fn accept(&self) -> std::io::Result<(TcpStream, SocketAddr)> {
        std::future::poll_fn(|cx| {
            let (n, first) = (self.sockets.len(), self.first.get());
            for at in (0..n).map(|turn| (first + turn) % n) {
                if let Poll::Ready(accepted) = self.sockets[at].poll_accept(cx) {
                    self.first.set((at + 1) % n);
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_socket_is_served_and_every_worker_serves() {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        for (sockets, workers, shares) in [(2, 2, [1, 1].as_slice()), (1, 3, &[1, 1, 1]), (5, 2, &[3, 2])] {
            let (address, open) = bind(here, sockets).unwrap();
            let spread = spread(&open, workers).unwrap();
            assert_eq!(spread.iter().map(Vec::len).collect::<Vec<_>>(), shares);
            assert!(spread.iter().flatten().all(|socket| socket.local_addr().unwrap() == address));
        }
        assert!(spread(&[], 2).unwrap().iter().all(Vec::is_empty));
    }

    #[tokio::test]
    async fn clients_of_any_socket_are_accepted() {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let (one, mut first) = bind(here, 1).unwrap();
        let (two, second) = bind(here, 1).unwrap();
        first.extend(second);
        let doors = Doors::new(first).unwrap();
        for address in [two, one, one, two] {
            let _client = TcpStream::connect(address).await.unwrap();
            let (accepted, _) = doors.accept().await.unwrap();
            assert_eq!(accepted.local_addr().unwrap(), address);
        }
    }
}
