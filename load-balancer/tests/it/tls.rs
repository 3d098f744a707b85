//! TLS with clients and operators: which certificate, which version, what requests say of it, and who is not served.

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{Authority, H2, Issued, Lb, Script, SecureWire, Trust, Wire, keep, request, within};

/// A balancer in front of `script` that shows `certificates` beside its plain listener.
pub(super) async fn serving(script: &Script, certificates: &[&Issued], more: &[(&str, &str)]) -> Lb {
    let list: Vec<String> = certificates.iter().map(|issued| issued.toml()).collect();
    let list = format!("[{}]", list.join(", "));
    let mut settings = vec![("listen.tls", "127.0.0.1:0"), ("tls.certificate", list.as_str())];
    settings.extend_from_slice(more);
    Lb::over(&[script.address], &settings).await
}

/// The certificate that a client was shown.
pub(super) fn shown(wire: &SecureWire) -> Vec<u8> {
    wire.stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn first(issued: &Issued) -> Vec<u8> {
    issued.certificates()[0].to_vec()
}

fn shaken(result: &'static str, version: &'static str) -> [(&'static str, &'static str); 3] {
    [("listener", "traffic"), ("result", result), ("version", version)]
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let (one, two) =
        (authority.issue("one", &["one.test"]), authority.issue("two", &["*.two.test", "two.test"]));
    let lb = serving(&script, &[&one, &two], &[]).await;
    for (name, expected) in [("one.test", &one), ("two.test", &two), ("a.two.test", &two)] {
        let mut wire = authority.trust().connect(lb.tls(), name).await;
        assert_eq!(shown(&wire), first(expected), "{name}");
        wire.send(request("GET", "/", &[])).await;
        assert_eq!(wire.reply().await.text(), "b");
    }
    // A name that nobody has gets the first, and the client says what is wrong with it.
    let refused = authority.trust().try_connect(lb.tls(), "three.test").await.err().unwrap();
    assert!(refused.to_string().contains("not valid for name"), "{refused}");
    let scrape = lb.until("four handshakes", |s| s.sum("lb_tls_handshakes_total", &[]) == 4.0).await;
    assert_eq!(scrape.sum("lb_tls_handshakes_total", &shaken("ok", "1.3")), 3.0);
    assert_eq!(scrape.sum("lb_tls_handshakes_total", &shaken("refused", "none")), 1.0);
    let ends = scrape.sum("lb_tls_certificate_not_after_timestamp_seconds", &[("place", "traffic")]);
    assert_eq!(ends, 2.0 * 2_208_988_800.0, "both until 2040");
}

#[tokio::test]
async fn both_versions_are_spoken_and_none_before_them() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let lb = serving(&script, &[&issued], &[]).await;
    for version in [&TLS12, &TLS13] {
        let mut wire = authority.trust().only(version).connect(lb.tls(), "lb.test").await;
        wire.send(request("GET", "/", &[])).await;
        assert_eq!(wire.reply().await.status(), 200);
    }
    // A hello of TLS 1.1, with one cipher of its time.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut old = within("connect", TcpStream::connect(lb.tls())).await.unwrap();
    old.write_all(&hello).await.unwrap();
    let mut alert = [0; 7];
    within("an alert", old.read_exact(&mut alert)).await.unwrap();
    assert_eq!((alert[0], alert[5]), (0x15, 2), "a fatal alert: {alert:?}");
    let scrape = lb.until("three handshakes", |s| s.sum("lb_tls_handshakes_total", &[]) == 3.0).await;
    for (result, version) in [("ok", "1.2"), ("ok", "1.3"), ("incompatible", "none")] {
        assert_eq!(
            scrape.sum("lb_tls_handshakes_total", &shaken(result, version)),
            1.0,
            "{result} {version}"
        );
    }
    let strict = serving(&script, &[&issued], &[("tls.min_version", "1.3")]).await;
    let refused = authority.trust().only(&TLS12).try_connect(strict.tls(), "lb.test").await;
    assert!(refused.is_err());
    authority.trust().connect(strict.tls(), "lb.test").await;
}

#[tokio::test]
async fn backends_hear_how_the_client_came_and_cannot_be_told_otherwise() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let lb = serving(&script, &[&issued], &[("client.forwarded", "true")]).await;
    let mut wire = authority.trust().offering(&["http/1.1"]).connect(lb.tls(), "lb.test").await;
    assert_eq!(wire.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    for target in ["/1", "/2"] {
        let lied = "X-Forwarded-Proto: http\r\nX-Forwarded-Client-Cert: Subject=\"CN=root\"\r\n\r\n";
        wire.send(keep(target).replace("\r\n\r\n", &format!("\r\n{lied}"))).await;
        assert_eq!(wire.reply().await.status(), 200);
    }
    assert_eq!(lb.get_with("/plain", &["X-Forwarded-Proto: https"]).await.status(), 200);
    for request in script.requests() {
        let scheme = if request.target() == "/plain" { "http" } else { "https" };
        assert_eq!(request.header("x-forwarded-proto"), Some(scheme));
        assert!(request.header("forwarded").unwrap().ends_with(&format!(";proto={scheme}")));
        assert_eq!(request.header("x-forwarded-client-cert"), None);
    }
}

#[tokio::test]
async fn http2_is_agreed_on_where_both_speak_it() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let lb = serving(&script, &[&issued], &[]).await;
    let wire = authority.trust().offering(&["http/1.1", "h2"]).connect(lb.tls(), "lb.test").await;
    assert_eq!(wire.stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = H2::over(wire.stream).await;
    assert_eq!(client.get("/a").await.text(), "b");
    assert_eq!(script.request().header("x-forwarded-proto"), Some("https"));
    let plain = serving(&script, &[&issued], &[("http2.enabled", "false")]).await;
    let wire = authority.trust().offering(&["h2", "http/1.1"]).connect(plain.tls(), "lb.test").await;
    assert_eq!(wire.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    // Who offers nothing that is spoken here is told so in the handshake.
    assert!(authority.trust().offering(&["h2"]).try_connect(plain.tls(), "lb.test").await.is_err());
}

#[tokio::test]
async fn who_speaks_http_where_tls_is_spoken_is_told_so() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let lb = serving(&script, &[&issued], &[]).await;
    let mut wire = Wire::connect(lb.tls()).await;
    wire.send(request("GET", "/", &[])).await;
    let answer = wire.reply().await;
    assert_eq!((answer.status(), answer.header("connection")), (400, Some("close")));
    assert!(answer.text().contains("https://"), "{}", answer.text());
    assert!(wire.end().await.is_empty());
    let mut silent = Wire::connect(lb.tls()).await;
    tokio::io::AsyncWriteExt::shutdown(&mut silent.stream).await.unwrap();
    assert!(silent.end().await.is_empty());
    lb.until("both counted", |s| {
        let count = |result| s.sum("lb_tls_handshakes_total", &shaken(result, "none"));
        (count("plaintext"), count("closed")) == (1.0, 1.0)
    })
    .await;
    assert_eq!(script.accepted(), 0);
}

/// Nobody else waits for a handshake that does not come, unless it holds the last permit.
#[tokio::test]
async fn a_handshake_has_its_deadline_and_holds_a_permit_until_then() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let settings = [("timeouts.tls_handshake", "300ms"), ("limits.connections", "2")];
    let lb = serving(&script, &[&issued], &settings).await;
    let mut silent = Wire::connect(lb.tls()).await;
    let mut half = Wire::connect(lb.tls()).await;
    lb.until("two connections", |s| s.sum("lb_downstream_connections", &[]) == 2.0).await;
    half.send([0x16, 3, 1]).await;
    let waiting = lb.get("/");
    assert!(silent.end().await.is_empty() && half.end().await.is_empty());
    assert_eq!(waiting.await.status(), 200, "once one of them was closed");
    lb.until("both counted", |s| s.sum("lb_tls_handshakes_total", &shaken("timeout", "none")) == 2.0).await;

    let slow = serving(&script, &[&issued], &[("timeouts.tls_handshake", "1h")]).await;
    let _silent = Wire::connect(slow.tls()).await;
    assert_eq!(slow.get("/").await.status(), 200);
    let mut wire = authority.trust().connect(slow.tls(), "lb.test").await;
    wire.send(keep("/")).await;
    assert_eq!(wire.reply().await.status(), 200);
}

/// The listener for everybody speaks TLS, where there is no other.
#[tokio::test]
async fn without_a_listener_of_its_own_tls_is_spoken_with_everybody() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let certificates = format!("[{}]", issued.toml());
    let lb = Lb::over(&[script.address], &[("tls.certificate", &certificates)]).await;
    assert_eq!(lb.tls(), lb.traffic);
    assert_eq!(lb.get("/").await.status(), 400);
    let mut wire = authority.trust().connect(lb.traffic, "lb.test").await;
    wire.send(keep("/")).await;
    assert_eq!(wire.reply().await.text(), "b");
}

/// A head that does not come, and a body that is refused while it is still sent: the answers arrive by TLS, too.
#[tokio::test]
async fn the_balancers_own_words_arrive() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let settings = [("timeouts.request_head", "200ms"), ("limits.body_bytes", "1KiB")];
    let lb = serving(&script, &[&issued], &settings).await;
    let mut slow = authority.trust().connect(lb.tls(), "lb.test").await;
    slow.send("GET / HT").await;
    assert_eq!(slow.reply().await.status(), 408);
    let mut large = authority.trust().connect(lb.tls(), "lb.test").await;
    large.send("POST / HTTP/1.1\r\nHost: lab\r\nContent-Length: 2000000\r\n\r\n").await;
    // It is told before it has sent everything, and may not get rid of the rest.
    let _ = large.try_send(vec![b'x'; 100_000]).await;
    assert_eq!(large.reply().await.status(), 413);
    let mut bad = authority.trust().connect(lb.tls(), "lb.test").await;
    bad.send("GET / HTTP/1.1\nHost: lab\n\n").await;
    assert_eq!(bad.reply().await.status(), 400);
}

#[tokio::test]
async fn operators_are_spoken_with_by_tls_where_that_is_configured() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let (issued, person) =
        (authority.issue("admin", &["admin.test"]), authority.issue("person", &["person"]));
    let (certificates, ca) = (format!("[{}]", issued.toml()), format!("{:?}", authority.file()));
    let settings = [
        ("tls.admin.certificate", certificates.as_str()),
        ("tls.admin.client_auth", "required"),
        ("tls.admin.client_ca", &ca),
    ];
    let lb = Lb::over(&[script.address], &settings).await;
    let ask = async |trust: Trust| {
        let mut wire = trust.try_connect(lb.admin, "admin.test").await.ok()?;
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        let asked = request("GET", "/metrics", &[]).replace("lab", "localhost");
        wire.try_send(asked).await.ok()?;
        wire.try_reply().await
    };
    // One that says nothing holds nobody up.
    let _silent = Wire::connect(lb.admin).await;
    assert!(ask(authority.trust()).await.is_none());
    let answer = ask(authority.trust().showing(&person)).await.unwrap();
    let count = |result: &str, version: &str| {
        let line = format!(
            "lb_tls_handshakes_total{{listener=\"admin\",result=\"{result}\",version=\"{version}\"}} 1"
        );
        let all = answer.text();
        let handshakes: Vec<_> = all.lines().filter(|l| l.starts_with("lb_tls_handshakes")).collect();
        assert!(handshakes.contains(&line.as_str()), "{line}: {handshakes:#?}");
    };
    count("client_certificate", "none");
    count("ok", "1.3");
    let url = format!("https://{}/ready", lb.admin);
    let check = async |words: &[&std::ffi::OsStr]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_load-balancer"));
        let done = within("a check", command.args(["health", &url]).args(words).output()).await.unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let (ca, name) = (authority.file(), ["--server-name", "admin.test"].map(std::ffi::OsStr::new));
    let own = ["--certificate".as_ref(), person.chain.as_os_str(), "--key".as_ref(), person.key.as_os_str()];
    let believing = [&["--ca".as_ref(), ca.as_os_str()][..], &name].concat();
    assert_eq!(check(&[&believing[..], &own].concat()).await, (Some(0), String::new()));
    for (words, why) in [
        (&[&name[..], &own].concat()[..], "UnknownIssuer"),
        (&[&believing[..2], &own].concat(), "not valid for name"),
        (&believing, "CertificateRequired"),
    ] {
        let (code, said) = check(words).await;
        assert!(code == Some(1) && said.contains(why) && said.starts_with(&url), "{said}");
    }
    let mut plain = Wire::connect(lb.admin).await;
    plain.send(request("GET", "/metrics", &[])).await;
    assert!(plain.end().await.is_empty(), "not a word in clear");
    assert_eq!(lb.get("/").await.status(), 200, "clients are none of that");
}
