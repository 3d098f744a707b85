//! However a request ends, it is counted once, and nothing stays in flight: clients that vanish, backends that die.

use lb_core::Rng;

use super::support::{Conn, Deaf, Lb, Script, Wire, keep, ok, within};

/// Answers never.
async fn silent() -> Script {
    Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await
}

/// Sends the beginning of a big body, then waits for the end of the connection.
async fn unending() -> Script {
    Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbeginning").await;
        conn.end().await;
    })
    .await
}

async fn in_flight(lb: &Lb) {
    lb.until("one in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 1.0).await;
}

/// Leaves politely or not.
fn leave(wire: Wire, politely: bool) {
    if politely {
        drop(wire);
    } else {
        wire.reset();
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting() {
    for politely in [true, false] {
        let backend = silent().await;
        let lb = Lb::over(&[backend.address], &[]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        in_flight(&lb).await;
        leave(wire, politely);
        let scrape = lb.settled().await;
        scrape.assert_one("499", "client_closed");
        assert_eq!(scrape.sum("lb_upstream_requests_total", &[("code", "error")]), 0.0, "no fault of the backend");
        assert_eq!(scrape.sum("lb_upstream_connections", &[]), 0.0, "an unanswered connection cannot be reused");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_backend_is_being_connected() {
    let deaf = Deaf::start().await;
    let lb = Lb::over(&[deaf.address], &[("timeouts.connect", "1h")]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    in_flight(&lb).await;
    wire.reset();
    lb.settled().await.assert_one("499", "client_closed");
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_download() {
    for politely in [true, false] {
        let backend = unending().await;
        let lb = Lb::over(&[backend.address], &[]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        assert!(wire.upto(b"beginning").await.is_some());
        leave(wire, politely);
        lb.settled().await.assert_one("200", "client_closed");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_upload() {
    for politely in [true, false] {
        for framing in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
            let backend = silent().await;
            let lb = Lb::over(&[backend.address], &[]).await;
            let mut wire = lb.connect().await;
            wire.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}")).await;
            lb.until("half a body", |s| s.sum("lb_request_body_bytes_total", &[]) == 4.0).await;
            leave(wire, politely);
            let scrape = lb.settled().await;
            scrape.assert_one("499", "client_closed");
            assert_eq!(scrape.sum("lb_upstream_requests_total", &[("code", "error")]), 0.0);
            assert_eq!(backend.requests().len(), 0, "half a request is none");
        }
    }
}

#[tokio::test]
async fn a_backend_that_dies_in_mid_body() {
    for (framing, reset) in [("content-length: 100", true), ("content-length: 100", false), ("transfer-encoding: chunked", false)] {
        let backend = Script::start(move |mut conn| async move {
            conn.request().await;
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n4\r\nhalf\r\n")).await;
            if reset {
                conn.reset();
            }
        })
        .await;
        let lb = Lb::over(&[backend.address], &[]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        assert!(wire.try_reply().await.is_none(), "the client must see that it is not whole");
        assert!(wire.end().await.is_empty());
        lb.settled().await.assert_one("200", "upstream_reset");
    }
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_off() {
    let backend = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let piece = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
        while conn.try_send(&piece).await.is_ok() {}
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "200ms")]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    lb.settled().await.assert_one("200", "timeout");
}

#[tokio::test]
async fn a_body_that_stalls_is_cut_off() {
    let backend = unending().await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "100ms")]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    assert!(wire.try_reply().await.is_none());
    lb.settled().await.assert_one("200", "timeout");
}

/// One client of the riot; true where it sent a whole request head.
async fn riot(address: std::net::SocketAddr, mut rng: Rng) -> bool {
    let mut wire = Wire::connect(address).await;
    let n = rng.below(8);
    let sent: &[u8] = match n {
        0 => b"GET / HTT",
        1 | 2 => b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhalf",
        3 => b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\n\r\n",
        _ => b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    wire.send(sent).await;
    if n > 2 && rng.below(2) == 0 {
        wire.head().await;
    }
    leave(wire, rng.below(2) == 0);
    n > 0
}

#[tokio::test]
async fn after_a_riot_the_books_balance() {
    let moody = Script::start(|mut conn| async move {
        let mut rng = Rng::seeded(conn.nth as u64);
        while conn.request().await.is_some() {
            let sent = match rng.below(5) {
                0 => return conn.reset(),
                1 => conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await,
                2 => conn.try_send("what?\r\n\r\n").await,
                _ => conn.try_send(ok("whole")).await,
            };
            if sent.is_err() {
                return;
            }
        }
    })
    .await;
    let calm = Script::named("calm").await;
    let settings = [("workers", "2"), ("retry.attempts", "1"), ("timeouts.first_byte", "1s")];
    let lb = Lb::over(&[moody.address, calm.address], &settings).await;
    let mut heads = 0.0;
    for seed in 0..8 {
        let clients: Vec<_> = (0..40).map(|i| tokio::spawn(riot(lb.traffic, Rng::seeded(seed * 100 + i)))).collect();
        for client in clients {
            heads += f64::from(u8::from(within("a rioter", client).await.unwrap()));
        }
    }
    lb.until("everyone gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    let scrape = lb.settled().await;
    // A request whose client was gone before its head was read is no request; every other counts once.
    let counted = scrape.requests();
    assert!(counted <= heads && counted > heads / 2.0, "{counted} of {heads}\n{}", scrape.gist());
    assert_eq!(counted, scrape.sum("lb_request_duration_seconds_count", &[]));
    assert_eq!(
        scrape.sum("lb_decisions_total", &[]),
        scrape.sum("lb_requests_total", &[]) + scrape.sum("lb_retries_total", &[("outcome", "retried")]),
        "every request was picked for once, and once more for each retry\n{}",
        scrape.gist()
    );
}
