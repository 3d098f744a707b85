//! The order to stop: what is under way ends well, what is idle ends now, what comes late is refused, and time is bounded.

use super::support::{Conn, Lb, Script, Wire, keep, pattern, request, within};

/// Answers when the gate opens.
async fn gated() -> (Script, tokio::sync::watch::Sender<bool>) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn| {
        let mut gate = gate.clone();
        async move {
            while conn.request().await.is_some() {
                if gate.wait_for(|&open| open).await.is_err() {
                    return;
                }
                conn.send(super::support::ok("finished")).await;
            }
        }
    })
    .await;
    (backend, open)
}

async fn one_in_flight(lb: &Lb) {
    lb.until("one in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 1.0).await;
}

/// Waits until every worker has closed its socket. One refusal may be a connection that was under way to the first of
/// them; the next attempt would then reach another, so two in a row it takes.
async fn nobody_new(lb: &Lb) {
    let refused = async {
        let mut in_a_row = 0;
        while in_a_row < 2 {
            let open = tokio::net::TcpStream::connect(lb.traffic).await.is_ok();
            in_a_row = if open { 0 } else { in_a_row + 1 };
        }
    };
    within("no new connections", refused).await;
}

#[tokio::test]
async fn requests_in_flight_finish_and_nobody_new_comes_in() {
    for workers in ["1", "2"] {
        let (backend, open) = gated().await;
        let mut lb = Lb::over(&[backend.address], &[("workers", workers)]).await;
        assert_eq!(lb.admin("/ready").await.status(), 200);
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        one_in_flight(&lb).await;
        let stopping = tokio::spawn(lb.stopping());
        let scrape = lb.until("draining", |s| s.sum("lb_draining", &[]) == 1.0).await;
        assert_eq!(scrape.sum("lb_requests_in_flight", &[]), 1.0);
        nobody_new(&lb).await;
        let ready = lb.admin("/ready").await;
        assert_eq!((ready.status(), ready.text().trim()), (503, "draining"));
        assert!(!stopping.is_finished());
        open.send_replace(true);
        let reply = wire.reply().await;
        assert_eq!((reply.text().as_str(), reply.header("connection")), ("finished", Some("close")));
        assert!(wire.gone().await.is_empty());
        within("the end", stopping).await.unwrap();
        assert!(tokio::net::TcpStream::connect(lb.admin).await.is_err(), "the admin listener is gone last");
    }
}

#[tokio::test]
async fn idle_connections_are_closed_at_once() {
    let backend = Script::named("ok").await;
    let mut lb = Lb::over(&[backend.address], &[("timeouts.drain", "1h")]).await;
    let mut used = lb.connect().await;
    used.send(keep("/")).await;
    assert_eq!(used.reply().await.text(), "ok");
    let fresh = lb.connect().await;
    lb.until("both in", |s| s.sum("lb_downstream_connections", &[]) == 2.0).await;
    // A drain of an hour: the end comes because nobody is left.
    let (used, fresh, ()) = tokio::join!(used.gone(), fresh.gone(), lb.stopping());
    assert!(used.is_empty() && fresh.is_empty());
}

#[tokio::test]
async fn the_deadline_cuts_what_is_left() {
    let silent = Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await;
    let mut lb = Lb::over(&[silent.address], &[("timeouts.drain", "100ms")]).await;
    let mut waiting = lb.connect().await;
    waiting.send(keep("/")).await;
    one_in_flight(&lb).await;
    let mut slow = lb.connect().await;
    slow.send("GET / HTTP/1.1\r\nHo").await;
    lb.until("both in", |s| s.sum("lb_downstream_connections", &[]) == 2.0).await;
    lb.stopping().await;
    assert!(waiting.gone().await.is_empty() && slow.gone().await.is_empty());
}

#[tokio::test]
async fn tunnels_and_event_streams_end_with_the_deadline() {
    let backend = Script::start(async |mut conn: Conn| {
        let events = conn.request().await.is_some_and(|r| r.target() == "/events");
        let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        let stream =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        conn.send(if events { stream } else { switch }).await;
        conn.end().await;
    })
    .await;
    let settings = [("timeouts.drain", "100ms"), ("timeouts.drain_tunnel", "100ms")];
    let mut lb = Lb::over(&[backend.address], &settings).await;
    let mut wires: Vec<Wire> = Vec::new();
    for target in ["/events", "/tunnel"] {
        let mut wire = lb.connect().await;
        wire.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"))
            .await;
        assert!(wire.head().await.is_some());
        wires.push(wire);
    }
    lb.stopping().await;
    for wire in wires {
        assert!(wire.gone().await.is_empty());
    }
}

#[tokio::test]
async fn a_keep_alive_client_gets_its_last_answer_and_is_told() {
    let (backend, open) = gated().await;
    let mut lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send([keep("/1"), keep("/2")].concat()).await;
    one_in_flight(&lb).await;
    let stopping = tokio::spawn(lb.stopping());
    lb.until("draining", |s| s.sum("lb_draining", &[]) == 1.0).await;
    nobody_new(&lb).await;
    open.send_replace(true);
    assert_eq!(wire.reply().await.header("connection"), Some("close"));
    assert!(wire.gone().await.is_empty(), "the pipelined second request is not begun");
    within("the end", stopping).await.unwrap();
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn a_response_that_nobody_has_read_yet_arrives_whole() {
    for size in [350_000, 3_000_000, 12_000_000] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        let backend = Script::answering([head.into_bytes(), pattern(size)].concat()).await;
        let requests = ["GET / HTTP/1.0\r\n\r\n".to_owned(), request("GET", "/", &[]), keep("/")];
        for ask in requests {
            let mut lb = Lb::over(&[backend.address], &[("timeouts.drain", "1h")]).await;
            let mut wire = Wire::narrow(lb.traffic).await;
            wire.send(&ask).await;
            lb.until("it comes", |s| s.sum("lb_response_body_bytes_total", &[]) > 0.0).await;
            let stopping = tokio::spawn(lb.stopping());
            // Not by its metrics: where the kernel took the whole response, the balancer may be gone already.
            nobody_new(&lb).await;
            let reply = wire.try_reply().await;
            assert!(reply.is_some_and(|r| r.body == pattern(size)), "{size} bytes for {ask}");
            assert!(wire.gone().await.is_empty());
            within("the end", stopping).await.unwrap();
        }
    }
}

#[tokio::test]
async fn whoever_asked_before_the_order_is_answered() {
    let backend = Script::named("ok").await;
    for _ in 0..5 {
        let mut lb = Lb::over(&[backend.address], &[]).await;
        let mut wires = Vec::new();
        for _ in 0..40 {
            // Accepted by the kernel, perhaps not yet by the balancer: whichever comes first there, the answer is owed.
            let mut wire = lb.connect().await;
            wire.send(keep("/")).await;
            wires.push(wire);
        }
        let stopping = tokio::spawn(lb.stopping());
        for mut wire in wires {
            assert_eq!(wire.reply().await.text(), "ok");
            drop(wire);
        }
        within("the end", stopping).await.unwrap();
    }
}

#[tokio::test]
async fn the_addresses_are_free_again() {
    let backend = Script::named("ok").await;
    let mut lb = Lb::over(&[backend.address], &[]).await;
    assert_eq!(lb.get("/").await.text(), "ok");
    lb.stopping().await;
    let (traffic, admin) = (lb.traffic.to_string(), lb.admin.to_string());
    let again = [("listen.traffic", traffic.as_str()), ("listen.admin", admin.as_str())];
    let next = Lb::over(&[backend.address], &again).await;
    assert_eq!((next.traffic, next.get("/").await.text().as_str()), (lb.traffic, "ok"));
}

/// Answers when the gate opens; a request for an upgrade becomes a tunnel that says everything twice.
async fn gated_or_tunnel() -> (Script, tokio::sync::watch::Sender<bool>) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn: Conn| {
        let mut gate = gate.clone();
        async move {
            let Some(asked) = conn.request().await else { return };
            if asked.header("upgrade").is_none() {
                if gate.wait_for(|&open| open).await.is_ok() {
                    conn.send(super::support::ok("finished")).await;
                }
                return;
            }
            conn.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
            while let Some(said) = conn.exactly(2).await {
                conn.send([said.as_slice(), said.as_slice()].concat()).await;
            }
        }
    })
    .await;
    (backend, open)
}

async fn tunnel(lb: &Lb) -> Wire {
    let mut wire = lb.connect().await;
    wire.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    wire
}

#[tokio::test]
async fn a_tunnel_outlasts_the_drain_of_requests() {
    let (backend, _open) = gated_or_tunnel().await;
    let settings = [("timeouts.drain", "200ms"), ("timeouts.drain_tunnel", "1h"), ("workers", "1")];
    let mut lb = Lb::over(&[backend.address], &settings).await;
    let mut tunnel = tunnel(&lb).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    lb.until("both in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 2.0).await;
    let stopping = tokio::spawn(lb.stopping());
    assert!(within("the cut", wire.gone()).await.is_empty());
    tunnel.send("hi").await;
    assert_eq!(within("an echo", tunnel.exactly(4)).await.unwrap(), b"hihi");
    assert!(!stopping.is_finished());
    drop(tunnel);
    within("the end", stopping).await.unwrap();
}

#[tokio::test]
async fn a_tunnel_ends_before_requests_where_its_deadline_is_shorter() {
    let (backend, open) = gated_or_tunnel().await;
    let settings = [("timeouts.drain", "1h"), ("timeouts.drain_tunnel", "200ms"), ("workers", "1")];
    let mut lb = Lb::over(&[backend.address], &settings).await;
    let tunnel = tunnel(&lb).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    lb.until("both in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 2.0).await;
    let stopping = tokio::spawn(lb.stopping());
    assert!(within("the tunnel's end", tunnel.gone()).await.is_empty());
    assert!(!stopping.is_finished());
    open.send_replace(true);
    assert_eq!(wire.reply().await.text(), "finished");
    drop(wire);
    within("the end", stopping).await.unwrap();
}
