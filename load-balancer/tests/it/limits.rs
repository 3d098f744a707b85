//! How much and how long: connections of both sides are bounded in number and in idleness.

use std::time::Duration;

use tokio::sync::mpsc;

use super::support::{Conn, Lb, Script, Wire, keep, within};

/// Long enough for an answer that is coming, short beside a test's patience: what has not come by then is waiting.
const A_WHILE: Duration = Duration::from_millis(150);

async fn served(lb: &Lb) -> Wire {
    let mut wire = lb.connect().await;
    wire.send(keep("/")).await;
    assert_eq!(wire.reply().await.text(), "ok");
    wire
}

#[tokio::test]
async fn one_connection_too_many_waits_for_one_to_leave() {
    for workers in ["1", "2"] {
        let backend = Script::named("ok").await;
        let lb = Lb::over(&[backend.address], &[("limits.connections", "2"), ("workers", workers)]).await;
        let (first, mut second) = (served(&lb).await, served(&lb).await);
        let mut third = lb.connect().await;
        third.send(keep("/")).await;
        assert!(
            tokio::time::timeout(A_WHILE, third.stream.readable()).await.is_err(),
            "served beyond the limit"
        );
        second.send(keep("/")).await;
        assert_eq!(second.reply().await.text(), "ok", "those inside are served on");
        let scrape = lb.scrape().await;
        assert_eq!(scrape.sum("lb_downstream_connections", &[]), 2.0);
        drop(first);
        assert_eq!(third.reply().await.text(), "ok");
    }
}

#[tokio::test]
async fn workers_do_not_keep_places_from_each_other() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("limits.connections", "2"), ("workers", "4")]).await;
    for _ in 0..20 {
        // Whichever workers the kernel gives them to, two clients have two places.
        let (one, two) = (served(&lb).await, served(&lb).await);
        drop((one, two));
        lb.until("both gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    }
}

#[tokio::test]
async fn an_idle_client_is_closed_without_a_word() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.client_idle", "80ms")]).await;
    let wire = served(&lb).await;
    assert!(wire.gone().await.is_empty());
    let scrape = lb.until("gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    assert_eq!((scrape.requests(), scrape.sum("lb_request_aborts_total", &[])), (1.0, 0.0));
}

#[tokio::test]
async fn a_client_is_not_idle_while_it_is_answered() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn| {
        let mut gone = gone.clone();
        async move {
            conn.request().await;
            gone.wait_for(|&go| go).await.unwrap();
            conn.send(super::support::ok("late")).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("timeouts.client_idle", "50ms")]).await;
    let mut waiting = lb.connect().await;
    waiting.send(keep("/")).await;
    let answering = Script::named("ok").await;
    let other = Lb::over(&[answering.address], &[("timeouts.client_idle", "100ms")]).await;
    served(&other).await.gone().await;
    go.send_replace(true);
    assert_eq!(waiting.reply().await.text(), "late");
}

/// A backend that tells when a connection to it has ended.
async fn watched() -> (Script, mpsc::UnboundedReceiver<usize>) {
    let (ended, ending) = mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn: Conn| {
        let ended = ended.clone();
        async move {
            while conn.request().await.is_some() {
                conn.send(super::support::ok("ok")).await;
            }
            // The test may be over.
            let _ = ended.send(conn.nth);
        }
    })
    .await;
    (backend, ending)
}

#[tokio::test]
async fn idle_connections_to_backends_are_swept() {
    let (backend, mut ending) = watched().await;
    let lb = Lb::over(&[backend.address], &[("timeouts.upstream_idle", "50ms")]).await;
    served(&lb).await;
    assert_eq!(within("the sweep", ending.recv()).await, Some(1));
    lb.until("none idle", |s| s.sum("lb_upstream_connections", &[("state", "idle")]) == 0.0).await;
    served(&lb).await;
    assert_eq!(backend.accepted(), 2);
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_allowed() {
    let (release, gate) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn| {
        let mut gate = gate.clone();
        async move {
            while conn.request().await.is_some() {
                gate.wait_for(|&open| open).await.unwrap();
                conn.send(super::support::ok("ok")).await;
            }
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("limits.upstream_idle", "2")]).await;
    let mut wires = Vec::new();
    for _ in 0..5 {
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        wires.push(wire);
    }
    lb.until("five in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 5.0).await;
    release.send_replace(true);
    for wire in &mut wires {
        assert_eq!(wire.reply().await.text(), "ok");
    }
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_upstream_connections", &[("state", "idle")]), 2.0);
    assert_eq!(backend.accepted(), 5);
}
