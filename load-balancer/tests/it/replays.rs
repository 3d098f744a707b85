//! A body that one backend lost reaches another whole: what the client has sent is sent again, the rest follows.

use tokio::sync::mpsc;

use super::support::{Conn, Lb, Message, Script, keep, pattern, post, within};

const IN_TURN: (&str, &str) = ("pool.algorithm", "round_robin");

/// Reads each request, then resets.
async fn resetting() -> Script {
    Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.reset();
    })
    .await
}

/// Reads a head and what follows up to and with `end`, tells it, then resets.
async fn resetting_at(end: &'static [u8]) -> (Script, mpsc::UnboundedReceiver<()>) {
    let (told, telling) = mpsc::unbounded_channel();
    let script = Script::start(move |mut conn: Conn| {
        let told = told.clone();
        async move {
            conn.head().await;
            conn.upto(end).await;
            conn.reset();
            // The test may be over.
            let _ = told.send(());
        }
    })
    .await;
    (script, telling)
}

fn put(body: &[u8]) -> Vec<u8> {
    [format!("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body]
        .concat()
}

fn chunked(rest: &str) -> String {
    format!("PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n{rest}")
}

async fn assert_success(lb: &Lb) {
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_retries_total", &[("outcome", "success")]), 1.0, "{}", scrape.gist());
    assert_eq!((scrape.code("200"), scrape.requests()), (1.0, 1.0));
}

#[tokio::test]
async fn a_put_that_was_read_and_lost_arrives_whole_elsewhere() {
    let (b1, b2) = (resetting().await, Script::named("b2").await);
    let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
    let body = pattern(10 << 10);
    assert_eq!(lb.send(put(&body)).await.text(), "b2");
    assert_eq!((b1.request().body == body, b2.request().body == body), (true, true));
    assert_eq!(b2.request().header("content-length"), Some("10240"));
    assert_success(&lb).await;
    assert_eq!(lb.scrape().await.sum("lb_request_body_bytes_total", &[]), 10_240.0, "counted once");
}

#[tokio::test]
async fn the_bound_is_the_last_byte_that_is_kept() {
    let bound = |bytes| ("retry.body_bytes", bytes);
    let cases = [
        (bound("64KiB"), 64 << 10, 200),
        (bound("64KiB"), (64 << 10) + 1, 502),
        (bound("8"), 8, 200),
        (bound("8"), 9, 502),
        (bound("0"), 1, 502),
    ];
    for (setting, len, status) in cases {
        let (b1, b2) = (resetting().await, Script::named("b2").await);
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, setting]).await;
        assert_eq!(lb.send(put(&pattern(len))).await.status(), status, "{len}");
        assert_eq!(b2.requests().len(), usize::from(status == 200), "{len}");
        let outcomes = lb.settled().await.sum("lb_retries_total", &[]);
        assert_eq!(
            outcomes,
            f64::from(u8::from(status == 200)),
            "beyond the bound nothing could be repeated"
        );
    }
}

#[tokio::test]
async fn a_post_is_sent_once_however_short() {
    let (b1, b2) = (resetting().await, Script::named("b2").await);
    let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("retry.attempts", "7")]).await;
    assert_eq!(lb.send(post("/", "x")).await.status(), 502);
    assert_eq!((b1.requests().len(), b2.requests().len()), (1, 0));
}

#[tokio::test]
async fn chunks_and_trailers_are_replayed() {
    for (rest, text, trailers) in [
        ("5\r\nhello\r\n6\r\n world\r\n0\r\nx-sum: 11\r\n\r\n", "hello world", 1),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", 0),
        ("0\r\n\r\n", "", 0),
    ] {
        let (b1, b2) = (resetting().await, Script::named("b2").await);
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
        assert_eq!(lb.send(chunked(rest)).await.text(), "b2", "{rest:?}");
        for seen in [b1.request(), b2.request()] {
            assert_eq!(
                seen.header("transfer-encoding"),
                Some("chunked"),
                "the framing of the first: {rest:?}"
            );
            assert_eq!((seen.text().as_str(), seen.trailers.len()), (text, trailers));
        }
        assert_eq!(b1.request().trailers, b2.request().trailers);
        assert_success(&lb).await;
    }
}

#[tokio::test]
async fn every_further_attempt_begins_at_the_beginning() {
    let (b1, b2, b3) = (resetting().await, resetting().await, Script::named("b3").await);
    let lb = Lb::over(&[b1.address, b2.address, b3.address], &[IN_TURN, ("retry.attempts", "2")]).await;
    assert_eq!(lb.send(put(b"all of it")).await.text(), "b3");
    assert!([&b1, &b2, &b3].iter().all(|b| b.request().text() == "all of it"));
    let scrape = lb.settled().await;
    let of = |outcome| scrape.sum("lb_retries_total", &[("reason", "upstream_reset"), ("outcome", outcome)]);
    assert_eq!((of("failure"), of("success")), (1.0, 1.0));
    assert_eq!(scrape.sum("lb_request_body_bytes_total", &[]), 9.0);
}

/// The client sends half, loses a backend by it, and sends the rest to the next.
async fn in_mid_upload(half: &str, end: &'static [u8], rest: &str, settings: &[(&str, &str)]) -> Message {
    let (b1, mut lost) = resetting_at(end).await;
    let b2 = Script::named("b2").await;
    let lb = Lb::over(&[b1.address, b2.address], &[&[IN_TURN], settings].concat()).await;
    let mut wire = lb.connect().await;
    wire.send(half).await;
    within("b1's reset", lost.recv()).await;
    lb.until("the second attempt", |s| s.sum("lb_decisions_total", &[]) == 2.0).await;
    wire.send(rest).await;
    assert_eq!(wire.reply().await.text(), "b2");
    // b1 would wait for another `end`.
    drop(b1);
    wire.send(keep("/next")).await;
    assert_eq!(wire.reply().await.status(), 200, "the connection goes on");
    b2.requests().remove(0)
}

#[tokio::test]
async fn an_upload_under_way_goes_on_elsewhere() {
    let half = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345";
    // Each byte counts once towards the limit: ten are allowed.
    let limit = [("limits.body_bytes", "10")];
    let seen = in_mid_upload(half, b"12345", "67890", &limit).await;
    assert_eq!((seen.text().as_str(), seen.header("content-length")), ("1234567890", Some("10")));
    let seen = in_mid_upload(
        &chunked("5\r\n12345\r\n"),
        b"12345\r\n",
        "5\r\n67890\r\n0\r\nx-sum: 1\r\n\r\n",
        &limit,
    )
    .await;
    assert_eq!((seen.text().as_str(), seen.trailers.len()), ("1234567890", 1));
    // What is kept of a long body need not be all of it: the bound counts what was sent so far.
    let seen = in_mid_upload(half, b"12345", "67890", &[("retry.body_bytes", "5")]).await;
    assert_eq!(seen.text(), "1234567890");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_told_once() {
    let (b1, b2) = (resetting().await, Script::named("b2").await);
    let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
    let mut wire = lb.connect().await;
    wire.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 100);
    wire.send("body").await;
    assert_eq!(wire.reply().await.text(), "b2");
    assert_eq!((b1.request().text(), b2.request().text()), ("body".to_owned(), "body".to_owned()));
    assert_success(&lb).await;
}

#[tokio::test]
async fn deadlines_of_the_second_attempt_are_its_own() {
    // All was sent again: the backend has first_byte, and its silence is its own.
    let silent = Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await;
    let b1 = resetting().await;
    let limits = [IN_TURN, ("timeouts.first_byte", "100ms")];
    let lb = Lb::over(&[b1.address, silent.address], &limits).await;
    assert_eq!(lb.send(put(b"body")).await.status(), 504);
    let scrape = lb.settled().await;
    scrape.assert_one("504", "first_byte_timeout");
    assert_eq!(scrape.sum("lb_retries_total", &[("outcome", "failure")]), 1.0);
    // Half was sent again and no more comes: that is the client's.
    let (b1, _lost) = resetting_at(b"12345").await;
    let lb = Lb::over(&[b1.address, silent.address], &[IN_TURN, ("timeouts.body_idle", "100ms")]).await;
    let half = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345";
    assert_eq!(lb.send(half).await.status(), 408);
    let scrape = lb.settled().await;
    scrape.assert_one("408", "request_timeout");
    assert_eq!(scrape.sum("lb_retries_total", &[]), 0.0, "neither success nor failure");
    assert_eq!(scrape.sum("lb_upstream_requests_total", &[("backend", "b2"), ("code", "error")]), 0.0);
}

#[tokio::test]
async fn a_client_that_spoils_the_rest_is_not_the_second_backends_fault() {
    for (rest, code, reason) in
        [("zz\r\n", "400", "bad_chunk"), ("8\r\n12345678\r\n", "413", "body_too_large")]
    {
        let (b1, mut lost) = resetting_at(b"12345\r\n").await;
        let b2 = Script::named("b2").await;
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("limits.body_bytes", "10")]).await;
        let mut wire = lb.connect().await;
        wire.send(chunked("5\r\n12345\r\n")).await;
        within("b1's reset", lost.recv()).await;
        lb.until("the second attempt", |s| s.sum("lb_decisions_total", &[]) == 2.0).await;
        wire.send(rest).await;
        assert_eq!(wire.reply().await.status().to_string(), code);
        let scrape = lb.settled().await;
        scrape.assert_one(code, reason);
        assert_eq!(scrape.sum("lb_upstream_requests_total", &[("backend", "b2"), ("code", "error")]), 0.0);
    }
}
