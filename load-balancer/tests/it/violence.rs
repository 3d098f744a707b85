//! However a request ends, it is counted once, and nothing stays in flight: clients that vanish, backends that die.

use super::support::{Conn, Deaf, Lb, Script, Wire, keep};

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
pub(crate) fn leave(wire: Wire, politely: bool) {
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
        assert_eq!(
            scrape.sum("lb_upstream_requests_total", &[("code", "error")]),
            0.0,
            "no fault of the backend"
        );
        assert_eq!(
            scrape.sum("lb_upstream_connections", &[]),
            0.0,
            "an unanswered connection cannot be reused"
        );
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
        for framing in ["Content-Length: 100\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
        {
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
    for (framing, reset) in
        [("content-length: 100", true), ("content-length: 100", false), ("transfer-encoding: chunked", false)]
    {
        let (die, dying) = tokio::sync::watch::channel(false);
        let backend = Script::start(move |mut conn| {
            let mut dying = dying.clone();
            async move {
                conn.request().await;
                conn.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n4\r\nhalf\r\n")).await;
                dying.wait_for(|&die| die).await.unwrap();
                if reset {
                    conn.reset();
                }
            }
        })
        .await;
        let lb = Lb::over(&[backend.address], &[]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        assert!(wire.upto(b"half\r\n").await.is_some());
        die.send_replace(true);
        assert!(wire.gone().await.is_empty(), "no last chunk: the client must see that it is not whole");
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
