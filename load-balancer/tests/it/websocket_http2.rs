//! WebSockets over HTTP/2: a stream asks by extended CONNECT, its backend by an upgrade of HTTP/1.1.

use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use hyper::http::{Method, Request};

use super::support::{Conn, H2, Lb, Script, addresses, get, ok, pattern, replicas, whole, within};

const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-accept: of-its-key\r\nsec-websocket-protocol: chat\r\n\r\n";

fn asking(path: &str, protocol: &'static str) -> Request<()> {
    let request = Request::builder().method(Method::CONNECT).uri(format!("http://lab{path}"));
    let request = request.header("sec-websocket-version", "13").header("sec-websocket-protocol", "chat");
    request.extension(Protocol::from_static(protocol)).body(()).unwrap()
}

/// A connection whose server has said what it offers.
async fn connected(lb: &Lb) -> H2 {
    let mut client = H2::connect(lb.traffic).await;
    assert_ne!(client.get("/first").await.status(), 0);
    client
}

/// Exactly so many bytes of a stream.
async fn exactly(stream: &mut RecvStream, n: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < n {
        let piece = within("more of the tunnel", stream.data()).await.expect("the tunnel goes on").unwrap();
        stream.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    assert_eq!(all.len(), n);
    all
}

async fn ended(stream: &mut RecvStream) {
    while let Some(Ok(piece)) = within("the end of the tunnel", stream.data()).await {
        assert!(piece.is_empty());
    }
}

/// Opens a tunnel.
async fn opened(client: &mut H2, path: &str) -> (SendStream<Bytes>, RecvStream) {
    let (answer, up) = client.begin(asking(path, "websocket"), false).await;
    let answer = within("the tunnel", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    for gone in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
        assert!(!answer.headers().contains_key(gone), "{gone}");
    }
    (up, answer.into_body())
}

#[tokio::test]
async fn messages_come_back_from_a_real_server() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &[]).await;
    let mut client = connected(&lb).await;
    let (mut up, mut down) = opened(&mut client, "/ws").await;
    // A text of five letters, masked by zeros; its echo has no mask.
    up.send_data(Bytes::from_static(b"\x81\x85\0\0\0\0hello"), false).unwrap();
    assert_eq!(exactly(&mut down, 7).await, b"\x81\x05hello");
    lb.until("it is in flight", |s| s.sum("lb_upstream_requests_in_flight", &[("backend", "b1")]) == 1.0)
        .await;
    // The rest of the connection goes on beside it.
    assert_eq!(client.get("/echo").await.status(), 200);
    // A farewell, which is answered.
    up.send_data(Bytes::from_static(b"\x88\x80\0\0\0\0"), false).unwrap();
    assert_eq!(exactly(&mut down, 2).await, b"\x88\0");
    ended(&mut down).await;
    up.send_data(Bytes::new(), true).unwrap();
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("101"), scrape.sum("lb_request_aborts_total", &[])), (1.0, 0.0));
    lb.until("no stream is left", |s| s.sum("lb_http2_streams", &[]) == 0.0).await;
}

#[tokio::test]
async fn a_backend_hears_an_upgrade_and_both_halves_end_alone() {
    let backend = Script::start(|mut conn| async move {
        while let Some(asked) = conn.request().await {
            if asked.target() != "/chat?room=1" {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                continue;
            }
            conn.send(format!("{AGREE}greeting")).await;
            let much = conn.exactly(300_000).await.unwrap();
            conn.send(&much).await;
            let rest = conn.end().await;
            conn.send([&b" then "[..], &rest].concat()).await;
            return;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut client = connected(&lb).await;
    let (mut up, mut down) = opened(&mut client, "/chat?room=1").await;
    assert_eq!(exactly(&mut down, 8).await, b"greeting");
    let much = pattern(300_000);
    up.send_data(Bytes::from(much.clone()), false).unwrap();
    assert!(exactly(&mut down, much.len()).await == much);
    up.send_data(Bytes::from_static(b"late"), true).unwrap();
    assert_eq!(exactly(&mut down, 10).await, b" then late");
    ended(&mut down).await;
    lb.settled().await;
    let asked = backend.requests().into_iter().find(|r| r.target().starts_with("/chat")).unwrap();
    assert_eq!((asked.method(), asked.header("host")), ("GET", Some("lab")));
    assert_eq!((asked.header("upgrade"), asked.header("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(
        (asked.header("sec-websocket-version"), asked.header("sec-websocket-protocol")),
        (Some("13"), Some("chat"))
    );
    assert_eq!(asked.header("sec-websocket-key").unwrap().len(), 24);
    assert!(asked.header("x-forwarded-for").is_some() && asked.header("transfer-encoding").is_none());
}

/// Else a download beside it would have all the time that tunnels have, and without end more.
#[tokio::test]
async fn what_went_on_for_a_tunnels_sake_ends_with_it() {
    let backend = Script::start(async |mut conn: Conn| {
        while let Some(asked) = conn.request().await {
            match asked.target() {
                "/ws" => conn.send(AGREE).await,
                "/endless" => conn.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart").await,
                _ => {
                    conn.send(ok("ok")).await;
                    continue;
                }
            }
            conn.end().await;
            return;
        }
    })
    .await;
    let settings = [("timeouts.drain", "100ms"), ("timeouts.drain_tunnel", "5m")];
    let mut lb = Lb::over(&[backend.address], &settings).await;
    let (mut one, mut other) = (connected(&lb).await, connected(&lb).await);
    let (mut up, mut down) = opened(&mut one, "/ws").await;
    let (answer, _) = one.begin(get("/endless"), true).await;
    let mut beside = within("a download beside a tunnel", answer).await.unwrap().into_body();
    let (answer, _) = other.begin(get("/endless"), true).await;
    let mut alone = within("a download alone", answer).await.unwrap().into_body();
    assert!(beside.data().await.unwrap().is_ok() && alone.data().await.unwrap().is_ok());
    let stopping = lb.stopping();
    assert!(within("what is alone is cut", alone.data()).await.is_none_or(|cut| cut.is_err()));
    up.send_data(Bytes::new(), true).unwrap();
    ended(&mut down).await;
    assert!(within("then what is beside it is", beside.data()).await.is_none_or(|cut| cut.is_err()));
    within("the end", stopping).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let backend = Script::start(|mut conn| async move {
        while let Some(asked) = conn.request().await {
            let answer = match asked.target() {
                "/forbidden" => "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            };
            conn.send(answer).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut client = connected(&lb).await;
    for (path, protocol, status) in
        [("/forbidden", "websocket", 403), ("/page", "websocket", 400), ("/page", "connect-udp", 405)]
    {
        let (answer, _up) = client.begin(asking(path, protocol), false).await;
        let answer = whole(answer).await.unwrap();
        assert_eq!(answer.status(), status, "{path} {protocol}: {}", answer.text());
    }
    assert_eq!(client.get("/page").await.text(), "ok", "the connection goes on");
    let scrape = lb.settled().await;
    assert_eq!((scrape.aborts("bad_request"), scrape.aborts("method_not_allowed")), (1.0, 1.0));
    // Nor is what the balancer itself answers one.
    let lb = Lb::over(&[backend.address], &[("control.on_traffic_port", "true")]).await;
    let mut client = connected(&lb).await;
    for path in ["/metrics", "/decisions"] {
        let (answer, _up) = client.begin(asking(path, "websocket"), false).await;
        assert_eq!(whole(answer).await.unwrap().status(), 400, "{path}");
    }
    // Backends of HTTP/2 are asked for none, so none is offered.
    let lb = Lb::over(&[backend.address], &[("pool.protocol", "http2")]).await;
    let mut client = connected(&lb).await;
    let (answer, _up) = client.begin(asking("/chat", "websocket"), false).await;
    assert_eq!(whole(answer).await.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
}

/// Agrees to any upgrade, and tells when its tunnel has ended.
async fn silent() -> (Script, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let (told, tell) = tokio::sync::mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn| {
        let told = told.clone();
        async move {
            while let Some(asked) = conn.request().await {
                if asked.header("upgrade").is_some() {
                    conn.send(AGREE).await;
                    conn.end().await;
                    return told.send(()).unwrap();
                }
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
        }
    })
    .await;
    (backend, tell)
}

#[tokio::test]
async fn a_tunnel_ends_with_its_client_and_with_silence() {
    let (backend, mut ends) = silent().await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut client = connected(&lb).await;
    let (mut up, _down) = opened(&mut client, "/a").await;
    up.send_reset(Reason::CANCEL);
    within("its end at the backend", ends.recv()).await.unwrap();
    lb.settled().await;
    let (_up, _down) = opened(&mut client, "/b").await;
    client.connection.abort();
    within("the end of all with their connection", ends.recv()).await.unwrap();
    lb.settled().await;

    let idle = [("timeouts.tunnel_idle", "100ms"), ("timeouts.client_idle", "100ms")];
    let lb = Lb::over(&[backend.address], &idle).await;
    let mut client = connected(&lb).await;
    let (_up, mut down) = opened(&mut client, "/c").await;
    ended(&mut down).await;
    within("its end at the backend", ends.recv()).await.unwrap();
    lb.settled().await;
}

#[tokio::test]
async fn a_backend_is_not_held_for_a_client_that_reset_its_stream() {
    let backend = Script::start(async |mut conn: Conn| {
        while let Some(asked) = conn.request().await {
            if asked.target() != "/ws" {
                conn.send(ok("ok")).await;
                continue;
            }
            conn.send(AGREE).await;
            conn.end().await;
            // It keeps its own half open.
            std::future::pending::<()>().await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut client = connected(&lb).await;
    let (mut up, _down) = opened(&mut client, "/ws").await;
    up.send_reset(Reason::CANCEL);
    lb.until("the end", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 0.0).await;
    // What only half-closes is waited for.
    let (mut up, _down) = opened(&mut client, "/ws").await;
    up.send_data(Bytes::new(), true).unwrap();
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(lb.scrape().await.sum("lb_upstream_requests_in_flight", &[]), 1.0);
}

#[tokio::test]
async fn a_drain_gives_it_its_own_deadline() {
    let (backend, mut ends) = silent().await;
    let settings = [("timeouts.drain", "100ms"), ("timeouts.drain_tunnel", "600ms")];
    let mut lb = Lb::over(&[backend.address], &settings).await;
    let mut client = connected(&lb).await;
    let (mut up, mut down) = opened(&mut client, "/a").await;
    let began = tokio::time::Instant::now();
    let stopping = lb.stopping();
    up.send_data(Bytes::from_static(b"on"), false).unwrap();
    ended(&mut down).await;
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    within("its end at the backend", ends.recv()).await.unwrap();
    stopping.await;
}
