//! Bodies flow: events one by one, and no more in memory than the two sockets need, whoever is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::mpsc;

use super::support::{Lb, Script, addresses, keep, replicas, within};

/// More than two sockets' buffers on loopback and the balancer's own can hold between them.
const BIG: usize = 128 << 20;
/// What may be on its way while the far side does not read: kernel buffers on four socket ends, and a little here.
const BOUND: usize = 48 << 20;
/// A write that makes no headway for so long is being held back.
const STALLED: std::time::Duration = std::time::Duration::from_millis(300);

#[tokio::test]
async fn events_arrive_one_by_one() {
    let (next, steps) = mpsc::unbounded_channel::<()>();
    let steps = Arc::new(tokio::sync::Mutex::new(steps));
    let backend = Script::start(move |mut conn| {
        let steps = Arc::clone(&steps);
        async move {
            conn.request().await;
            conn.send(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            )
            .await;
            let mut steps = steps.lock().await;
            while steps.recv().await.is_some() {
                conn.send("9\r\ndata: 1\n\n\r\n").await;
            }
            conn.send("0\r\n\r\n").await;
        }
    })
    .await;
    // Both limits of an ordinary body are shorter than any pause between events here may be.
    let lb =
        Lb::over(&[backend.address], &[("timeouts.total", "50ms"), ("timeouts.body_idle", "20ms")]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    let head = wire.head().await.unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    for _ in 0..3 {
        // Each event is sent only after the one before has arrived: a balancer that collects would wait for ever.
        next.send(()).unwrap();
        assert_eq!(wire.upto(b"data: 1\n\n\r\n").await.unwrap(), b"9\r\ndata: 1\n\n\r\n");
    }
    // Time enough for the limits to have cut it: another request is seen to run into them.
    let stuck = Script::start(|mut conn| async move { drop((conn.request().await, conn.end().await)) }).await;
    let other = Lb::over(&[stuck.address], &[("timeouts.total", "100ms")]).await;
    assert_eq!(other.get("/").await.status(), 504);
    next.send(()).unwrap();
    assert!(wire.upto(b"data: 1\n\n\r\n").await.is_some());
    drop(next);
    assert_eq!(wire.upto(b"0\r\n\r\n").await.unwrap(), b"0\r\n\r\n");
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.sum("lb_request_aborts_total", &[])), (1.0, 0.0));
}

#[tokio::test]
async fn a_slow_reader_holds_the_backend_back() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let (stalled, mut stalls) = mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn| {
        let (counter, stalled) = (Arc::clone(&counter), stalled.clone());
        async move {
            conn.request().await;
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG}\r\n\r\n")).await;
            let piece = vec![b'x'; 64 << 10];
            for _ in 0..BIG / piece.len() {
                let write = tokio::io::AsyncWriteExt::write_all(&mut conn.stream, &piece);
                tokio::pin!(write);
                if tokio::time::timeout(STALLED, &mut write).await.is_err() {
                    stalled.send(counter.load(SeqCst)).unwrap();
                    within("the rest", write).await.unwrap();
                }
                counter.fetch_add(piece.len(), SeqCst);
            }
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    let held = within("the backend is held back", stalls.recv()).await.unwrap();
    assert!(held < BOUND, "{held} bytes went ahead of a client that reads nothing");
    let mut left = BIG;
    while left > 0 {
        let piece = wire.exactly(left.min(1 << 20)).await.unwrap();
        assert!(piece.iter().all(|&b| b == b'x'));
        left -= piece.len();
    }
    assert_eq!(sent.load(SeqCst), BIG);
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_response_body_bytes_total", &[]), BIG as f64);
}

#[tokio::test]
async fn a_slow_backend_holds_the_uploader_back() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn| {
        let mut gone = gone.clone();
        async move {
            conn.head().await;
            gone.wait_for(|&go| go).await.unwrap();
            let mut left = BIG;
            while left > 0 {
                left -= conn.exactly(left.min(1 << 20)).await.unwrap().len();
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("limits.body_bytes", "\"1GiB\"")]).await;
    let mut wire = lb.connect().await;
    wire.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {BIG}\r\n\r\n")).await;
    let piece = vec![b'y'; 64 << 10];
    for sent in (0..BIG).step_by(piece.len()) {
        let write = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, &piece);
        tokio::pin!(write);
        if tokio::time::timeout(STALLED, &mut write).await.is_err() {
            assert!(*go.borrow() || sent < BOUND, "{sent} bytes went ahead of a backend that reads nothing");
            go.send_replace(true);
            within("the rest", write).await.unwrap();
        }
    }
    assert!(*go.borrow(), "never held back");
    assert_eq!(wire.reply().await.text(), "done");
}

#[tokio::test]
async fn a_big_download_arrives_whole() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &[]).await;
    let mut wire = lb.connect().await;
    let n = (32 << 20) + 17;
    wire.send(keep(&format!("/bytes/{n}"))).await;
    let reply = wire.reply().await;
    assert_eq!(reply.body.len(), n);
    assert!(reply.body.iter().enumerate().all(|(i, &b)| usize::from(b) == i % 251));
}
