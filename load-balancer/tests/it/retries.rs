//! A failed attempt is repeated only where that is safe, only on another backend, and only as long as the budget lasts.

use tokio::sync::mpsc;

use super::support::{Conn, Lb, Script, keep, ok, post, refusing, request};

const IN_TURN: (&str, &str) = ("pool.algorithm", "round_robin");

/// Answers the first request of each connection and hangs up on the second.
async fn fickle() -> Script {
    Script::start(async |mut conn: Conn| {
        if conn.request().await.is_some() {
            conn.send(ok("b1")).await;
            conn.request().await;
        }
    })
    .await
}

/// Reads each request, then resets.
async fn resetting() -> Script {
    Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.reset();
    })
    .await
}

#[tokio::test]
async fn a_request_lost_on_a_pooled_connection_goes_elsewhere() {
    let (b1, b2) = (fickle().await, Script::named("b2").await);
    let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
    let mut wire = lb.connect().await;
    for expected in ["b1", "b2", "b2"] {
        wire.send(keep("/")).await;
        assert_eq!(wire.reply().await.text(), expected);
    }
    assert_eq!((b1.requests().len(), b1.accepted()), (2, 1), "the third request met the pooled connection");
    let scrape = lb.settled().await;
    let retried = [("reason", "upstream_reset"), ("outcome", "success")];
    assert_eq!((scrape.sum("lb_retries_total", &retried), scrape.code("200")), (1.0, 3.0));
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0, "the client noticed nothing");
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_not_used_again() {
    let (closed, mut closing) = mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn| {
        let closed = closed.clone();
        async move {
            conn.request().await;
            conn.send(ok("ok")).await;
            drop(conn);
            closed.send(()).unwrap();
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("retry.attempts", "0")]).await;
    let mut wire = lb.connect().await;
    for i in 1..=10 {
        // Bodies of POSTs may never be sent twice, so a stale connection would show.
        wire.send(post("/", "once")).await;
        assert_eq!(wire.reply().await.status(), 200, "request {i}");
        closing.recv().await.unwrap();
    }
    assert_eq!((backend.accepted(), backend.requests().len()), (10, 10));
}

#[tokio::test]
async fn words_on_an_idle_connection_end_it() {
    let (sent, mut sending) = mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn| {
        let sent = sent.clone();
        async move {
            while conn.request().await.is_some() {
                conn.send(ok("mine")).await;
                // Unasked: were the connection used again, this would pose as the next answer.
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged").await;
                sent.send(()).unwrap();
            }
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("retry.attempts", "0")]).await;
    for _ in 0..5 {
        assert_eq!(lb.get("/").await.text(), "mine");
        sending.recv().await.unwrap();
    }
    assert_eq!(backend.accepted(), 5);
}

#[tokio::test]
async fn resets_and_garbage_before_the_head_go_elsewhere() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT"] {
        for b1 in [resetting().await, Script::answering("nonsense\r\n\r\n").await] {
            let b2 = Script::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
            let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
            assert_eq!(lb.send(request(method, "/", &[])).await.status(), 204, "{method}");
            assert_eq!((b1.requests().len(), b2.requests().len()), (1, 1));
            assert_eq!(b1.request().header("x-request-id"), b2.request().header("x-request-id"));
        }
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_not_done_twice() {
    let patch = post("/", "body").replace("POST", "PATCH");
    for sent in [post("/", "body"), post("/", ""), patch, request("PATCH", "/", &[])] {
        let (b1, b2) = (resetting().await, Script::named("b2").await);
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
        assert_eq!(lb.send(&sent).await.status(), 502, "{sent}");
        assert_eq!((b1.requests().len(), b2.requests().len()), (1, 0), "{sent}");
        lb.settled().await.assert_one("502", "upstream_reset");
    }
}

#[tokio::test]
async fn a_refused_connection_leaves_even_a_post_whole() {
    let b2 = Script::named("b2").await;
    let lb = Lb::over(&[refusing(), b2.address], &[IN_TURN]).await;
    let reply = lb.send(post("/form", "all of it")).await;
    assert_eq!((reply.text().as_str(), b2.request().text().as_str()), ("b2", "all of it"));
    let scrape = lb.settled().await;
    let retried = [("reason", "upstream_connect"), ("outcome", "success")];
    assert_eq!((scrape.sum("lb_retries_total", &retried), scrape.requests()), (1.0, 1.0));
    assert_eq!(scrape.sum("lb_decisions_total", &[]), 2.0);
}

#[tokio::test]
async fn no_backend_is_asked_twice() {
    for algorithm in lb_core::Algorithm::ALL {
        let bad = [resetting().await, resetting().await];
        let good = Script::named("good").await;
        let pool = [bad[0].address, bad[1].address, good.address];
        let lb = Lb::over(&pool, &[("pool.algorithm", algorithm.name()), ("retry.attempts", "2")]).await;
        assert_eq!(lb.get("/").await.text(), "good", "{algorithm}");
        assert!(bad.iter().all(|b| b.requests().len() <= 1), "{algorithm}");
        let all_bad =
            Lb::over(&pool[..2], &[("pool.algorithm", algorithm.name()), ("retry.attempts", "7")]).await;
        let before = bad.each_ref().map(|b| b.requests().len());
        assert_eq!(all_bad.get("/").await.status(), 502, "{algorithm}");
        for (b, before) in bad.iter().zip(before) {
            assert_eq!(b.requests().len(), before + 1, "{algorithm}");
        }
        for lb in [lb, all_bad] {
            let same =
                lb.settled().await.samples.into_iter().find(|(n, ..)| n == "lb_retries_same_backend_total");
            assert_eq!(same.map(|(_, _, value)| value), Some(0.0), "{algorithm}: exposed, and never counted");
        }
    }
}

#[tokio::test]
async fn an_answer_is_an_answer() {
    let b1 = Script::answering("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops").await;
    let broken = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    })
    .await;
    let b2 = Script::named("b2").await;
    let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN]).await;
    assert_eq!(lb.get("/").await.text(), "oops", "a backend's own 500 is passed on");
    let lb = Lb::over(&[broken.address, b2.address], &[IN_TURN]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    assert!(wire.try_reply().await.is_none(), "half an answer cannot be taken back");
    assert_eq!(b2.requests().len(), 0);
}

#[tokio::test]
async fn what_came_of_a_retry_is_counted() {
    let reset = [("reason", "upstream_reset")];
    let (b1, b2) = (resetting().await, resetting().await);
    for (attempts, nobody_left) in [("1", 0.0), ("2", 1.0)] {
        let lb = Lb::over(&[b1.address, b2.address], &[IN_TURN, ("retry.attempts", attempts)]).await;
        assert_eq!(lb.get("/").await.status(), 502);
        let scrape = lb.settled().await;
        let of = |outcome| scrape.sum("lb_retries_total", &[reset[0], ("outcome", outcome)]);
        assert_eq!((of("failure"), of("no_backend"), of("success")), (1.0, nobody_left, 0.0));
        assert_eq!(scrape.sum("lb_retries_total", &[]), 1.0 + nobody_left);
    }
    let lb = Lb::over(&[b1.address, b2.address], &[("retry.attempts", "0")]).await;
    assert_eq!(lb.get("/").await.status(), 502);
    assert_eq!(
        lb.settled().await.sum("lb_retries_total", &[]),
        0.0,
        "told not to, nobody asks whether one could"
    );
}

#[tokio::test]
async fn beyond_the_budget_the_error_stands() {
    let b2 = Script::named("b2").await;
    let stingy = [IN_TURN, ("retry.budget_ratio", "0.0"), ("retry.budget_per_second", "0.0")];
    let lb = Lb::over(&[refusing(), b2.address], &stingy).await;
    assert_eq!(lb.get("/").await.status(), 502);
    let scrape = lb.settled().await;
    let over = [("reason", "upstream_connect"), ("outcome", "over_budget")];
    assert_eq!(scrape.sum("lb_retries_total", &over), 1.0);
    scrape.assert_one("502", "upstream_connect");
    assert_eq!(b2.requests().len(), 0);
}
