//! Deadlines over HTTP/2: each stream has those of a request, the connection those of a connection.

use super::support::{H2, Lb, Raw, Script, Wire, get, head, ok, whole, within};

/// A backend that answers `/quick` and leaves all others waiting.
async fn selective() -> Script {
    Script::start(|mut conn| async move {
        while let Some(request) = conn.request().await {
            if request.target() != "/quick" {
                conn.end().await;
                return;
            }
            conn.send(ok("quick")).await;
        }
    })
    .await
}

#[tokio::test]
async fn one_stream_is_late_and_the_others_are_not() {
    for (key, reason) in [("timeouts.total", "total_timeout"), ("timeouts.first_byte", "first_byte_timeout")]
    {
        let backend = selective().await;
        let lb = Lb::over(&[backend.address], &[(key, "150ms")]).await;
        let mut client = H2::connect(lb.traffic).await;
        let (late, _) = client.begin(get("/late"), true).await;
        for _ in 0..5 {
            assert_eq!(client.get("/quick").await.text(), "quick");
        }
        let late = whole(late).await.unwrap();
        assert_eq!((late.status(), late.text().contains("Backend timeout")), (504, true));
        let scrape = lb.settled().await;
        assert_eq!((scrape.aborts(reason), scrape.code("200")), (1.0, 5.0), "{}", scrape.gist());
    }
}

/// Whether the connection was ended with the advice to calm down, and nothing was asked.
async fn ended(lb: &Lb, raw: Raw) {
    let rest = raw.rest().await;
    assert_eq!(rest.last().map(|frame| (frame.kind, frame.code())), Some((Raw::GOAWAY, 11)), "{rest:?}");
    let scrape = lb.until("gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    assert_eq!((scrape.aborts("request_timeout"), scrape.requests()), (1.0, 0.0));
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let fields = [(b":method".to_vec(), b"GET".to_vec())];
    for flags in [0, Raw::END_STREAM] {
        let backend = Script::named("ok").await;
        let lb = Lb::over(&[backend.address], &[("timeouts.request_head", "100ms")]).await;
        let mut raw = Raw::connect(lb.traffic).await;
        raw.send(Raw::HEADERS, flags, 1, &head(&fields)).await;
        raw.send(Raw::CONTINUATION, 0, 1, &[]).await;
        ended(&lb, raw).await;
    }
    // Half a frame.
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.request_head", "100ms")]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.wire.send(&[0, 0, 50, 1, 5, 0, 0, 0, 1, 0][..]).await;
    ended(&lb, raw).await;
}

#[tokio::test]
async fn a_preface_alone_is_not_enough() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.request_head", "100ms")]).await;
    let mut raw = Raw { wire: lb.connect().await };
    raw.wire.send(Raw::PREFACE).await;
    ended(&lb, raw).await;
    // And half of one is a slow request of HTTP/1.1.
    let mut wire = lb.connect().await;
    wire.send(&Raw::PREFACE[..10]).await;
    assert_eq!(wire.reply().await.status(), 408);
}

#[tokio::test]
async fn an_idle_connection_is_told_and_closed() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.client_idle", "100ms")]).await;
    let mut client = H2::connect(lb.traffic).await;
    assert_eq!(client.get("/").await.text(), "ok");
    within("the end", client.connection).await.unwrap().unwrap();
    let scrape = lb.until("gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    assert_eq!((scrape.requests(), scrape.sum("lb_request_aborts_total", &[])), (1.0, 0.0));
    // Who waits for an answer is not idle.
    let backend = selective().await;
    let settings = [("timeouts.client_idle", "50ms"), ("timeouts.first_byte", "300ms")];
    let lb = Lb::over(&[backend.address], &settings).await;
    assert_eq!(H2::connect(lb.traffic).await.get("/late").await.status(), 504);
}

/// A connection whose streams may be sent so many bytes (SETTINGS_INITIAL_WINDOW_SIZE).
async fn windowed(wire: Wire, bytes: u32) -> Raw {
    let mut raw = Raw { wire };
    raw.wire.send(Raw::PREFACE).await;
    raw.send(Raw::SETTINGS, 0, 0, &[&[0, 4], &bytes.to_be_bytes()[..]].concat()).await;
    raw
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_cut_and_no_other() {
    let backend = Script::answering(ok(&"x".repeat(100_000))).await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "150ms")]).await;
    let mut raw = windowed(lb.connect().await, 100).await;
    raw.get(1, "/").await;
    let reset = raw.until(&[Raw::RESET, Raw::GOAWAY]).await.unwrap();
    assert_eq!((reset.kind, reset.stream, reset.code()), (Raw::RESET, 1, 8));
    let scrape = lb.settled().await;
    assert_eq!((scrape.aborts("timeout"), scrape.code("200")), (1.0, 1.0), "{}", scrape.gist());
    raw.get(3, "/").await;
    assert_eq!(raw.until(&[Raw::HEADERS]).await.unwrap().stream, 3, "the connection goes on");
}

/// Though the balancer had its whole body in hand at once.
#[tokio::test]
async fn a_request_takes_as_long_as_its_client_takes_its_answer() {
    let backend = Script::answering(ok("0123456789")).await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "150ms")]).await;
    let mut raw = windowed(lb.connect().await, 0).await;
    raw.get(1, "/").await;
    let reset = raw.until(&[Raw::RESET, Raw::GOAWAY]).await.unwrap();
    assert_eq!((reset.kind, reset.stream), (Raw::RESET, 1));
    let scrape = lb.settled().await;
    assert!(scrape.sum("lb_request_duration_seconds_sum", &[]) >= 0.15, "{}", scrape.gist());
}

#[tokio::test]
async fn who_reads_nothing_at_all_is_cut_off() {
    let backend = Script::answering(ok(&"x".repeat(1_000_000))).await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "200ms")]).await;
    let mut raw = windowed(Wire::narrow(lb.traffic).await, 0x7fff_ffff).await;
    raw.send(Raw::WINDOW, 0, 0, &0x7000_0000u32.to_be_bytes()).await;
    for stream in 0..20 {
        raw.get(2 * stream + 1, "/").await;
    }
    lb.until("gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.sum("lb_http2_streams", &[])), (20.0, 0.0));
}

#[tokio::test]
async fn an_upload_that_stops_is_408() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "150ms")]).await;
    let mut client = H2::connect(lb.traffic).await;
    let post = hyper::http::Request::post("http://lab/").body(()).unwrap();
    let (answer, mut stream) = client.begin(post, false).await;
    stream.send_data(bytes::Bytes::from_static(b"some"), false).unwrap();
    assert_eq!(whole(answer).await.unwrap().status(), 408);
    assert_eq!(client.get("/").await.text(), "ok");
    let scrape = lb.settled().await;
    assert_eq!(scrape.aborts("request_timeout"), 1.0);
}

#[tokio::test]
async fn a_backend_that_falls_silent_breaks_its_own_stream_alone() {
    let backend = Script::start(|mut conn| async move {
        let request = conn.request().await.unwrap();
        match request.target() {
            "/silent" => conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await,
            "/broken" => {
                conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
                return conn.reset();
            }
            _ => {
                let last = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                return conn.send(last).await;
            }
        }
        conn.end().await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "150ms")]).await;
    let mut client = H2::connect(lb.traffic).await;
    for path in ["/silent", "/broken"] {
        let (answer, _) = client.begin(get(path), true).await;
        let broken = whole(answer).await.unwrap_err();
        assert!(broken.is_reset() && broken.is_remote(), "{path}: {broken:?}");
        assert_eq!(client.get("/").await.text(), "ok");
    }
    let scrape = lb.settled().await;
    assert_eq!((scrape.aborts("timeout"), scrape.aborts("upstream_reset")), (1.0, 1.0), "{}", scrape.gist());
}

#[tokio::test]
async fn an_event_stream_may_be_silent() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn| {
        let mut gone = gone.clone();
        async move {
            conn.request().await;
            conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\ndata")
                .await;
            gone.wait_for(|&go| go).await.unwrap();
            conn.send(": x\n\n").await;
        }
    })
    .await;
    let settings =
        [("timeouts.total", "100ms"), ("timeouts.body_idle", "100ms"), ("timeouts.client_idle", "100ms")];
    let lb = Lb::over(&[backend.address], &settings).await;
    let mut client = H2::connect(lb.traffic).await;
    let (answer, _) = client.begin(get("/events"), true).await;
    let answer = tokio::spawn(whole(answer));
    // Another balancer's idle connection measures the time.
    let quick = Script::named("ok").await;
    let other = Lb::over(&[quick.address], &[("timeouts.client_idle", "400ms")]).await;
    let mut idle = other.connect().await;
    idle.send(super::support::keep("/")).await;
    assert_eq!(idle.reply().await.text(), "ok");
    assert!(idle.gone().await.is_empty());
    go.send_replace(true);
    assert_eq!(answer.await.unwrap().unwrap().text(), "data: x\n\n");
}
