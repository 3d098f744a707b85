//! What concerns one connection ends there; what the balancer knows better than its client replaces the client's words.

use super::support::{Lb, Message, Script};

/// What a backend gets for a request with these header lines.
async fn seen(headers: &str, settings: &[(&str, &str)]) -> Message {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], settings).await;
    let reply = lb.send(format!("GET /x HTTP/1.1\r\nHost: site:8\r\n{headers}\r\n\r\n")).await;
    assert_eq!(reply.status(), 200);
    backend.request()
}

fn names(message: &Message) -> Vec<&str> {
    message.headers.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn hop_by_hop_fields_of_requests_end_here() {
    let seen = seen(
        "Connection: keep-alive, X-Private\r\nConnection: X-Other, TE\r\nX-Private: 1\r\nX-Other: 2\r\nX-Kept: 3\r\nTE: gzip\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x",
        &[],
    )
    .await;
    let names = names(&seen);
    for gone in
        ["connection", "x-private", "x-other", "te", "keep-alive", "proxy-connection", "proxy-authorization"]
    {
        assert!(!names.contains(&gone), "{gone} in {names:?}");
    }
    assert_eq!(seen.header("x-kept"), Some("3"));
}

#[tokio::test]
async fn connection_cannot_take_away_what_a_request_needs() {
    let seen = seen(
        "Connection: close, Host, Content-Type, Authorization, Cookie, X-Forwarded-For, X-Request-Id\r\nContent-Type: a/b\r\n\
         Authorization: B x\r\nCookie: c=1\r\nX-Request-Id: mine",
        &[],
    )
    .await;
    assert_eq!((seen.header("host"), seen.header("content-type")), (Some("site:8"), Some("a/b")));
    assert_eq!((seen.header("authorization"), seen.header("cookie")), (Some("B x"), Some("c=1")));
    assert_eq!(
        (seen.header("x-forwarded-for"), seen.header("x-request-id")),
        (Some("127.0.0.1"), Some("mine"))
    );
}

#[tokio::test]
async fn h2c_is_never_asked_of_a_backend() {
    for upgrade in ["h2c", "H2C", "h2c, websocket", "websocket, h2c"] {
        let seen = seen(
            &format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
            &[],
        )
        .await;
        let names = names(&seen);
        for gone in ["connection", "upgrade", "http2-settings"] {
            assert!(!names.contains(&gone), "{gone} for {upgrade}: {names:?}");
        }
    }
}

#[tokio::test]
async fn hop_by_hop_fields_of_responses_end_here() {
    let answer = "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: x\r\n\
                  upgrade: h2c\r\nx-kept: 2\r\ncontent-length: 0\r\n\r\n";
    let backend = Script::answering(answer).await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let reply = wire.reply().await;
    let names = names(&reply);
    for gone in ["connection", "x-private", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!names.contains(&gone), "{gone} in {names:?}");
    }
    assert_eq!(reply.header("x-kept"), Some("2"));
}

#[tokio::test]
async fn a_stranger_s_forwarding_fields_are_replaced() {
    let seen = seen(
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
         X-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /admin\r\nForwarded: for=9.9.9.9",
        &[],
    )
    .await;
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("site:8"));
    assert_eq!((seen.header("x-forwarded-port"), seen.header("x-forwarded-prefix")), (None, None));
    assert_eq!(seen.header("forwarded"), None);
}

#[tokio::test]
async fn a_trusted_proxy_s_forwarding_fields_are_extended() {
    let trusted = ("client.trusted_proxies", "[\"127.0.0.0/8\"]");
    let headers = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n\
                   X-Forwarded-Port: 443\r\nForwarded: for=1.2.3.4;proto=https";
    let plain = seen(headers, &[trusted]).await;
    assert_eq!(plain.header("x-forwarded-for"), Some("1.2.3.4, 5.6.7.8, 127.0.0.1"));
    assert_eq!(
        (plain.header("x-forwarded-proto"), plain.header("x-forwarded-host")),
        (Some("https"), Some("shop"))
    );
    assert_eq!(plain.header("x-forwarded-port"), Some("443"));
    let rfc = seen(headers, &[trusted, ("client.forwarded", "true")]).await;
    assert_eq!(
        rfc.header("forwarded"),
        Some("for=1.2.3.4;proto=https, for=127.0.0.1;host=\"site:8\";proto=http")
    );
    let alone = seen("Forwarded: for=6.6.6.6", &[("client.forwarded", "true")]).await;
    assert_eq!(alone.header("forwarded"), Some("for=127.0.0.1;host=\"site:8\";proto=http"));
}

#[tokio::test]
async fn one_request_id_for_client_and_backend() {
    let backend =
        Script::answering("HTTP/1.1 200 OK\r\nx-request-id: theirs\r\ncontent-length: 0\r\n\r\n").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut made = Vec::new();
    for given in ["", "X-Request-Id: abc-123_~!\r\n", "X-Request-Id: two words\r\n", "X-Request-Id: \r\n"] {
        let reply = lb.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{given}\r\n")).await;
        let seen = backend.requests().pop().unwrap();
        assert_eq!(reply.header("x-request-id"), seen.header("x-request-id"));
        made.push(reply.header("x-request-id").unwrap().to_owned());
    }
    assert_eq!(made[1], "abc-123_~!");
    for new in [&made[0], &made[2], &made[3]] {
        assert!(new.len() == 32 && new.bytes().all(|b| b.is_ascii_hexdigit()), "{new}");
    }
    assert_ne!(made[0], made[2]);
    let long = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: {}\r\n\r\n", "x".repeat(129));
    assert_eq!(lb.send(long).await.header("x-request-id").unwrap().len(), 32);
}

#[tokio::test]
async fn words_for_the_balancer_are_not_passed_on() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let headers = ["X-Lb-Algo: random", "X-Lb-Debug: 1", "X-Lb-Algorithm: forged"];
    assert_eq!(lb.get_with("/a?x=1&algo=least_connections&y=%20&&z", &headers).await.status(), 200);
    let seen = backend.request();
    assert_eq!(seen.target(), "/a?x=1&y=%20&&z");
    assert_eq!((seen.header("x-lb-algo"), seen.header("x-lb-debug")), (None, None));
    assert_eq!(seen.header("x-lb-algorithm"), Some("least_connections"), "the query wins over the header");
    assert_eq!(lb.get_with("/b?algo=random", &[]).await.text(), "ok");
    assert_eq!(backend.requests()[1].target(), "/b", "no bare question mark stays");
}
