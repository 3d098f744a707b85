//! The open loop: each request is sent when it is due, whether or not earlier ones were answered.
//!
//! A thread of its own watches the clock, since tokio's timer knows whole milliseconds only. Latency counts from when a
//! request was due, never from when it was sent, so a balancer is charged for whom it keeps waiting; by how much the
//! generator itself was late is recorded, so that a run on a busy machine can be told.
//! How it fails: a request that is not answered by its deadline is an error, and its connection is closed.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::demand::Demand;
use super::http;
use super::record::{End, Record};
use crate::clock;

/// How long a client waits.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// Connections at once; more requests than that wait for one, at the balancer's expense.
const CONNECTIONS: usize = 2000;
/// Room for one read: a lab answer has about 400 bytes.
const READ: usize = 2048;

/// A connection and what was read from it.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What all requests of a run share.
#[derive(Debug)]
struct Run {
    target: SocketAddr,
    start: Instant,
    warm_up: Duration,
    idle: RefCell<Vec<Connection>>,
    room: Semaphore,
    records: RefCell<Vec<Record>>,
}

/// Sends all, from now on, and returns what became of those that are measured. To be run in a `LocalSet`.
pub(crate) async fn run(target: SocketAddr, demands: &[Demand], warm_up: Duration) -> Result<Vec<Record>> {
    let start = clock::now();
    let (sender, mut due) = mpsc::unbounded_channel();
    let times: Vec<Duration> = demands.iter().map(|demand| demand.due).collect();
    let pacer =
        std::thread::Builder::new().name("pacer".to_owned()).spawn(move || pace(start, &times, &sender))?;
    let run = Rc::new(Run {
        target,
        start,
        warm_up,
        idle: RefCell::default(),
        room: Semaphore::new(CONNECTIONS),
        records: RefCell::default(),
    });
    let mut requests = JoinSet::new();
    while let Some(index) = due.recv().await {
        if let Some(demand) = demands.get(index) {
            requests.spawn_local(request(Rc::clone(&run), *demand));
        }
        // Those that have ended are forgotten here; the others end by their deadline.
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
    pacer.join().map_err(|_| anyhow!("the pacing thread broke"))?;
    Ok(run.records.take())
}

/// Tells of each request when it is due.
fn pace(start: Instant, times: &[Duration], due: &mpsc::UnboundedSender<usize>) {
    for (index, time) in times.iter().enumerate() {
        loop {
            let left = time.saturating_sub(clock::now() - start);
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        if due.send(index).is_err() {
            return;
        }
    }
}

async fn request(run: Rc<Run>, demand: Demand) {
    let due = run.start + demand.due;
    let late = clock::now() - due;
    let end = match tokio::time::timeout_at(due + DEADLINE, exchange(&run, &demand)).await {
        Ok(Ok(200)) => End::Answered,
        Ok(Ok(code)) => End::Status(code),
        Ok(Err(_)) => End::Broken,
        Err(_) => End::Deadline,
    };
    if demand.measured {
        let latency_us = (clock::now() - due).as_micros() as u64;
        let late_us = late.as_micros() as u64;
        let due_s = demand.due.saturating_sub(run.warm_up).as_secs_f64();
        run.records.borrow_mut().push(Record { due_s, latency_us, late_us, end });
    }
}

async fn exchange(run: &Run, demand: &Demand) -> io::Result<u16> {
    let _room = run.room.acquire().await.map_err(io::Error::other)?;
    let idle = run.idle.borrow_mut().pop();
    let mut connection = match idle {
        Some(connection) => connection,
        None => {
            let stream = TcpStream::connect(run.target).await?;
            stream.set_nodelay(true)?;
            Connection { stream, buffer: Vec::with_capacity(READ) }
        }
    };
    let Demand { work_us, draw, measured, .. } = *demand;
    let measured = u8::from(measured);
    let target = run.target;
    let head = format!(
        "GET /work?us={work_us}&draw={draw:.6}&measured={measured} HTTP/1.1\r\nhost: {target}\r\n\r\n"
    );
    connection.stream.write_all(head.as_bytes()).await?;
    let measure = |bytes: &[u8]| Ok(http::response(bytes)?.map(|response| (response, response.length)));
    let (response, length) = http::read(&mut connection.stream, &mut connection.buffer, measure).await?;
    connection.buffer.drain(..length);
    if !response.close {
        run.idle.borrow_mut().push(connection);
    }
    Ok(response.code)
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;
    use crate::sockets::demand::{Load, demands};
    use crate::sockets::record::summary;

    /// Answers after a fixed time, one thread, no queue.
    async fn server(delay: Duration) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    let measure = |bytes: &[u8]| Ok(http::request(bytes)?.map(|ask| ((), ask.length)));
                    while let Ok(((), length)) = http::read(&mut stream, &mut buffer, measure).await {
                        buffer.drain(..length);
                        tokio::time::sleep(delay).await;
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn every_request_is_sent_when_due_and_recorded_once() {
        let half = Duration::from_millis(500);
        let load = Load { rate: 400.0, service_ms: 1.0, warm_up: half, measured: half, seed: 7 };
        let list = demands(&load);
        let target = server(Duration::from_millis(30)).await;
        let records = LocalSet::new().run_until(run(target, &list, load.warm_up)).await.unwrap();
        assert_eq!(records.len(), list.iter().filter(|one| one.measured).count());
        let summary = summary(&records).unwrap();
        assert!(summary.errors.is_empty(), "{:?}", summary.errors);
        assert!(summary.figures["p50_ms"] >= 30.0, "{:?}", summary.figures);
        // A closed loop of one connection would have asked 33 times a second.
        assert!(summary.figures["late_p999_ms"] > 0.0);
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_each() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let load = Load {
            rate: 100.0,
            service_ms: 1.0,
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(100),
            seed: 7,
        };
        let list = demands(&load);
        let records = LocalSet::new().run_until(run(address, &list, load.warm_up)).await.unwrap();
        assert!(!records.is_empty() && records.iter().all(|record| record.end == End::Broken));
    }
}
