//! TLS with backends: believed only with reason, checked and scraped as they are asked, never spoken to in clear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::support::{Authority, Issued, Lb, Script, Wire, configured, ok, pattern};

/// A backend that speaks TLS alone and answers 200 to whatever comes.
struct Secure {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Secure {
    /// Shows `issued`; where there is a `client_ca`, only who shows one of its certificates is served.
    async fn start(issued: &Issued, client_ca: Option<&Authority>) -> Secure {
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&ring));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(authority.certificates());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ring);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_single_cert(issued.certificates(), issued.private_key()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&served);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut wire = Wire::over(stream);
                    while let Some(request) = wire.request().await {
                        counter.fetch_add(1, SeqCst);
                        let said = format!("{} {}", request.target(), request.header("host").unwrap());
                        if wire.try_send(ok(&said)).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Secure { address, served, accepting }
    }

    fn served(&self) -> usize {
        self.served.load(SeqCst)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A balancer before `address`, as the file has it, with `settings`.
pub(super) async fn before(address: &str, settings: &[(&str, &str)]) -> Lb {
    let text = format!("[[pool.backend]]\nname = \"b1\"\naddress = \"{address}\"\n");
    Lb::start(configured(&text, settings)).await
}

pub(super) fn quoted(path: &std::path::Path) -> String {
    format!("{path:?}")
}

#[tokio::test]
async fn a_backend_is_believed_by_its_authority_and_its_name_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, not_ca) = (quoted(&authority.file()), quoted(&other.file()));
    let by_address = Secure::start(&authority.issue("address", &["127.0.0.1"]), None).await;
    let by_name = Secure::start(&authority.issue("name", &["b.test"]), None).await;
    let expired = Secure::start(&authority.issue_until("old", &["127.0.0.1"], 2020), None).await;
    let of = |backend: &Secure| format!("https://{}", backend.address);

    let lb = before(&of(&by_address), &[("pool.tls.ca", &ca)]).await;
    for _ in 0..2 {
        assert_eq!(lb.get("/a").await.text(), "/a lab");
    }
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_upstream_connects_total", &[("result", "ok")]), 1.0, "kept and used again");
    assert_eq!(scrape.sum("lb_upstream_tls_unverified", &[]), 0.0);

    let named = [("pool.tls.ca", ca.as_str()), ("pool.tls.server_name", "b.test")];
    assert_eq!(before(&of(&by_name), &named).await.get("/n").await.status(), 200);
    for (backend, ca, why) in [
        (&by_address, &not_ca, "UnknownIssuer"),
        (&by_name, &ca, "not valid for name"),
        (&expired, &ca, "expired"),
    ] {
        let served = backend.served();
        let lb = before(&of(backend), &[("pool.tls.ca", ca.as_str())]).await;
        let answer = lb.get_with("/", &["x-lb-debug: 1"]).await;
        assert_eq!((answer.status(), answer.json()["error"].as_str()), (502, Some("Backend unreachable")));
        let reason = &answer.json()["reason"];
        assert_eq!(reason["kind"], "upstream_tls");
        assert!(reason["detail"].as_str().unwrap().contains(why), "{reason}");
        let scrape = lb.settled().await;
        scrape.assert_one("502", "upstream_tls");
        assert_eq!(scrape.sum("lb_upstream_connects_total", &[("result", "tls")]), 1.0);
        assert_eq!(backend.served(), served, "it was asked for nothing");
        let lb = before(&of(backend), &[("pool.tls.insecure_skip_verify", "true")]).await;
        assert_eq!(lb.get("/").await.status(), 200, "spelt out");
        assert_eq!(lb.scrape().await.sum("lb_upstream_tls_unverified", &[]), 1.0);
    }
}

#[tokio::test]
async fn a_backend_that_asks_who_we_are_is_shown_it() {
    let (authority, people) = (Authority::new(), Authority::new());
    let secure = Secure::start(&authority.issue("b", &["127.0.0.1"]), Some(&people)).await;
    let own = people.issue("own", &["balancer"]);
    let (ca, chain, key) = (quoted(&authority.file()), quoted(&own.chain), quoted(&own.key));
    // The scheme of the pool, for an address that says nothing.
    let address = secure.address.to_string();
    let base = [("pool.tls.enabled", "true"), ("pool.tls.ca", ca.as_str())];
    let lb = before(&address, &base).await;
    assert_eq!(lb.get("/").await.status(), 502);
    assert_eq!(secure.served(), 0);
    let shown = [base[0], base[1], ("pool.tls.certificate", chain.as_str()), ("pool.tls.key", key.as_str())];
    let lb = before(&address, &shown).await;
    assert_eq!(lb.get("/").await.status(), 200);
    let ends =
        lb.scrape().await.sum("lb_tls_certificate_not_after_timestamp_seconds", &[("place", "backends")]);
    assert_eq!(ends, 2_208_988_800.0);
    // And in clear where that is said, which this backend does not speak.
    let lb = before(&format!("http://{address}"), &shown).await;
    assert_eq!(lb.get("/").await.status(), 502);
}

#[tokio::test]
async fn checks_and_scrapes_believe_whom_requests_believe() {
    let (authority, other) = (Authority::new(), Authority::new());
    let secure = Secure::start(&authority.issue("b", &["b.test"]), None).await;
    let (ca, not_ca) = (quoted(&authority.file()), quoted(&other.file()));
    let address = format!("https://{}", secure.address);
    let settings = |ca| {
        [
            ("pool.tls.ca", ca),
            ("pool.tls.server_name", "b.test"),
            ("health.enabled", "true"),
            ("health.edge_interval", "20ms"),
            ("signals.source", "stats"),
            ("signals.interval", "250ms"),
            ("signals.timeout", "200ms"),
        ]
    };
    let lb = before(&address, &settings(&ca)).await;
    assert_eq!(lb.get("/").await.status(), 200);
    // What it says is no load report; that it was heard is all that matters here.
    lb.until("a scrape", |s| s.sum("lb_scrapes_total", &[("result", "unreadable")]) > 0.0).await;
    let lb = before(&address, &settings(&not_ca)).await;
    lb.until("failed checks", |s| s.sum("lb_health_checks_total", &[("result", "fail")]) >= 2.0).await;
    assert_eq!(lb.get("/").await.status(), 503, "not healthy, so not eligible");
    let told = lb.admin("/decisions?format=json&last=100").await.text();
    assert!(told.contains("UnknownIssuer"), "{told}");
    // Its authority is put right: the file is watched, and the checks that follow believe it.
    std::fs::copy(authority.file(), other.file()).unwrap();
    lb.until("a healthy backend", |s| s.sum("lb_backend_healthy", &[]) == 1.0).await;
    assert_eq!(lb.get("/").await.status(), 200);
}

/// TLS on both sides, and a protocol that is neither's.
#[tokio::test]
async fn an_upgraded_connection_is_carried_through_both() {
    let authority = Authority::new();
    let issued = authority.issue("both", &["127.0.0.1", "lb.test"]);
    let acceptor = issued.acceptor(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let echo = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut wire = Wire::over(acceptor.accept(stream).await.unwrap());
        wire.request().await.unwrap_or_default();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
        let much = wire.exactly(300_000).await.unwrap();
        wire.send(&much).await;
        wire.gone().await
    });
    let (ca, certificates) = (quoted(&authority.file()), format!("[{}]", issued.toml()));
    let settings =
        [("pool.tls.ca", ca.as_str()), ("tls.certificate", &certificates), ("listen.tls", "127.0.0.1:0")];
    let lb = before(&address, &settings).await;
    let mut wire = authority.trust().connect(lb.tls(), "lb.test").await;
    wire.send("GET /echo HTTP/1.1\r\nHost: lab\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    let much = pattern(300_000);
    wire.send(&much).await;
    assert!(wire.exactly(much.len()).await.unwrap() == much);
    drop(wire);
    assert!(echo.await.unwrap().is_empty());
    lb.settled().await;
}

#[tokio::test]
async fn a_backend_of_several_may_be_spoken_with_differently() {
    let authority = Authority::new();
    let secure = Secure::start(&authority.issue("b", &["own.test"]), None).await;
    let plain = Script::named("plain").await;
    let text = format!(
        "[pool.tls]\nca = {:?}\n[[pool.backend]]\naddress = \"https://{}\"\nserver_name = \"own.test\"\n\
         [[pool.backend]]\naddress = \"{}\"\n",
        authority.file(),
        secure.address,
        plain.address
    );
    let lb = Lb::start(configured(&text, &[("pool.algorithm", "round_robin")])).await;
    for _ in 0..4 {
        assert_eq!(lb.get("/").await.status(), 200);
    }
    assert_eq!((secure.served(), plain.accepted()), (2, 1));
}

#[tokio::test]
async fn who_registers_with_https_is_spoken_with_by_tls() {
    let authority = Authority::new();
    let backend = Secure::start(&authority.issue("address", &["127.0.0.1"]), None).await;
    let other = Secure::start(&authority.issue("other", &["127.0.0.1"]), None).await;
    let (ca, first) = (quoted(&authority.file()), format!("https://{}", backend.address));
    let url = format!("{{\"url\":\"https://{}/\"}}", other.address);
    let mut settings = vec![("control.registration", "true"), ("pool.tls.ca", ca.as_str())];
    let refusing = before(&first, &settings).await;
    let refused = refusing.ask("POST", "/server_up", &url).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("set pool.tls.enabled = true"), "{}", refused.text());
    settings.push(("pool.tls.enabled", "true"));
    settings.extend([("pool.algorithm", "round_robin"), ("pool.slow_start", "0")]);
    let lb = before(&first, &settings).await;
    assert_eq!(lb.ask("POST", "/server_up", &url).await.text(), "ok");
    let asked = other.served();
    for _ in 0..4 {
        assert_eq!(lb.get("/").await.status(), 200);
    }
    assert!(other.served() >= asked + 2, "requests are its own, too");
}
