//! Open-loop load: requests fall due at a fixed rate, whether or not earlier ones were answered.
//!
//! A latency is counted from when the request was due, not from when a connection was free to send it, so a proxy
//! that stalls is charged for every request it kept waiting (a closed loop would have asked less: coordinated
//! omission). Latencies are kept one by one, so percentiles are exact.
//! How it fails: what was due and not answered with 200, a while after the end at the latest, counts as an error.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use super::load::Load;
use super::message;
use super::summary::percentile;

/// Requests fall due on this grid: coarse enough to leave the core to the backends, fine beside a proxy's latency.
const GRID: Duration = Duration::from_micros(250);
/// How long after the end an answer may still come.
const GRACE: Duration = Duration::from_secs(5);
/// Room for one read.
const READ: usize = 64 << 10;

/// What to send, and how fast.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) connections: usize,
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) body: usize,
}

impl Plan {
    fn total(&self) -> usize {
        self.rate as usize * self.seconds as usize
    }

    /// When a request is due, after the start: its exact time, moved up to the grid.
    fn due(&self, index: usize) -> Duration {
        let exact = index as u64 * 1_000_000 / u64::from(self.rate);
        let grid = GRID.as_micros() as u64;
        Duration::from_micros(exact.div_ceil(grid) * grid)
    }
}

/// What all connections share.
#[derive(Debug)]
struct Run {
    plan: Plan,
    start: Instant,
    due: Arc<Semaphore>,
    next: Cell<usize>,
    latencies: RefCell<Vec<u64>>,
}

/// Runs the plan.
pub(crate) async fn run(plan: Plan) -> Result<Load> {
    let due = Arc::new(Semaphore::new(0));
    let start = Instant::now();
    let run = Rc::new(Run { plan, start, due, next: Cell::new(0), latencies: RefCell::default() });
    let permits = Arc::clone(&run.due);
    let ticker = std::thread::spawn(move || release(plan, start, &permits));
    LocalSet::new()
        .run_until(async {
            let mut connections = JoinSet::new();
            for _ in 0..plan.connections {
                connections.spawn_local(connection(Rc::clone(&run)));
            }
            let all = async { while connections.join_next().await.is_some() {} };
            let _unfinished =
                tokio::time::timeout(Duration::from_secs(u64::from(plan.seconds)) + GRACE, all).await;
        })
        .await;
    let elapsed = start.elapsed();
    let _ticker_ended = ticker.join();
    let mut latencies = run.latencies.take();
    latencies.sort_unstable();
    Ok(Load {
        requests: latencies.len() as u64,
        duration_us: elapsed.as_micros() as u64,
        p50_us: percentile(&latencies, 0.50),
        p90_us: percentile(&latencies, 0.90),
        p99_us: percentile(&latencies, 0.99),
        errors: (plan.total() - latencies.len()) as u64,
    })
}

/// Hands out a permit for each request as it falls due; a thread, because tokio's timer knows whole milliseconds only.
fn release(plan: Plan, start: Instant, due: &Semaphore) {
    let mut released = 0;
    while released < plan.total() {
        let mut count = 0;
        while released + count < plan.total() && plan.due(released + count) <= start.elapsed() {
            count += 1;
        }
        due.add_permits(count);
        released += count;
        if released < plan.total() {
            std::thread::sleep(plan.due(released).saturating_sub(start.elapsed()));
        }
    }
    due.close();
}

async fn connection(run: Rc<Run>) {
    let mut stream = None;
    let mut buffer = Vec::with_capacity(READ);
    let request = format!("GET /bytes/{} HTTP/1.1\r\nHost: {}\r\n\r\n", run.plan.body, run.plan.target);
    while run.next.get() < run.plan.total() {
        // The semaphore is closed after the last request fell due; permits left then are taken without it.
        if let Ok(permit) = run.due.acquire().await {
            permit.forget();
        }
        let index = run.next.get();
        if index >= run.plan.total() {
            return;
        }
        run.next.set(index + 1);
        match exchange(&mut stream, &mut buffer, run.plan.target, request.as_bytes()).await {
            Ok(()) => {
                let latency = run.start.elapsed().saturating_sub(run.plan.due(index));
                run.latencies.borrow_mut().push(latency.as_micros() as u64);
            }
            Err(_) => {
                stream = None;
                buffer.clear();
            }
        }
    }
}

/// One request and its whole answer, on the connection there is or a new one.
pub(super) async fn exchange(
    stream: &mut Option<TcpStream>,
    buffer: &mut Vec<u8>,
    target: SocketAddr,
    request: &[u8],
) -> io::Result<()> {
    let stream = match stream {
        Some(stream) => stream,
        None => {
            let fresh = TcpStream::connect(target).await?;
            fresh.set_nodelay(true)?;
            stream.insert(fresh)
        }
    };
    stream.write_all(request).await?;
    let mut left = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut body = match left {
            Some(left) => left,
            None => {
                let Some((head, code)) = message::response(buffer)? else { continue };
                if code != 200 {
                    return Err(io::Error::other("not 200"));
                }
                buffer.drain(..head.head);
                head.body
            }
        };
        let taken = body.min(buffer.len());
        buffer.drain(..taken);
        body -= taken;
        if body == 0 {
            return Ok(());
        }
        left = Some(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_due_at_the_rate_on_the_grid() {
        let target = SocketAddr::from(([127, 0, 0, 1], 1));
        let plan = Plan { target, connections: 1, rate: 10_000, seconds: 2, body: 100 };
        assert_eq!(plan.total(), 20_000);
        assert_eq!(plan.due(0), Duration::ZERO);
        assert_eq!(plan.due(1), GRID);
        assert_eq!(plan.due(10_000), Duration::from_secs(1));
    }
}
