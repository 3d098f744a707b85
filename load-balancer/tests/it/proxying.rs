//! What a client says reaches the backend, and the answer comes back, byte for byte where bytes carry meaning.

use super::support::{Lb, Script, Wire, addresses, keep, ok, post, replicas, request};

#[tokio::test]
async fn method_target_headers_and_body_arrive_as_sent() {
    let backend = Script::named("made").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    for (method, body) in
        [("PUT", "abc"), ("PATCH", "x"), ("DELETE", "gone"), ("OPTIONS", ""), ("BREW", "tea")]
    {
        let length = body.len();
        let text = format!(
            "{method} /p/q?a=1 HTTP/1.1\r\nHost: site:81\r\nX-One: a  b\r\nX-Two: 1\r\nX-Two: 2\r\nCookie: c=d; e=f\r\n\
             Authorization: Basic Og==\r\nContent-Type: text/x\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        assert_eq!(lb.send(text).await.text(), "made");
        let seen = backend.requests().pop().unwrap();
        assert_eq!((seen.method(), seen.target(), seen.text().as_str()), (method, "/p/q?a=1", body));
        assert_eq!(seen.start.rsplit(' ').next(), Some("HTTP/1.1"));
        assert_eq!((seen.header("host"), seen.header("x-one")), (Some("site:81"), Some("a  b")));
        assert_eq!(seen.all("x-two"), ["1", "2"]);
        assert_eq!(seen.header("cookie"), Some("c=d; e=f"));
        assert_eq!(seen.header("authorization"), Some("Basic Og=="));
        assert_eq!(seen.header("content-type"), Some("text/x"));
    }
}

#[tokio::test]
async fn targets_pass_byte_for_byte() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let odd = [
        "/",
        "//double//slash/",
        "/a/../b/./c",
        "/%2e%2E/%2F%00%zz%",
        "/a;b=c,d:@!$&'()*+~",
        "/q?",
        "/q??&&=&a=&=b&a[]=1|2{3}%20+%2B",
        "/q?algorithm=x&xalgo=y&next=/a?b=algo",
        "/\"quoted\"",
    ];
    for target in odd {
        lb.get(target).await;
        assert_eq!(backend.requests().pop().unwrap().target(), target);
    }
}

#[tokio::test]
async fn header_bytes_beyond_ascii_pass() {
    let backend =
        Script::answering(&b"HTTP/1.1 200 OK\r\nx-back: caf\xe9\r\ncontent-length: 0\r\n\r\n"[..]).await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let reply = lb.send(&b"GET / HTTP/1.1\r\nHost: h\r\nX-There: na\xefve\r\n\r\n"[..]).await;
    assert!(reply.raw.windows(6).any(|w| w == b": caf\xe9"), "{reply:?}");
    assert!(backend.request().raw.windows(7).any(|w| w == b": na\xefve"));
}

#[tokio::test]
async fn status_headers_and_body_come_back() {
    let lb_of = async |answer: &str| {
        let backend = Script::answering(answer).await;
        let lb = Lb::over(&[backend.address], &[]).await;
        lb.get("/").await
    };
    let reply = lb_of(
        "HTTP/1.1 418 Short And Stout\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 3\r\nserver: s\r\n\r\npot",
    )
    .await;
    assert_eq!((reply.status(), reply.text().as_str()), (418, "pot"));
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(reply.header("server"), Some("s"));
    assert_eq!(lb_of("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno").await.text(), "no");
    assert_eq!(
        lb_of("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n").await.header("location"),
        Some("/x")
    );
}

#[tokio::test]
async fn interim_responses_do_not_become_the_answer() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </s>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
    let backend = Script::answering(format!("{early}{}", ok("final"))).await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    let mut reply = wire.reply().await;
    while reply.status() < 200 {
        reply = wire.reply().await;
    }
    assert_eq!((reply.status(), reply.text().as_str()), (200, "final"));
}

#[tokio::test]
async fn absolute_targets_are_sent_in_origin_form_with_their_own_host() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    lb.send("GET http://site.test:8080/a?b=1 HTTP/1.1\r\nHost: Site.test:8080\r\n\r\n").await;
    let seen = backend.request();
    assert_eq!(seen.target(), "/a?b=1");
    // RFC 9112, 3.2.2: the target's authority replaces what Host said, which may only differ in how it is written.
    assert_eq!(seen.header("host"), Some("site.test:8080"));
    lb.send("GET http://site.test HTTP/1.1\r\nHost: site.test\r\n\r\n").await;
    assert_eq!(backend.requests().pop().unwrap().target(), "/");
    lb.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(backend.requests().pop().unwrap().target(), "*");
}

#[tokio::test]
async fn both_sides_reuse_their_connections() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    for _ in 0..20 {
        wire.send(keep("/")).await;
        assert_eq!(wire.reply().await.text(), "ok");
        wire.send(post("/", "body")).await;
        assert_eq!(wire.reply().await.text(), "ok");
        assert_eq!(lb.get("/other-client").await.text(), "ok");
    }
    assert_eq!((backend.requests().len(), backend.accepted()), (60, 1));
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_upstream_connects_total", &[("result", "ok")]), 1.0);
    assert_eq!(scrape.sum("lb_upstream_connections", &[("state", "idle")]), 1.0);
    assert_eq!(scrape.sum("lb_downstream_connections_accepted_total", &[("listener", "traffic")]), 21.0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Script::start(|mut conn| async move {
        while let Some(request) = conn.request().await {
            conn.send(ok(&format!("{}{}", request.target(), request.text()))).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send([keep("/1"), post("/2", "b"), keep("/3"), request("GET", "/4", &[])].concat()).await;
    for expected in ["/1", "/2b", "/3", "/4"] {
        assert_eq!(wire.reply().await.text(), expected);
    }
    assert!(wire.gone().await.is_empty(), "closed after the fourth, as asked");
}

#[tokio::test]
async fn a_connection_ends_when_the_client_says_so_but_not_when_a_backend_does() {
    let backend = Script::start(|mut conn| async move {
        if conn.request().await.is_some() {
            conn.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n.").await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    for _ in 0..3 {
        wire.send(keep("/")).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status(), reply.header("connection")), (200, None));
    }
    assert_eq!(backend.accepted(), 3);
    wire.send(request("GET", "/", &[])).await;
    assert_eq!(wire.reply().await.status(), 200);
    assert!(wire.gone().await.is_empty());
}

#[tokio::test]
async fn the_real_backend_sees_the_whole_request() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &[]).await;
    let mut wire = Wire::connect(lb.traffic).await;
    wire.send(format!(
        "POST /echo/a%20b?c=d HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    ))
    .await;
    let echo = wire.reply().await.json();
    assert_eq!(
        (&echo["method"], &echo["path"], &echo["query"]),
        (&"POST".into(), &"/echo/a%20b".into(), &"c=d".into())
    );
    assert_eq!(echo["body_bytes"], 100_000);
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_request_body_bytes_total", &[]), 100_000.0);
    assert_eq!(scrape.sum("lb_requests_total", &[("method", "POST"), ("code", "200")]), 1.0);
}
