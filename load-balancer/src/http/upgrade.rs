//! After a 101: bytes both ways between two bare sockets, or a stream of HTTP/2 and one, until one side ends, nothing moves
//! for too long, or the process stops.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use lb_core::Tick;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::listener::Tunnel;
use crate::stage::Stage;
use crate::worker::Worker;

/// Bytes moved at once, each way.
const BUFFER: usize = 16 << 10;

/// Carries an upgraded connection to its end. `early` was read from the client behind its request.
pub async fn carry(worker: &Rc<Worker>, tunnel: Tunnel, client: impl AsyncRead + AsyncWrite, early: Bytes) {
    let Tunnel { live, mut exchange } = tunnel;
    let Some((upstream, greeting)) = live.upgraded().await else { return };
    let moved = Cell::new(worker.now());
    let (mut client_in, mut client_out) = tokio::io::split(client);
    let (mut upstream_in, mut upstream_out) = tokio::io::split(upstream);
    let both = async {
        let up = pump(worker, &mut client_in, &mut upstream_out, &early, &moved);
        let down = pump(worker, &mut upstream_in, &mut client_out, &greeting, &moved);
        // Where one direction has ended, the other may still have something to say; where one is broken, both are.
        tokio::try_join!(up, down)
    };
    let limit = worker.config().timeouts.tunnel_idle;
    let ended = tokio::select! {
        ended = both => ended.is_ok(),
        () = idle(worker, &moved, limit) => false,
        () = drained(worker) => false,
    };
    tracing::debug!(clean = ended, "tunnel ended");
    exchange.finish(worker.now());
}

async fn pump(
    worker: &Worker,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    first: &[u8],
    moved: &Cell<Tick>,
) -> std::io::Result<()> {
    to.write_all(first).await?;
    to.flush().await?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..n]).await?;
        // TLS may hold back what the socket did not take.
        to.flush().await?;
        moved.set(worker.now());
    }
}

/// Ends when a tunnel has had its time since the drain began.
async fn drained(worker: &Worker) {
    let mut stage = worker.shared.stage.clone();
    // Without a sender the process is ending, too.
    let _ = stage.wait_for(|&stage| stage == Stage::Draining).await;
    let limit = worker.config().timeouts.drain_tunnel;
    tokio::time::sleep(limit).await;
}

/// Ends when nothing has moved for `limit`; never, without one.
async fn idle(worker: &Worker, moved: &Cell<Tick>, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        let due = moved.get().after(limit);
        if worker.now() >= due {
            return;
        }
        tokio::time::sleep_until(worker.shared.clock.instant(due)).await;
    }
}
