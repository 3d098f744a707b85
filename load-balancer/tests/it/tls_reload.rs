//! Certificates that change while they are shown: nobody notices but by the new one, and what cannot be used is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use super::reload::{Written, applied, backend};
use super::support::{Authority, Issued, Lb, Script, keep};
use super::tls::{serving, shown};

/// When the one certificate ends.
fn ends(scrape: &super::support::Scrape) -> f64 {
    scrape.sum("lb_tls_certificate_not_after_timestamp_seconds", &[("place", "traffic")])
}

fn in_force(scrape: &super::support::Scrape) -> f64 {
    scrape.sum("lb_tls_last_reload_successful", &[("place", "traffic")])
}

const UNTIL_2040: f64 = 2_208_988_800.0;
const UNTIL_2041: f64 = 2_240_611_200.0;

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_failure_and_a_bad_one_never() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let lb = Arc::new(serving(&script, &[&issued], &[]).await);
    let before = issued.certificates()[0].to_vec();
    let mut kept = authority.trust().connect(lb.tls(), "lb.test").await;
    kept.send(keep("/")).await;
    assert_eq!(kept.reply().await.status(), 200);
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let traffic: Vec<_> = (0..4)
        .map(|_| {
            let (over, served, trust, at) =
                (Arc::clone(&over), Arc::clone(&served), authority.trust(), lb.tls());
            tokio::spawn(async move {
                while !over.load(SeqCst) {
                    let mut wire = trust.connect(at, "lb.test").await;
                    for _ in 0..3 {
                        wire.send(keep("/")).await;
                        assert_eq!(wire.reply().await.status(), 200);
                        served.fetch_add(1, SeqCst);
                    }
                }
            })
        })
        .collect();
    // Half of a renewal: the certificate without its key. The old one holds until both are there.
    let mut shown_now = before;
    let other = authority.issue("other", &["lb.test"]);
    for bad in [std::fs::read_to_string(&other.key).unwrap(), "half a k".to_owned()] {
        issued.write("key", &bad);
        let scrape = lb.until("the refusal", |s| in_force(s) == 0.0).await;
        assert_eq!(ends(&scrape), UNTIL_2040);
        let wire = authority.trust().connect(lb.tls(), "lb.test").await;
        assert_eq!(shown(&wire), shown_now);
        authority.issue("lb", &["lb.test"]);
        lb.until("the renewal", |s| in_force(s) == 1.0).await;
        let wire = authority.trust().connect(lb.tls(), "lb.test").await;
        shown_now = issued.certificates()[0].to_vec();
        assert_eq!(shown(&wire), shown_now);
    }
    authority.issue_until("lb", &["lb.test"], 2041);
    lb.until("the next renewal", |s| ends(s) == UNTIL_2041).await;
    let by_then = served.load(SeqCst);
    while served.load(SeqCst) < by_then + 8 {
        tokio::task::yield_now().await;
    }
    over.store(true, SeqCst);
    for one in traffic {
        one.await.unwrap();
    }
    kept.send(keep("/")).await;
    assert_eq!(kept.reply().await.status(), 200, "connections that are there stay");
    let told = lb.admin("/decisions?format=json&last=100").await.text();
    assert!(told.contains("certificates_refused") && told.contains("is not the key of"), "{told}");
    assert!(told.contains("certificates_renewed"));
}

/// A reload reads certificates anew, and one with faults there changes nothing at all.
#[tokio::test]
async fn a_reload_puts_certificates_in_force_whole_or_not_at_all() {
    let script = Script::named("b").await;
    let authority = Authority::new();
    let issued = authority.issue("lb", &["lb.test"]);
    let text = |issued: &Issued, more: &str| {
        format!(
            "[listen]\ntls = \"127.0.0.1:0\"\n[tls]\n{more}\n[[tls.certificate]]\nchain = {:?}\nkey = {:?}\n{}",
            issued.chain,
            issued.key,
            backend("b1", script.address, 1)
        )
    };
    let written = Written::new("tls", &text(&issued, ""));
    let lb = Lb::from(written.source(&[])).await;
    let other = authority.issue_until("other", &["lb.test"], 2041);
    written.write(&text(&other, "min_version = \"1.3\""));
    lb.reload();
    let scrape = applied(&lb, 1).await;
    assert_eq!(ends(&scrape), UNTIL_2041);
    let wire = authority.trust().connect(lb.tls(), "lb.test").await;
    assert_eq!(shown(&wire), other.certificates()[0].to_vec());
    let shown_before = shown(&wire);
    let old = authority.trust().only(&rustls::version::TLS12);
    assert!(old.try_connect(lb.tls(), "lb.test").await.is_err(), "settings change with it");
    other.write("chain", "nonsense");
    lb.reload();
    let refused = |s: &super::support::Scrape| s.sum("lb_config_reloads_total", &[("result", "refused")]);
    lb.until("the refusal", |s| refused(s) == 1.0).await;
    let wire = authority.trust().connect(lb.tls(), "lb.test").await;
    assert_eq!(shown(&wire), shown_before, "what was in force is");
    // TLS cannot be turned off while it is spoken.
    written.write(&backend("b1", script.address, 1));
    lb.reload();
    lb.until("the other refusal", |s| refused(s) >= 2.0).await;
}
