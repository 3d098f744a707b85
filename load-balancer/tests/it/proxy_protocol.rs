//! The PROXY protocol at the traffic listener: required of some, never read of others, and believed about the client alone.

use load_balancer::proxy_protocol::{Ends, parse};

use super::support::{Lb, Message, Script, Wire, keep, ok, post, request};

/// The proxy that speaks it.
const PROXY: &str = "127.0.0.9";

async fn lb(backend: &Script, more: &[(&str, &str)]) -> Lb {
    let settings = [&[("proxy_protocol.from", "[\"127.0.0.9\"]")], more].concat();
    Lb::over(&[backend.address], &settings).await
}

/// A connection of the proxy's, on which it has said so.
async fn relayed(lb: &Lb, header: impl AsRef<[u8]>) -> Wire {
    let mut wire = Wire::from(PROXY, lb.traffic).await.unwrap();
    wire.send(header).await;
    wire
}

fn v1(client: &str) -> String {
    format!("PROXY TCP4 {client} 198.51.100.2 40000 443\r\n")
}

/// Version 2 for 203.0.113.7, with a field behind its addresses.
fn v2() -> Vec<u8> {
    let addresses = [203, 0, 113, 7, 198, 51, 100, 2, 0x9c, 0x40, 0x01, 0xbb];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10"[..], &addresses, &[0x04, 0, 1, 0]].concat()
}

/// Version 2 of a proxy that speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

async fn ask(wire: &mut Wire) -> Message {
    wire.send(keep("/")).await;
    wire.reply().await
}

#[tokio::test]
async fn the_header_names_the_client_and_ends_where_the_request_begins() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[]).await;
    for header in [v1("203.0.113.7").into_bytes(), v2()] {
        // In one piece with two requests.
        let together = [&header[..], keep("/").as_bytes(), keep("/").as_bytes()].concat();
        let mut wire = relayed(&lb, together).await;
        assert_eq!((wire.reply().await.text(), wire.reply().await.text()), ("ok".into(), "ok".into()));
        // A byte at a time: the request's first must not be taken for the header's last.
        let mut wire = Wire::from(PROXY, lb.traffic).await.unwrap();
        for byte in [&header[..], keep("/").as_bytes()].concat() {
            wire.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(wire.reply().await.text(), "ok");
    }
    let told = backend.requests();
    assert_eq!(told.len(), 6);
    assert!(told.iter().all(|request| request.header("x-forwarded-for") == Some("203.0.113.7")), "{told:?}");
}

#[tokio::test]
async fn whoever_must_say_it_and_does_not_is_closed() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[("proxy_protocol.timeout", "100ms")]).await;
    let mut torn = v2();
    torn[12] = 0x11;
    let plain = keep("/");
    let cases: [(&[u8], &str); 5] = [
        (plain.as_bytes(), "proxy_header"),
        (b"PROXY TCP4 203.0.113.7 198.51.100.2 99999 443\r\n", "proxy_header"),
        (&torn, "proxy_header"),
        (b"", "proxy_timeout"),
        (b"PROXY TCP4 203.0.113", "proxy_timeout"),
    ];
    for (header, reason) in cases {
        let before = lb.scrape().await;
        let count = |s: &super::support::Scrape| {
            s.sum("lb_downstream_connections_refused_total", &[("reason", reason)])
        };
        let wire = relayed(&lb, header).await;
        assert!(wire.gone().await.is_empty(), "an answer to what is not HTTP");
        lb.until("counted", |s| count(s) == count(&before) + 1.0).await;
    }
    assert!(backend.requests().is_empty());
    assert_eq!(lb.settled().await.sum("lb_downstream_connections", &[]), 0.0);
}

#[tokio::test]
async fn others_cannot_say_it() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[]).await;
    for header in [v1("203.0.113.7").into_bytes(), v2()] {
        let mut wire = Wire::from("127.0.0.3", lb.traffic).await.unwrap();
        wire.send([&header[..], keep("/").as_bytes()].concat()).await;
        assert_eq!(wire.reply().await.status(), 400);
    }
    assert!(backend.requests().is_empty());
    let mut wire = Wire::from("127.0.0.3", lb.traffic).await.unwrap();
    assert_eq!(ask(&mut wire).await.text(), "ok");
    assert_eq!(backend.request().header("x-forwarded-for"), Some("127.0.0.3"));
}

#[tokio::test]
async fn trust_begins_with_the_client_that_was_named() {
    let backend = Script::named("ok").await;
    let settings = [("client.trusted_proxies", "[\"203.0.113.0/24\"]"), ("algo.choosers", "trusted")];
    let lb = lb(&backend, &settings).await;
    let forwarded = ["X-Forwarded-For: 192.0.2.1"];
    for (client, told) in [("203.0.113.7", "192.0.2.1, 203.0.113.7"), ("198.51.100.9", "198.51.100.9")] {
        let mut wire = relayed(&lb, v1(client)).await;
        wire.send(request("GET", "/", &forwarded)).await;
        assert_eq!(wire.reply().await.text(), "ok");
        assert_eq!(backend.requests().last().unwrap().header("x-forwarded-for"), Some(told));
    }
    // The proxy itself is on this machine, whose clients may choose an algorithm. Who comes through it is not.
    let named = v1("198.51.100.9");
    let nobody: [&[u8]; 3] = [named.as_bytes(), LOCAL, b"PROXY UNKNOWN\r\n"];
    for header in nobody {
        let mut wire = relayed(&lb, header).await;
        wire.send(request("GET", "/?algo=random", &[])).await;
        assert_eq!(wire.reply().await.status(), 403);
    }
    let mut wire = relayed(&lb, v1("127.0.0.1")).await;
    wire.send(request("GET", "/?algo=random", &[])).await;
    assert_eq!(wire.reply().await.text(), "ok");
}

#[tokio::test]
async fn whoever_is_relayed_is_never_an_operator_on_this_machine() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[("control.on_traffic_port", "true")]).await;
    let named = v1("127.0.0.1");
    let cases: [&[u8]; 3] = [LOCAL, b"PROXY UNKNOWN\r\n", named.as_bytes()];
    for header in cases {
        let mut wire = relayed(&lb, header).await;
        assert_eq!(ask(&mut wire).await.text(), "ok");
        wire.send(post("/add", "{\"n\":1}")).await;
        assert_eq!(wire.reply().await.status(), 403);
    }
    let mut wire = Wire::from("127.0.0.3", lb.traffic).await.unwrap();
    wire.send(post("/add", "{\"n\":1}")).await;
    assert_eq!(wire.reply().await.status(), 409, "it may, but there is no provider");
}

#[tokio::test]
async fn those_named_are_counted_in_their_own_network() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[("limits.connections_per_network", "1")]).await;
    let mut first = relayed(&lb, v1("203.0.113.7")).await;
    assert_eq!(ask(&mut first).await.text(), "ok");
    assert!(relayed(&lb, v2()).await.gone().await.is_empty(), "a second connection of one client");
    let mut other = relayed(&lb, v1("203.0.113.8")).await;
    assert_eq!(ask(&mut other).await.text(), "ok");
    for _ in 0..3 {
        assert_eq!(ask(&mut relayed(&lb, LOCAL).await).await.text(), "ok", "the proxy's own are not counted");
    }
}

/// A backend that wants a header in front of each connection, and tells what it said.
async fn told() -> (Script, tokio::sync::mpsc::UnboundedReceiver<Option<Ends>>) {
    let (tell, said) = tokio::sync::mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            let mut bytes = Vec::new();
            let header = loop {
                match parse(&bytes) {
                    Ok(None) => bytes.extend(conn.exactly(1).await.expect("a header")),
                    parsed => break parsed.expect("nothing but a header").unwrap(),
                }
            };
            // The test may be over.
            let _ = tell.send(header.ends);
            while conn.request().await.is_some() {
                if conn.try_send(ok("ok")).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (backend, said)
}

#[tokio::test]
async fn backends_are_told_whose_each_connection_is() {
    for version in ["v1", "v2"] {
        let (backend, mut said) = told().await;
        let settings = [("pool.proxy_protocol", version), ("client.trusted_proxies", "[\"127.0.0.8\"]")];
        let lb = lb(&backend, &settings).await;
        // A client of its own, which keeps its connection.
        let mut wire = Wire::from("127.0.0.2", lb.traffic).await.unwrap();
        let client = wire.stream.local_addr().unwrap();
        for _ in 0..2 {
            assert_eq!(ask(&mut wire).await.text(), "ok");
            assert_eq!(said.recv().await.unwrap(), Some(Ends { client, server: lb.traffic }));
        }
        // One that comes through a proxy that speaks HTTP, and one through one that speaks this.
        let mut wire = Wire::from("127.0.0.8", lb.traffic).await.unwrap();
        wire.send(request("GET", "/", &["X-Forwarded-For: 203.0.113.9"])).await;
        assert_eq!(wire.reply().await.text(), "ok");
        let ends = said.recv().await.unwrap().unwrap();
        assert_eq!(ends, Ends { client: "203.0.113.9:0".parse().unwrap(), server: lb.traffic });
        assert_eq!(ask(&mut relayed(&lb, v1("203.0.113.7")).await).await.text(), "ok");
        let (client, server) = ("203.0.113.7:40000".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
        assert_eq!(said.recv().await.unwrap(), Some(Ends { client, server }));
        // Nobody's request goes over a connection of somebody else.
        let scrape = lb.settled().await;
        assert_eq!(
            (backend.accepted(), scrape.sum("lb_upstream_connections", &[("state", "idle")])),
            (4, 0.0)
        );
    }
}

#[tokio::test]
async fn a_health_check_is_nobodys() {
    for version in ["v1", "v2"] {
        let (backend, mut said) = told().await;
        let settings = [("pool.proxy_protocol", version), ("health.enabled", "true"), ("health.rise", "1")];
        let lb = Lb::over(&[backend.address], &settings).await;
        lb.until("up", |s| s.sum("lb_backend_healthy", &[]) == 1.0).await;
        assert_eq!(said.recv().await.unwrap(), None);
        assert_eq!(backend.requests()[0].target(), "/health");
    }
}
