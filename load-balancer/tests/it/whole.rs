//! Messages arrive whole: trailers end what they end, chunks overrule lengths, any method may have a body, and a refusal
//! reaches those who write everything before they read.

use super::support::{Conn, Lb, Script, keep};

const SUMMED: &str = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n";

#[tokio::test]
async fn after_trailers_the_connection_is_as_good_as_before() {
    for ask in ["TE: trailers\r\nConnection: TE\r\n", ""] {
        let backend = Script::answering(SUMMED).await;
        let lb = Lb::over(&[backend.address], &[]).await;
        let mut wire = lb.connect().await;
        for _ in 0..3 {
            wire.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{ask}\r\n")).await;
            let reply = wire.reply().await;
            assert_eq!((reply.text().as_str(), reply.trailers.len()), ("hi", usize::from(!ask.is_empty())));
        }
        let scrape = lb.settled().await;
        assert_eq!(backend.accepted(), 1, "{ask:?}");
        assert_eq!((scrape.code("200"), scrape.sum("lb_request_aborts_total", &[])), (3.0, 0.0), "{ask:?}");
        assert_eq!(scrape.sum("lb_upstream_request_duration_seconds_count", &[]), 3.0, "{ask:?}");
    }
}

#[tokio::test]
async fn with_its_trailers_an_upload_is_complete() {
    let silent = Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await;
    let limits = [("timeouts.first_byte", "60ms"), ("timeouts.body_idle", "1h"), ("timeouts.total", "0")];
    let lb = Lb::over(&[silent.address], &limits).await;
    let upload = "POST / HTTP/1.1\r\nHost: h\r\nTrailer: x-mark\r\nTransfer-Encoding: chunked\r\n\r\n\
                  1\r\nz\r\n0\r\nX-Mark: 7\r\n\r\n";
    assert_eq!(lb.send(upload).await.status(), 504);
    lb.settled().await.assert_one("504", "first_byte_timeout");
}

#[tokio::test]
async fn any_method_may_have_a_body() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    for method in ["GET", "DELETE", "OPTIONS", "PATCH"] {
        for body in
            ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "Content-Length: 5\r\n\r\nhello"]
        {
            wire.send(format!("{method} / HTTP/1.1\r\nHost: h\r\n{body}")).await;
            assert_eq!(wire.reply().await.text(), "ok", "{method} {body}");
            let seen = backend.requests().pop().unwrap();
            assert_eq!((seen.method(), seen.text().as_str()), (method, "hello"), "{body}");
        }
    }
    assert_eq!(backend.requests().len(), 8);
}

#[tokio::test]
async fn chunks_overrule_a_length() {
    for length in [3, 5, 500] {
        let backend = Script::answering(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ))
        .await;
        let lb = Lb::over(&[backend.address], &[]).await;
        let mut wire = lb.connect().await;
        for _ in 0..2 {
            wire.send(keep("/")).await;
            // `Wire` takes no message with both framings.
            let reply = wire.reply().await;
            assert_eq!(
                (reply.text().as_str(), reply.header("transfer-encoding")),
                ("hello", Some("chunked"))
            );
        }
        let reply = lb.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!((reply.text().as_str(), reply.header("content-length")), ("hello", None));
        assert_eq!(lb.settled().await.sum("lb_request_aborts_total", &[]), 0.0);
    }
}

#[tokio::test]
async fn a_refusal_reaches_who_writes_everything_before_reading() {
    let limit = ("limits.body_bytes", "1000");
    let cases = [
        ("POST /", 4 << 20, [limit, ("algo.choosers", "anyone")], 413),
        ("POST /?algo=random", 2 << 20, [("limits.body_bytes", "4194304"), ("algo.choosers", "off")], 403),
        ("TRACE /", 2 << 20, [limit, ("algo.choosers", "anyone")], 405),
        ("POST nowhere", 2 << 20, [limit, ("algo.choosers", "anyone")], 400),
    ];
    for (ask, size, settings, status) in cases {
        let backend = Script::named("ok").await;
        let lb = Lb::over(&[backend.address], &settings).await;
        for _ in 0..5 {
            let mut wire = lb.connect().await;
            let head = format!("{ask} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
            wire.send([head.into_bytes(), vec![b'x'; size]].concat()).await;
            let reply = wire.reply().await;
            assert_eq!(reply.status(), status, "{reply:?}");
            assert!(reply.json()["error"].is_string());
            assert!(wire.gone().await.is_empty());
        }
        assert!(backend.requests().is_empty());
    }
}
