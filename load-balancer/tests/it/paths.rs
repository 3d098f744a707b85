//! `pool.allowed_paths`: what backends do not have is refused here, in contracted words, however it is spelt.

use super::support::{Lb, Message, Script, keep};

const LIST: (&str, &str) = ("pool.allowed_paths", r#"["/status", "/api/*"]"#);

fn assert_refused(reply: &Message, path: &str) {
    assert_eq!((reply.status(), reply.header("content-type")), (400, Some("application/json")), "{path}");
    let path = serde_json::to_string(path).unwrap();
    let path = path.trim_matches('"');
    let text = format!(
        r#"{{"message":"<Error> '{path}' endpoint does not exist in server replicas","status":"failure"}}"#
    );
    assert_eq!(reply.text(), text);
    assert!(reply.header("x-request-id").is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_path_off_the_list_gets_the_contracted_words() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[LIST]).await;
    let reply = lb.get("/other?request_id=7").await;
    assert_refused(&reply, "/other");
    let exact =
        r#"{"message":"<Error> '/other' endpoint does not exist in server replicas","status":"failure"}"#;
    assert_eq!(reply.text(), exact);
    lb.settled().await.assert_one("400", "path_not_allowed");
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn what_is_on_the_list_passes_as_it_was_sent() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[LIST]).await;
    let mut wire = lb.connect().await;
    let good = ["/status", "/status?x=/../", "/api", "/api/", "/api/x/y?z", "/%61pi/x", "/api/a%20b"];
    for target in good {
        wire.send(keep(target)).await;
        assert_eq!(wire.reply().await.text(), "ok", "{target}");
    }
    let seen: Vec<_> = backend.requests().iter().map(|r| r.target().to_owned()).collect();
    assert_eq!(seen, good);
}

#[tokio::test]
async fn tricks_do_not_get_through_and_the_connection_lives_on() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[LIST]).await;
    let mut wire = lb.connect().await;
    let bad = [
        "/",
        "/status/",
        "/apix",
        "//api",
        "/api/../secret",
        "/api/%2e%2e/secret",
        "/api/.%2E",
        "/api/..%2fsecret",
        "/api/..;x/secret",
        "/api%2fx",
        "/api/%zz",
        "/a\"b",
    ];
    for path in bad {
        wire.send(keep(path)).await;
        assert_refused(&wire.reply().await, path);
    }
    wire.send("GET http://lab/other HTTP/1.1\r\nHost: lab\r\n\r\n").await;
    assert_refused(&wire.reply().await, "/other");
    wire.send("OPTIONS * HTTP/1.1\r\nHost: lab\r\n\r\n").await;
    assert_refused(&wire.reply().await, "*");
    wire.send(keep("/status")).await;
    assert_eq!(wire.reply().await.text(), "ok");
    assert_eq!((lb.settled().await.aborts("path_not_allowed"), backend.requests().len()), (14.0, 1));
}

#[tokio::test]
async fn the_path_is_looked_at_before_the_algorithm() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[LIST, ("algo.choosers", "off")]).await;
    assert_refused(&lb.get("/other?algo=nonsense").await, "/other");
    assert_eq!(lb.get("/api?algo=random").await.status(), 403);
    let all = Lb::over(&[backend.address], &[]).await;
    assert_eq!(all.get("/any/../thing").await.text(), "ok", "no list is a list of all");
}
