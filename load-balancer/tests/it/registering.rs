//! `/server_up`: backends that announce themselves, and those that must not.

use super::support::{Conn, Lb, Script, assert_refused, configured, ok, within};

const CHECKED: [(&str, &str); 4] = [
    ("health.enabled", "true"),
    ("health.interval", "20ms"),
    ("health.edge_interval", "5ms"),
    ("control.registration", "true"),
];

/// Healthy once the gate is open; names itself to everybody else.
async fn gated(name: &'static str) -> (Script, tokio::sync::watch::Sender<bool>) {
    let (open, gate) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn: Conn| {
        let gate = gate.clone();
        async move {
            while let Some(request) = conn.request().await {
                let sick = request.target() == "/health" && !*gate.borrow();
                let answer =
                    if sick { "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".into() } else { ok(name) };
                if conn.try_send(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (backend, open)
}

#[tokio::test]
async fn a_registered_backend_serves_after_its_first_good_check() {
    let lb = Lb::start(configured("", &CHECKED)).await;
    assert_eq!((lb.members().await.len(), lb.get("/").await.status()), (0, 503));
    let (backend, open) = gated("here").await;
    let url = format!("http://{}/", backend.address);
    let name = format!("127.0.0.1-{}", backend.address.port());
    for _ in 0..3 {
        let reply = lb.register(&url).await;
        assert_eq!((reply.status(), reply.text().as_str()), (200, "ok"));
        assert_eq!(lb.members().await, [name.as_str()], "said again, it changes nothing");
    }
    lb.until("a check has failed", |s| s.sum("lb_health_checks_total", &[("result", "fail")]) > 0.0).await;
    let scrape = lb.scrape().await;
    assert_eq!((scrape.of_backend("lb_backend_healthy", &name), scrape.facts("joined")), (0.0, 1.0));
    assert_eq!(lb.get("/").await.status(), 503);
    open.send_replace(true);
    lb.until("it is up", |s| s.of_backend("lb_backend_healthy", &name) == 1.0).await;
    assert_eq!(lb.get("/").await.text(), "here");
    // Taken out and back, while it drains and after it has left.
    for left in [0.0, 2.0] {
        assert_eq!(lb.remove(1, &[&name]).await.members().len(), 0);
        lb.until("it has left", |s| s.facts("left") >= left).await;
        assert_eq!(lb.register(&url).await.text(), "ok");
        within("its requests", async { while lb.get("/").await.status() != 200 {} }).await;
    }
    assert_eq!(lb.scrape().await.asked("/server_up", "200"), 5.0);
}

#[tokio::test]
async fn urls_that_must_not_be_proxied_to_are_refused() {
    let stays = Script::named("stays").await;
    let settings = [("control.registration", "true"), ("control.max_backends", "2")];
    let lb = Lb::over(&[stays.address], &settings).await;
    let own = [format!("http://{}/", lb.traffic), format!("http://{}/", lb.admin)];
    let own: Vec<_> = own.iter().map(|url| (url.as_str(), "this balancer itself")).collect();
    let bad = [
        ("", "is no URL"),
        ("server1:5000", "must begin with http://"),
        ("https://127.0.0.1:1/", "set pool.tls.enabled = true"),
        ("file:///etc/hosts", "must begin with http://"),
        ("gopher://127.0.0.1:1/", "must begin with http://"),
        ("http://", "is no URL"),
        ("http://127.0.0.1:99999/", "is no URL"),
        ("http://127.0.0.1:0/", "a port above 0"),
        ("http://u:p@127.0.0.1:1/", "no more than"),
        ("http://127.0.0.1:1/a/b", "no more than"),
        ("http://127.0.0.1:1/?a", "no more than"),
        ("http://127.0.0.1:1/#a", "no more than"),
        ("http://169.254.169.254/", "control.networks"),
        ("http://[fe80::1]:1/", "control.networks"),
        ("http://8.8.8.8:53/", "control.networks"),
        ("http://0.0.0.0:1/", "control.networks"),
    ];
    for (url, why) in bad.into_iter().chain(own) {
        assert_refused(&lb.register(url).await, 400, why);
    }
    for body in ["", "{}", "[]", r#"{"url":5}"#, r#"{"url":null}"#, r#"{"url":"http://127.0.0.1:1/","n":1}"#]
    {
        assert_refused(&lb.ask("POST", "/server_up", body).await, 400, "");
    }
    assert_eq!(lb.members().await, ["b1"]);
    assert_eq!(lb.register("http://127.0.0.1:1/").await.text(), "ok");
    assert_refused(&lb.register("http://127.0.0.1:2/").await, 400, "more than 2 replicas");
    assert_eq!(lb.register(&format!("http://{}", stays.address)).await.text(), "ok", "b1 is known");
    assert_eq!(lb.members().await, ["b1", "127.0.0.1-1"]);
}

/// Who only drains takes no room, as for `/add` and for what other balancers bring in.
#[tokio::test]
async fn one_that_drains_leaves_its_place_at_once() {
    let stays = Script::named("stays").await;
    let settings = [("control.registration", "true"), ("control.max_backends", "2")];
    let lb = Lb::over(&[stays.address], &settings).await;
    assert_eq!(lb.register("http://127.0.0.1:1/").await.text(), "ok");
    assert_refused(&lb.register("http://127.0.0.1:2/").await, 400, "more than 2 replicas");
    assert_eq!(lb.remove(1, &["127.0.0.1-1"]).await.members(), ["b1"]);
    assert_eq!(lb.register("http://127.0.0.1:2/").await.text(), "ok");
    assert_eq!(lb.scrape().await.facts("left"), 0.0, "it still drains");
    assert_eq!(lb.members().await, ["b1", "127.0.0.1-2"]);
    assert_refused(&lb.register("http://127.0.0.1:1/").await, 400, "more than 2 replicas");
}

#[tokio::test]
async fn registration_is_off_unless_turned_on() {
    let backend = Script::named("b").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let reply = lb.register("http://127.0.0.1:1/").await;
    assert_refused(&reply, 403, "set control.registration = true");
    assert_eq!(reply.json()["error"], "no backend may register itself here: set control.registration = true");
    assert_eq!((lb.members().await.len(), lb.scrape().await.asked("/server_up", "403")), (1, 1.0));
}

#[tokio::test]
async fn control_paths_are_on_the_traffic_port_only_where_told() {
    let backend = Script::named("the backend's own").await;
    let registration = ("control.registration", "true");
    let ask = |path, body| super::support::post(path, body);
    let lb = Lb::over(&[backend.address], &[registration]).await;
    assert_eq!(lb.get("/rep").await.text(), "the backend's own");
    let body = r#"{"url":"http://127.0.0.1:1/"}"#;
    assert_eq!(lb.send(ask("/server_up", body)).await.text(), "the backend's own");
    assert_eq!(lb.send(ask("/rm", r#"{"n":1}"#)).await.text(), "the backend's own");
    assert_eq!(lb.members().await, ["b1"]);

    let lb = Lb::over(&[backend.address], &[registration, ("control.on_traffic_port", "true")]).await;
    assert_eq!(lb.get("/rep").await.members(), ["b1"]);
    assert_eq!(lb.send(ask("/server_up", body)).await.text(), "ok");
    assert_eq!(lb.send(ask("/rm", r#"{"n":1,"hostnames":["127.0.0.1-1"]}"#)).await.members(), ["b1"]);
    assert_eq!((lb.get("/health").await.text().as_str(), lb.get("/metrics").await.status()), ("OK", 200));
    assert_eq!(lb.get("/other").await.text(), "the backend's own");
}
