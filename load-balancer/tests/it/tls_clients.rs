//! Clients that show certificates, or should.

use super::support::{Authority, Issued, Lb, Script, Trust, keep};
use super::tls::serving;

/// What a client that speaks as `trust` says is answered to a request; `None` where it is turned away.
async fn ask(lb: &Lb, trust: Trust) -> Option<u16> {
    let mut wire = trust.try_connect(lb.tls(), "lb.test").await.ok()?;
    wire.try_send(keep("/")).await.ok()?;
    Some(wire.try_reply().await?.status())
}

async fn asking(script: &Script, issued: &Issued, clients: &Authority, whom: &str) -> Lb {
    let ca = format!("{:?}", clients.file());
    serving(script, &[issued], &[("tls.client_auth", whom), ("tls.client_ca", &ca)]).await
}

#[tokio::test]
async fn a_certificate_is_asked_for_as_configured_and_verified_where_it_is_shown() {
    let script = Script::named("b").await;
    let (authority, clients) = (Authority::new(), Authority::new());
    let issued = authority.issue("lb", &["lb.test"]);
    let known = clients.issue("known", &["known.test"]);
    let old = clients.issue_until("old", &["old.test"], 2020);
    let stranger = authority.issue("stranger", &["stranger.test"]);
    for (whom, without) in [("required", None), ("optional", Some(200))] {
        let lb = asking(&script, &issued, &clients, whom).await;
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let trust = || authority.trust().only(version);
            assert_eq!(ask(&lb, trust().showing(&known)).await, Some(200), "{whom}");
            assert_eq!(ask(&lb, trust()).await, without, "{whom}");
            assert_eq!(ask(&lb, trust().showing(&old)).await, None, "{whom}: expired");
            assert_eq!(ask(&lb, trust().showing(&stranger)).await, None, "{whom}: of nobody we know");
        }
        let refused = [("result", "client_certificate")];
        let expected = if without.is_none() { 6.0 } else { 4.0 };
        lb.until("the refusals", |s| s.sum("lb_tls_handshakes_total", &refused) == expected).await;
        assert_eq!(lb.get("/").await.status(), 200, "the plain listener asks for nothing");
    }
}
