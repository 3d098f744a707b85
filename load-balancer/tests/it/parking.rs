//! Connections that rest are parked, and nobody notices: neither who goes on, nor who ends, nor a drain.

use super::support::{Authority, Lb, Script, Wire, keep};

const PARKED: &str = "lb_downstream_connections_parked";
const OPEN: &str = "lb_downstream_connections";

async fn served(lb: &Lb) -> Wire {
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    assert_eq!(wire.reply().await.text(), "ok");
    wire
}

async fn parked(lb: &Lb, count: f64) {
    lb.until("parked", |s| s.sum(PARKED, &[]) == count).await;
}

#[tokio::test]
async fn a_parked_connection_goes_on_and_is_parked_again() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = served(&lb).await;
    parked(&lb, 1.0).await;
    // In pieces: what wakes it is the beginning of what follows.
    let head = keep("/");
    let (first, rest) = head.split_at(5);
    wire.send(first).await;
    parked(&lb, 0.0).await;
    wire.send(rest).await;
    assert_eq!(wire.reply().await.text(), "ok");
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.sum(OPEN, &[])), (2.0, 1.0));
}

#[tokio::test]
async fn it_goes_on_over_tls_too() {
    let backend = Script::named("ok").await;
    let authority = Authority::new();
    let lb = super::tls::serving(&backend, &[&authority.issue("lb", &["lb.test"])], &[]).await;
    let mut wire = authority.trust().connect(lb.tls(), "lb.test").await;
    for _ in 0..2 {
        wire.send(keep("/")).await;
        assert_eq!(wire.reply().await.text(), "ok");
        parked(&lb, 1.0).await;
    }
}

#[tokio::test]
async fn what_came_of_the_next_request_is_neither_lost_nor_judged_twice() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.request_head", "1h")]).await;
    let mut early = lb.connect().await;
    let head = keep("/");
    let (first, rest) = head.split_at(9);
    early.send(format!("{head}{first}")).await;
    assert_eq!(early.reply().await.text(), "ok");
    let _resting = served(&lb).await;
    // It rests since a later moment, so the other's second has passed, too.
    parked(&lb, 1.0).await;
    early.send(rest).await;
    assert_eq!(early.reply().await.text(), "ok");
    assert_eq!(lb.settled().await.requests(), 3.0);
}

#[tokio::test]
async fn a_head_that_began_before_its_turn_has_a_deadline() {
    let backend = Script::named("ok").await;
    let lb =
        Lb::over(&[backend.address], &[("timeouts.request_head", "500ms"), ("timeouts.client_idle", "1h")])
            .await;
    let mut wire = lb.connect().await;
    wire.send(format!("{}GET / HT", keep("/"))).await;
    assert_eq!(wire.reply().await.text(), "ok");
    assert_eq!(wire.reply().await.status(), 408);
}

#[tokio::test]
async fn a_parked_connection_ends_as_any_other() {
    let backend = Script::named("ok").await;
    let mut lb =
        Lb::over(&[backend.address], &[("timeouts.drain", "1h"), ("timeouts.client_idle", "2s")]).await;
    // By its client.
    let wire = served(&lb).await;
    parked(&lb, 1.0).await;
    drop(wire);
    lb.until("gone", |s| s.sum(OPEN, &[]) == 0.0 && s.sum(PARKED, &[]) == 0.0).await;
    // By `timeouts.client_idle`.
    let wire = served(&lb).await;
    parked(&lb, 1.0).await;
    assert!(wire.gone().await.is_empty());
    lb.until("gone", |s| s.sum(OPEN, &[]) == 0.0 && s.sum(PARKED, &[]) == 0.0).await;
    // By a drain, which would wait for an hour.
    let wire = served(&lb).await;
    parked(&lb, 1.0).await;
    let (words, ()) = tokio::join!(wire.gone(), lb.stopping());
    assert!(words.is_empty());
}
