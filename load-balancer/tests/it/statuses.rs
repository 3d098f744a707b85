//! An answer that says "not now" is bettered by another backend where that is safe, after a random wait; else it stands.

use tokio::sync::mpsc;

use super::support::{Conn, Lb, Scrape, Script, keep, post, refusing, request, within};

const IN_TURN: (&str, &str) = ("pool.algorithm", "round_robin");
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nx-why: full\r\n\r\nbusy";

/// A busy backend and a good one, asked in this order.
async fn pair(settings: &[(&str, &str)]) -> (Lb, Script, Script) {
    let (b1, b2) = (Script::answering(BUSY).await, Script::named("b2").await);
    let lb =
        Lb::over(&[b1.address, b2.address], &[&[IN_TURN, ("ejection.enabled", "false")], settings].concat())
            .await;
    (lb, b1, b2)
}

#[tokio::test]
async fn another_backend_betters_a_503() {
    for method in ["GET", "OPTIONS", "DELETE", "PUT"] {
        let (lb, b1, b2) = pair(&[]).await;
        let reply = lb.send(request(method, "/x", &[])).await;
        assert_eq!((reply.status(), reply.text().as_str()), (200, "b2"), "{method}");
        assert_eq!((b1.requests().len(), b2.requests().len()), (1, 1));
        let scrape = lb.settled().await;
        let bettered = [("reason", "upstream_status"), ("outcome", "success")];
        assert_eq!((scrape.sum("lb_retries_total", &bettered), scrape.code("200")), (1.0, 1.0));
        assert_eq!(scrape.sum("lb_retries_total", &[]) + scrape.sum("lb_request_aborts_total", &[]), 1.0);
        assert_eq!(scrape.sum("lb_upstream_requests_total", &[("backend", "b1"), ("code", "503")]), 1.0);
        assert_eq!(scrape.sum("lb_upstream_request_duration_seconds_count", &[("backend", "b1")]), 1.0);
        assert!(scrape.sum("lb_backend_error_ewma_ratio", &[("backend", "b1")]) > 0.0, "it was judged");
    }
}

#[tokio::test]
async fn a_body_goes_along() {
    let (lb, b1, b2) = pair(&[]).await;
    let reply = lb.send(post("/", "all of it").replace("POST", "PUT")).await;
    assert_eq!((reply.text().as_str(), b1.request().text().as_str()), ("b2", "all of it"));
    assert_eq!(
        (b2.request().text().as_str(), b2.request().header("content-length")),
        ("all of it", Some("9"))
    );
}

#[tokio::test]
async fn where_all_are_busy_the_answer_is_as_it_was_written() {
    let (b1, b2) = (Script::answering(BUSY).await, Script::answering(BUSY).await);
    for (attempts, nobody_left) in [("1", 0.0), ("7", 1.0)] {
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("retry.attempts", attempts)]).await;
        let reply = lb.get("/").await;
        assert_eq!(
            (reply.status(), reply.text().as_str(), reply.header("x-why")),
            (503, "busy", Some("full"))
        );
        let scrape = lb.settled().await;
        let of =
            |outcome| scrape.sum("lb_retries_total", &[("reason", "upstream_status"), ("outcome", outcome)]);
        assert_eq!((of("failure"), of("no_backend"), of("success")), (1.0, nobody_left, 0.0));
        assert_eq!((scrape.code("503"), scrape.sum("lb_request_aborts_total", &[])), (1.0, 0.0));
    }
}

#[tokio::test]
async fn an_answer_stands_where_a_repetition_is_not_safe_or_not_wanted() {
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let long = format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{}", "x".repeat(9));
    let cases: [(String, &[(&str, &str)]); 6] = [
        (post("/", "body"), &[]),
        (request("PATCH", "/", &[]), &[]),
        (upgrade.to_owned(), &[]),
        (long, &[("retry.body_bytes", "8")]),
        (keep("/"), &[("retry.statuses", "[]")]),
        (keep("/"), &[("retry.statuses", "[502, 504]")]),
    ];
    for (sent, settings) in cases {
        let (lb, _b1, b2) = pair(settings).await;
        assert_eq!(lb.send(&sent).await.text(), "busy", "{sent}");
        assert!(b2.requests().is_empty(), "{sent}");
        assert_eq!(lb.settled().await.sum("lb_retries_total", &[]), 0.0, "{sent}");
    }
    let (b1, b2) = (Script::answering(BUSY.replace("503", "500")).await, Script::named("b2").await);
    for (statuses, text) in [("[503]", "busy"), ("[500]", "b2")] {
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("retry.statuses", statuses)]).await;
        assert_eq!(lb.get("/").await.text(), text);
    }
}

#[tokio::test]
async fn beyond_the_budget_the_answer_stands() {
    let stingy = [("retry.budget_ratio", "0.0"), ("retry.budget_per_second", "0.0")];
    let (lb, _b1, b2) = pair(&stingy).await;
    assert_eq!(lb.get("/").await.text(), "busy");
    let scrape = lb.settled().await;
    let over = [("reason", "upstream_status"), ("outcome", "over_budget")];
    assert_eq!((scrape.sum("lb_retries_total", &over), scrape.sum("lb_retries_total", &[])), (1.0, 1.0));
    assert!(b2.requests().is_empty());
}

#[tokio::test]
async fn a_short_answer_leaves_its_connection_whole_and_a_long_one_closes_it() {
    let long = format!("HTTP/1.1 503 Busy\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let half = "HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\nhalf".to_owned();
    for (answer, connections) in [(BUSY.to_owned(), 1), (long, 3), (half, 3)] {
        let (b1, b2) = (Script::answering(answer).await, Script::named("b2").await);
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("retry.backoff", "0")]).await;
        for _ in 0..3 {
            // In turn: b1 and, after it, b2 again for each request.
            assert_eq!(lb.get("/").await.text(), "b2");
        }
        lb.settled().await;
        assert_eq!((b1.requests().len(), b1.accepted(), b2.accepted()), (3, connections, 1));
    }
}

/// The waits, by the time that requests took in all.
#[tokio::test]
async fn what_was_sent_waits_and_what_was_not_does_not() {
    let slow =
        [("retry.backoff", "250ms"), ("retry.budget_ratio", "1.0"), ("retry.budget_per_second", "1000")];
    let seconds = async |lb: &Lb| lb.settled().await.sum("lb_request_duration_seconds_sum", &[]);
    let (lb, _b1, _b2) = pair(&slow).await;
    for _ in 0..8 {
        assert_eq!(lb.get("/").await.text(), "b2");
    }
    assert!(seconds(&lb).await > 0.1, "eight waits of up to 250 ms are less than once in 10⁷ runs");
    let b2 = Script::named("b2").await;
    let lb = Lb::over(&[refusing(), b2.address], &[&[IN_TURN], &slow[..]].concat()).await;
    for _ in 0..40 {
        assert_eq!(lb.get("/").await.text(), "b2");
    }
    assert!(seconds(&lb).await < 2.0, "forty waits would be 5 s");
}

#[tokio::test]
async fn a_wait_beyond_the_total_is_not_begun() {
    let (lb, _b1, b2) = pair(&[("retry.backoff", "250ms"), ("timeouts.total", "100ms")]).await;
    let mut stood = 0;
    for _ in 0..64 {
        stood += usize::from(lb.get("/").await.text() == "busy");
    }
    assert!(stood > 0, "three waits of five are too long");
    assert!(b2.requests().len() <= 64 - stood);
}

#[tokio::test]
async fn a_client_that_leaves_during_the_wait_has_closed() {
    let (told, mut telling) = mpsc::unbounded_channel();
    let b1 = Script::start(move |mut conn: Conn| {
        let told = told.clone();
        async move {
            while conn.request().await.is_some() {
                conn.send(BUSY).await;
                told.send(()).unwrap();
            }
        }
    })
    .await;
    let b2 = Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await;
    for _ in 0..8 {
        // A new balancer begins its turns with b1.
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("retry.backoff", "250ms")]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        within("b1's answer", telling.recv()).await;
        drop(wire);
        let one = |s: &Scrape| s.aborts("client_closed") == 1.0 && s.code("499") == 1.0;
        lb.until("counted as closed", one).await;
        let scrape = lb.settled().await;
        assert_eq!(
            scrape.sum("lb_retries_total", &[]),
            0.0,
            "neither success nor failure: {}",
            scrape.gist()
        );
    }
    assert!(b2.requests().len() < 8, "some left during the wait");
}
