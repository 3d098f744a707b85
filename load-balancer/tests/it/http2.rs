//! HTTP/2 from clients, with prior knowledge: every stream is a request, and backends of HTTP/1.1 see nothing odd.

use bytes::Bytes;
use hyper::http::{HeaderMap, Request};

use super::support::{H2, Lb, Raw, Script, addresses, get, keep, ok, pattern, replicas, whole, within};

async fn over(answer: impl Into<Vec<u8>>) -> (Lb, Script) {
    let backend = Script::answering(answer).await;
    (Lb::over(&[backend.address], &[]).await, backend)
}

/// Answers with what it was sent: by length where it came so, in chunks otherwise.
async fn echoing() -> Script {
    Script::start(|mut conn| async move {
        while let Some(request) = conn.request().await {
            let (n, body) = (request.body.len(), &request.body[..]);
            let whole = match request.header("content-length") {
                Some(_) => {
                    [format!("HTTP/1.1 200 OK\r\ncontent-length: {n}\r\n\r\n").as_bytes(), body].concat()
                }
                None => {
                    let head = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{n:x}\r\n");
                    [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
                }
            };
            conn.send(whole).await;
        }
    })
    .await
}

#[tokio::test]
async fn many_streams_of_one_connection_are_many_requests() {
    let backends = replicas(3).await;
    let lb = Lb::over(&addresses(&backends), &[("pool.algorithm", "round_robin")]).await;
    let mut client = H2::connect(lb.traffic).await;
    let mut answers = Vec::new();
    for n in 0..60 {
        answers.push(client.begin(get(&format!("/echo?n={n}")), true).await.0);
    }
    for answer in answers {
        let answer = whole(answer).await.unwrap();
        assert_eq!((answer.status(), answer.header("connection")), (200, None), "{}", answer.text());
        assert!(answer.header("x-request-id").is_some() && answer.header("date").is_some());
    }
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.code("200")), (60.0, 60.0));
    assert_eq!(scrape.sum("lb_downstream_connections_accepted_total", &[]), 1.0);
    assert_eq!(scrape.sum("lb_downstream_protocol_connections_total", &[("protocol", "http2")]), 1.0);
    assert_eq!(scrape.sum("lb_http2_streams", &[]), 0.0);
    for backend in ["b1", "b2", "b3"] {
        assert_eq!(scrape.sum("lb_upstream_requests_total", &[("backend", backend)]), 20.0);
    }
}

#[tokio::test]
async fn a_backend_sees_an_ordinary_request() {
    let (lb, backend) = over(ok("hi")).await;
    let request = Request::get("http://shop.example:81/a?algo=random&b=1")
        .header("cookie", "a=1")
        .header("cookie", "b=2; c=3")
        .header("te", "trailers")
        .header("x-forwarded-for", "203.0.113.9")
        .header("expect", "100-continue")
        .header("x-two", "1")
        .header("x-two", "2")
        .body(())
        .unwrap();
    let answer = H2::connect(lb.traffic).await.send(request, &[]).await;
    assert_eq!(
        (answer.status(), answer.text().as_str(), answer.header("content-length")),
        (200, "hi", Some("2"))
    );
    let seen = backend.request();
    assert_eq!(seen.start, "GET /a?b=1 HTTP/1.1");
    assert_eq!(seen.header("host"), Some("shop.example:81"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2; c=3"));
    assert_eq!(seen.all("x-two"), ["1", "2"]);
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example:81"));
    assert_eq!((seen.header("expect"), seen.header("connection")), (None, None));
    assert!(seen.headers.iter().all(|(name, _)| !name.starts_with(':')));
}

#[tokio::test]
async fn bodies_pass_whole_both_ways() {
    let backend = echoing().await;
    let lb = Lb::over(&[backend.address], &[("limits.body_bytes", "8MiB")]).await;
    let mut client = H2::connect(lb.traffic).await;
    for size in [1, 16_384, 300_000, 3_000_000] {
        let body = pattern(size);
        // By length, and without one.
        for length in [true, false] {
            let mut request = Request::post("http://lab/").body(()).unwrap();
            if length {
                request.headers_mut().insert("content-length", size.into());
            }
            let (answer, mut stream) = client.begin(request, false).await;
            let sending = body.clone();
            let sent = tokio::spawn(async move {
                let mut left = Bytes::from(sending);
                while !left.is_empty() {
                    stream.reserve_capacity(left.len());
                    let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
                    let piece = left.split_to(room.min(left.len()));
                    stream.send_data(piece, left.is_empty()).unwrap();
                }
            });
            let answer = whole(answer).await.unwrap();
            within("sending", sent).await.unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert!(answer.body == body, "{size} bytes came back as {}", answer.body.len());
        }
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (lb, backend) = over(
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n",
    )
    .await;
    let mut client = H2::connect(lb.traffic).await;
    let request = Request::post("http://lab/").header("trailer", "x-mark").body(()).unwrap();
    let (answer, mut stream) = client.begin(request, false).await;
    stream.send_data(Bytes::from_static(b"z"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-mark", "7".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = whole(answer).await.unwrap();
    assert_eq!(answer.text(), "hi");
    assert_eq!(answer.trailers.unwrap().get("x-sum").unwrap(), "42");
    let seen = backend.request();
    assert_eq!((seen.text().as_str(), seen.trailers), ("z", vec![("x-mark".to_owned(), "7".to_owned())]));
}

#[tokio::test]
async fn answers_without_a_body_stay_so() {
    for (code, extra) in
        [("204 No Content", ""), ("304 Not Modified", "etag: \"e\"\r\n"), ("200 OK", "content-length: 0\r\n")]
    {
        let (lb, _backend) = over(format!("HTTP/1.1 {code}\r\n{extra}\r\n")).await;
        let answer = H2::connect(lb.traffic).await.get("/").await;
        assert_eq!((answer.status().to_string().as_str(), answer.body.len()), (&code[..3], 0));
    }
    let (lb, _backend) = over("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n").await;
    let head = Request::head("http://lab/x").body(()).unwrap();
    let answer = H2::connect(lb.traffic).await.send(head, &[]).await;
    assert_eq!((answer.status(), answer.header("content-length"), answer.body.len()), (200, Some("1234"), 0));
}

#[tokio::test]
async fn hop_by_hop_fields_of_backends_end_here() {
    let (lb, _backend) = over(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\n\
         keep-alive: timeout=5\r\nx-hop: 1\r\ntransfer-encoding: chunked\r\nx-end: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    )
    .await;
    let answer = H2::connect(lb.traffic).await.get("/").await;
    assert_eq!((answer.status(), answer.text().as_str(), answer.header("x-end")), (200, "ok", Some("2")));
    for gone in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn refusals_are_of_streams_and_leave_the_connection() {
    let backend = Script::named("ok").await;
    let lb =
        Lb::over(&[backend.address], &[("limits.body_bytes", "10"), ("limits.target_bytes", "64")]).await;
    let mut client = H2::connect(lb.traffic).await;
    let long = client.get(&format!("/{}", "x".repeat(64))).await;
    assert_eq!((long.status(), long.header("connection")), (414, None));
    assert!(long.text().contains("limits.target_bytes"));
    let post = || Request::post("http://lab/").body(()).unwrap();
    let mut declared = post();
    declared.headers_mut().insert("content-length", 11.into());
    assert_eq!(client.send(declared, b"hello world").await.status(), 413);
    assert_eq!(client.send(post(), b"hello world").await.status(), 413);
    let mut many = get("/");
    for n in 0..101 {
        many.headers_mut().insert(hyper::header::HeaderName::try_from(format!("x-{n}")).unwrap(), n.into());
    }
    assert_eq!(client.send(many, &[]).await.status(), 431);
    assert_eq!(client.send(post(), b"hello").await.status(), 200);
    assert_eq!(client.get("/?algo=nonsense").await.status(), 400);
    assert_eq!(client.get("/").await.text(), "ok");
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_downstream_connections_accepted_total", &[]), 1.0);
    assert_eq!((scrape.code("413"), scrape.code("200")), (2.0, 2.0));
}

#[tokio::test]
async fn a_header_list_too_large_is_431() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("limits.header_bytes", "1KiB")]).await;
    let mut client = H2::connect(lb.traffic).await;
    let mut large = get("/");
    large.headers_mut().insert("x", "y".repeat(1_500).parse().unwrap());
    assert_eq!(client.send(large, &[]).await.status(), 431);
    assert_eq!(client.get("/").await.status(), 200);
}

#[tokio::test]
async fn a_failed_attempt_is_made_again_elsewhere() {
    let bad = Script::start(|mut conn| async move {
        conn.request().await;
        conn.reset();
    })
    .await;
    let good = Script::named("ok").await;
    let lb = Lb::over(&[bad.address, good.address], &[("pool.algorithm", "round_robin")]).await;
    let mut client = H2::connect(lb.traffic).await;
    for _ in 0..4 {
        let put = Request::put("http://lab/x").body(()).unwrap();
        assert_eq!(client.send(put, b"body").await.text(), "ok");
    }
    assert!(good.requests().iter().all(|request| request.text() == "body"));
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.code("200")), (4.0, 4.0));
    assert!(scrape.sum("lb_retries_total", &[("outcome", "success")]) >= 1.0);
}

#[tokio::test]
async fn a_stream_that_the_client_resets_is_given_up() {
    let (waiting, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn| {
        let waiting = waiting.clone();
        async move {
            let path = conn.request().await.unwrap().target().to_owned();
            waiting.send("asked").unwrap();
            if path == "/stream" {
                conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n").await;
            }
            conn.end().await;
            waiting.send("gone").unwrap();
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    // Before there is an answer, and in the middle of one.
    for (stream, path) in [(1, "/wait"), (3, "/stream")] {
        raw.get(stream, path).await;
        assert_eq!(within("the request", seen.recv()).await, Some("asked"));
        if path == "/stream" {
            raw.until(&[Raw::DATA]).await.unwrap();
        }
        raw.send(Raw::RESET, 0, stream, &8u32.to_be_bytes()).await;
        assert_eq!(within("the end", seen.recv()).await, Some("gone"), "{path}");
    }
    let scrape = lb.settled().await;
    assert_eq!((scrape.aborts("client_closed"), scrape.code("499"), scrape.code("200")), (2.0, 1.0, 1.0));
    assert_eq!(scrape.sum("lb_http2_resets_total", &[("by", "client"), ("code", "cancel")]), 2.0);
    assert_eq!(scrape.sum("lb_http2_streams", &[]), 0.0);
}

#[tokio::test]
async fn half_an_upload_is_never_taken_for_a_whole_one() {
    // RST_STREAM without an error, too: some libraries end a body there as if it were complete.
    for code in [0u32, 5, 8] {
        let (lb, backend) = over(ok("ok")).await;
        let mut raw = Raw::connect(lb.traffic).await;
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "lab"), (":path", "/")]
            .map(|(name, value)| (name.into(), value.into()));
        raw.send(Raw::HEADERS, Raw::END_HEADERS, 1, &super::support::head(&fields)).await;
        raw.send(Raw::DATA, 0, 1, b"half").await;
        lb.until("under way", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 1.0).await;
        raw.send(Raw::RESET, 0, 1, &code.to_be_bytes()).await;
        let scrape = lb.settled().await;
        assert_eq!(scrape.aborts("client_closed"), 1.0, "code {code}:\n{}", scrape.gist());
        assert!(backend.requests().is_empty(), "code {code}");
        raw.get(3, "/next").await;
        assert!(raw.until(&[Raw::DATA]).await.is_some(), "the connection goes on");
    }
}

#[tokio::test]
async fn the_first_bytes_decide_however_they_come() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    // A preface byte by byte.
    let mut raw = Raw { wire: lb.connect().await };
    for byte in Raw::PREFACE {
        raw.wire.send([*byte]).await;
    }
    raw.send(Raw::SETTINGS, 0, 0, &[]).await;
    raw.get(1, "/").await;
    assert!(raw.until(&[Raw::DATA]).await.is_some());
    // HTTP/1.1 that begins like one.
    let mut wire = lb.connect().await;
    for byte in b"PRI /x HTTP/1.1\r\nHost: h\r\n\r\n" {
        wire.send([*byte]).await;
    }
    assert_eq!(wire.reply().await.text(), "ok");
    assert_eq!(backend.requests()[1].method(), "PRI");
    wire.send(keep("/again")).await;
    assert_eq!(wire.reply().await.text(), "ok");
    // The preface, wrong at its end.
    let mut wire = lb.connect().await;
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r?").await;
    assert_eq!(wire.reply().await.status(), 400);
    assert_eq!(lb.get("/").await.text(), "ok");
    let scrape = lb.settled().await;
    let spoken = |p| scrape.sum("lb_downstream_protocol_connections_total", &[("protocol", p)]);
    assert_eq!((spoken("http2"), spoken("http1")), (1.0, 3.0));
}

#[tokio::test]
async fn who_does_not_want_it_has_none() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("http2.enabled", "false")]).await;
    let mut wire = lb.connect().await;
    wire.send(Raw::PREFACE).await;
    // hyper knows what it is, and says nothing.
    assert!(wire.gone().await.is_empty());
    assert_eq!(lb.get("/").await.text(), "ok");
}

#[tokio::test]
async fn an_upgrade_to_it_is_answered_as_an_ordinary_request() {
    let (lb, backend) = over(ok("ok")).await;
    let reply = lb
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n")
        .await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
    let seen = backend.request();
    assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
}

#[tokio::test]
async fn the_admin_answers_over_it_where_it_may() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("control.on_traffic_port", "true")]).await;
    let mut client = H2::connect(lb.traffic).await;
    assert_eq!(client.get("/ready").await.status(), 200);
    assert!(client.get("/metrics").await.text().contains("lb_http2_streams 1"));
}

#[tokio::test]
async fn streams_finish_when_the_balancer_stops_and_new_ones_go_elsewhere() {
    let (open, backend) = Script::gated("finished").await;
    let mut lb = Lb::over(&[backend.address], &[]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.get(1, "/").await;
    let idle = Raw::connect(lb.traffic).await;
    lb.until("in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 1.0).await;
    let stopping = tokio::spawn(lb.stopping());
    let goaway = raw.until(&[Raw::GOAWAY]).await.unwrap();
    assert_eq!(goaway.code(), 0);
    assert!(!stopping.is_finished());
    open.send_replace(true);
    let rest = raw.rest().await;
    assert!(rest.iter().any(|frame| frame.kind == Raw::DATA && frame.payload == b"finished"), "{rest:?}");
    drop(idle);
    within("the end", stopping).await.unwrap();
}

#[tokio::test]
async fn who_leaves_says_goaway_with_the_next_request() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.drain_delay", "20s")]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    raw.get(1, "/").await;
    raw.until(&[Raw::DATA]).await.unwrap();
    lb.leave();
    super::leaving::says_close(&lb).await;
    raw.get(3, "/").await;
    let rest = raw.rest().await;
    assert!(rest.iter().any(|frame| frame.kind == Raw::GOAWAY && frame.code() == 0), "{rest:?}");
    assert!(rest.iter().any(|frame| frame.kind == Raw::DATA && frame.stream == 3), "{rest:?}");
}
