//! Who may change something: whoever has the token; without one this machine's own people, and nobody through a browser
//! or a proxy.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use serde_json::json;

use super::process::{Served, file};
use super::support::{Lb, Message, Script, Wire, assert_refused, within};

const TOKEN: &str = "correct-horse-battery";

/// What changes nothing where it is let through: nobody is named so.
const HARMLESS: &str = r#"{"n":1,"hostnames":["nobody"]}"#;

async fn with(lb: &Lb, headers: &[&str]) -> Message {
    lb.ask_with("POST", "/rm", HARMLESS, headers).await
}

fn assert_unauthorized(reply: &Message, why: &str) {
    assert_refused(reply, 401, why);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let message = format!("<Error> {why}");
    assert_eq!(reply.json(), json!({ "error": why, "message": message, "status": "failure" }));
}

#[tokio::test]
async fn with_a_token_only_the_token_counts() {
    let backend = Script::named("b").await;
    let lb =
        Lb::over(&[backend.address], &[("control.token", TOKEN), ("control.registration", "true")]).await;
    let missing = "a token is needed: Authorization: Bearer TOKEN";
    let wrong = "the token is not the one in control.token";
    for path in ["/add", "/rm", "/server_up"] {
        assert_unauthorized(&lb.ask("POST", path, HARMLESS).await, missing);
    }
    for header in
        ["Authorization: Basic Og==", "Authorization: Bearer", "Authorization: correct-horse-battery"]
    {
        assert_unauthorized(&with(&lb, &[header]).await, missing);
    }
    for token in
        ["correct-horse-batterx", "correct-horse-batter", "correct-horse-battery2", "CORRECT-HORSE-BATTERY"]
    {
        assert_unauthorized(&with(&lb, &[&format!("Authorization: Bearer {token}")]).await, wrong);
    }
    // Not even for a body that could not be read, nor for one that is too long.
    assert_unauthorized(&lb.ask("POST", "/add", "{").await, missing);
    assert_unauthorized(&lb.ask("POST", "/add", &"x".repeat(70_000)).await, missing);
    assert_eq!(lb.members().await, ["b1"], "reading is open");
    let scrape = lb.scrape().await;
    let denied = |path| scrape.asked(path, "401");
    assert_eq!((denied("/add"), denied("/rm"), denied("/server_up")), (3.0, 8.0, 1.0));
    for scheme in ["Bearer", "bearer"] {
        let header = format!("Authorization: {scheme} {TOKEN}");
        assert_refused(&with(&lb, &[&header, "Origin: http://shop.example"]).await, 400, "nobody");
        let registered =
            lb.ask_with("POST", "/server_up", r#"{"url":"http://127.0.0.1:1"}"#, &[&header]).await;
        assert_eq!(registered.text(), "ok");
    }
    assert_eq!(lb.scrape().await.asked("/server_up", "200"), 2.0);
}

#[tokio::test]
async fn without_a_token_only_a_person_on_this_machine_counts() {
    let backend = Script::named("b").await;
    let lb = Lb::over(&[backend.address], &[("control.on_traffic_port", "true")]).await;
    assert_refused(&with(&lb, &[]).await, 400, "nobody");
    let carried = [
        "Origin: http://shop.example",
        "Origin: null",
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 proxy",
        "X-Real-IP: 127.0.0.1",
    ];
    for header in carried {
        let reply = with(&lb, &[header]).await;
        assert_refused(&reply, 403, "needs a token: set control.token");
        assert_eq!(
            reply.json()["error"],
            "a browser's or a proxy's request needs a token: set control.token"
        );
        let mut wire = lb.connect().await;
        wire.send(super::support::asking("POST", "/rm", HARMLESS, &[header])).await;
        assert_refused(&wire.reply().await, 403, "needs a token");
    }
    assert_eq!(lb.scrape().await.asked("/rm", "403"), 2.0 * carried.len() as f64);
    assert_eq!(lb.get_with("/rep", &[carried[0]]).await.members(), ["b1"]);
}

/// Tokens with rights, as a file names them.
fn rights(backend: SocketAddr, readers: &str) -> load_balancer::config::Config {
    let text = format!(
        "[listen]\ntraffic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[control]\nreaders = {readers}\non_traffic_port = true\n\
         [[control.tokens]]\nname = \"eyes\"\ntoken = \"only-to-look-at-it\"\n[[control.tokens]]\nname = \"ops\"\n\
         token = \"{TOKEN}\"\nrights = \"change\"\n[[pool.backend]]\nname = \"b1\"\naddress = \"{backend}\"\n"
    );
    load_balancer::config::Config::parse(&text, std::iter::empty()).unwrap()
}

#[tokio::test]
async fn a_token_has_its_right_and_no_more() {
    let backend = Script::named("b").await;
    // Nobody reads without a token here, this machine included.
    let lb = Lb::start(rights(backend.address, "[]")).await;
    let (eyes, ops) =
        ("Authorization: Bearer only-to-look-at-it", &*format!("Authorization: Bearer {TOKEN}"));
    for path in [
        "/metrics",
        "/health",
        "/ready",
        "/rep",
        "/decisions?format=json",
        "/explain/x",
        "/requests/b1",
        "/no",
    ] {
        let ask = |headers: &'static [&'static str]| lb.ask_with("GET", path, "", headers);
        let denied = ask(&[]).await;
        assert_eq!((denied.status(), denied.header("www-authenticate")), (401, Some("Bearer")), "{path}");
        assert_eq!(ask(&["Authorization: Bearer only-to-look-at-iT"]).await.status(), 401, "{path}");
        for token in [eyes, ops] {
            let reply = lb.ask_with("GET", path, "", &[token]).await;
            assert!(![401, 403].contains(&reply.status()), "{path}: {}", reply.text());
        }
    }
    assert_refused(&with(&lb, &[eyes]).await, 403, "this token may only read");
    assert_refused(&with(&lb, &[ops]).await, 400, "nobody");
    // What others asked is for whoever may read, on the traffic port, too.
    for (headers, status) in [(&[][..], 401), (&[eyes], 404), (&[ops], 404)] {
        assert_eq!(lb.get_with("/explain/x", headers).await.status(), status);
    }
    let exact = "/decisions?what=requests&format=json&exact=true";
    for (token, status) in [(eyes, 403), (ops, 200)] {
        assert_eq!(lb.ask_with("GET", exact, "", &[token]).await.status(), status);
    }
    let counted = lb.ask_with("GET", "/metrics", "", &[eyes]).await.text();
    for (code, times) in [("401", 17), ("403", 1), ("421", 0)] {
        let line = format!("lb_control_reads_denied_total{{code=\"{code}\"}} {times}\n");
        assert!(counted.contains(&line), "{line}");
    }
}

#[tokio::test]
async fn who_may_not_read_is_told_to_the_audit_log_and_cannot_fill_it() {
    let backend = Script::named("b").await;
    let text = format!(
        "[listen]\ntraffic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[control]\nreaders = []\non_traffic_port = true\n\
         [[control.tokens]]\nname = \"eyes\"\ntoken = \"only-to-look-at-it\"\n[[control.tokens]]\nname = \"ops\"\ntoken = \"{TOKEN}\"\nrights = \"change\"\n\
         [[pool.backend]]\naddress = \"{}\"\n",
        backend.address
    );
    let path = file("denied", &text);
    // The audit log is kept whatever else is left out.
    let quiet = [("BALLAST_LOG".to_owned(), "info".to_owned())];
    let served = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || Served::with(&path, &quiet))
    };
    let served = within("the start", served).await.unwrap();
    let lb = Lb::at(served.traffic, served.admin);
    // Who floods the traffic port hides nothing of what is tried on the admin listener.
    for _ in 0..30 {
        assert_eq!(lb.get("/explain/x").await.status(), 401);
    }
    let exact = "/decisions?what=requests&format=json&exact=true";
    let eyes = "Authorization: Bearer only-to-look-at-it";
    assert_eq!(lb.ask_with("GET", exact, "", &[eyes]).await.status(), 403);
    assert_eq!(lb.ask_with("GET", "/rep?token=swordfish", "", &[]).await.status(), 401);
    for _ in 0..30 {
        assert_eq!(lb.ask_with("GET", "/metrics", "", &[]).await.status(), 401);
    }
    // A change that is refused has its line all the same, whatever it was refused for.
    let mut wire = Wire::connect(lb.admin).await;
    wire.send("POST /add HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        .await;
    assert_eq!(wire.reply().await.status(), 421);
    served.signal("TERM");
    let (_, log) = served.ended().await;
    let denied = |port: &str| {
        let of = |line: &&str| line.contains("read denied") && line.contains(&format!("port=\"{port}\""));
        log.lines().filter(of).collect::<Vec<_>>()
    };
    assert_eq!((denied("admin").len(), denied("traffic").len()), (10, 10), "{log}");
    let refused = log.lines().filter(|line| line.contains("control request")).collect::<Vec<_>>();
    assert!(refused.len() == 1 && refused[0].contains("endpoint=\"/add\""), "{refused:?}");
    assert!(refused[0].contains("status=421"), "{refused:?}");
    let lines = denied("admin");
    for (line, told) in [
        (lines[0], "who=\"eyes\" peer=127.0.0.1 port=\"admin\" endpoint=\"/decisions\" status=403"),
        (lines[1], "who=\"\" peer=127.0.0.1 port=\"admin\" endpoint=\"/rep\" status=401"),
    ] {
        assert!(line.contains(" audit: ") && line.contains(told), "{line}");
    }
    assert!(!log.contains("swordfish") && !log.contains("only-to-look"), "{log}");
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn on_loopback_only_names_of_this_machine_are_answered() {
    let backend = Script::named("b").await;
    let lb = Lb::start(rights(backend.address, "[\"127.0.0.0/8\"]")).await;
    for (host, status) in [("evil.example", 421), ("127.0.0.1:1", 200), ("localhost", 200)] {
        let mut wire = Wire::connect(lb.admin).await;
        wire.send(format!("GET /rep HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let reply = wire.reply().await;
        assert_eq!(reply.status(), status, "{host}");
    }
    assert_eq!(lb.get("/rep").await.status(), 200, "names on the traffic port are the sites' own");
}

/// An address of this machine that is not loopback; nothing is sent to find it.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test]
async fn other_machines_need_a_token() {
    let Some(ip) = outward() else { return };
    let backend = Script::named("b").await;
    let everywhere =
        [("listen.traffic", "0.0.0.0:0"), ("listen.admin", "0.0.0.0:0"), ("control.on_traffic_port", "true")];
    for (token, status) in [("", 403), (TOKEN, 400)] {
        let lb = Lb::over(&[backend.address], &[&everywhere[..], &[("control.token", token)]].concat()).await;
        for port in [lb.admin.port(), lb.traffic.port()] {
            let mut wire = Wire::connect(SocketAddr::new(ip, port)).await;
            let header = format!("Authorization: Bearer {TOKEN}");
            wire.send(super::support::asking("POST", "/rm", HARMLESS, &[&header])).await;
            let reply = wire.reply().await;
            assert_refused(&reply, status, if status == 403 { "only this machine" } else { "nobody" });
        }
    }
}

#[tokio::test]
async fn the_token_is_never_shown() {
    let backend = Script::named("b").await;
    let secret = file("token", &format!("  {TOKEN}\n"));
    let text = format!(
        "[listen]\ntraffic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[control]\ntoken_file = {secret:?}\n\
         [[pool.backend]]\naddress = \"{}\"\n",
        backend.address
    );
    let path = file("with-token", &text);
    let verbose = [("BALLAST_LOG".to_owned(), "debug".to_owned())];
    let served = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || Served::with(&path, &verbose))
    };
    let served = within("the start", served).await.unwrap();
    let lb = Lb::at(served.traffic, served.admin);
    let wrong = "swordfish-swordfish";
    assert_unauthorized(
        &with(&lb, &[&format!("Authorization: Bearer {wrong}")]).await,
        "the token is not the one in control.token",
    );
    assert_refused(&with(&lb, &[&format!("Authorization: Bearer {TOKEN}")]).await, 400, "nobody");
    let metrics = lb.admin("/metrics").await.text();
    served.signal("TERM");
    let (_, log) = served.ended().await;
    assert!(log.contains("control request"), "{log}");
    let config = super::support::config(&[(backend.address, 1)], &[("control.token", TOKEN)]);
    for (place, text) in [("metrics", metrics), ("log", log), ("Debug", format!("{config:?}"))] {
        assert!(!text.contains(TOKEN) && !text.contains(wrong), "in the {place}");
    }
    for path in [secret, path] {
        std::fs::remove_file(path).unwrap();
    }
}
