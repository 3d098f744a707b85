//! Connections of one client network: bounded over all workers, closed without a word beyond that, and counted.

use std::net::SocketAddr;

use super::support::{Lb, Script, Wire, keep};

/// A connection that has been served once, or nothing where it was closed.
async fn served(client: &str, to: SocketAddr) -> Option<Wire> {
    // A reset may come before, between or behind.
    let mut wire = Wire::from(client, to).await.ok()?;
    wire.try_send(keep("/")).await.ok()?;
    let reply = wire.try_reply().await?;
    assert_eq!(reply.text(), "ok");
    Some(wire)
}

#[tokio::test]
async fn one_too_many_of_a_network_is_closed_and_others_are_served() {
    for workers in ["1", "3"] {
        let backend = Script::named("ok").await;
        let settings = [("limits.connections_per_network", "2"), ("workers", workers)];
        let lb = Lb::over(&[backend.address], &settings).await;
        let first = served("127.0.0.2", lb.traffic).await.unwrap();
        let mut second = served("127.0.0.2", lb.traffic).await.unwrap();
        assert!(served("127.0.0.2", lb.traffic).await.is_none(), "a third connection was served");
        assert!(served("127.0.0.3", lb.traffic).await.is_some(), "the neighbour pays for it");
        second.send(keep("/")).await;
        assert_eq!(second.reply().await.text(), "ok", "those inside are served on");
        let refused = [("listener", "traffic"), ("reason", "network")];
        let scrape =
            lb.until("told", |s| s.sum("lb_downstream_connections_refused_total", &refused) == 1.0).await;
        assert_eq!(scrape.requests(), 4.0, "who was closed made no request:\n{}", scrape.gist());
        drop(first);
        lb.until("one place free", |s| s.sum("lb_downstream_connections", &[]) == 1.0).await;
        assert!(served("127.0.0.2", lb.traffic).await.is_some());
    }
}

#[tokio::test]
async fn a_network_is_as_wide_as_configured_and_trusted_proxies_are_none() {
    let backend = Script::named("ok").await;
    let settings = [
        ("limits.connections_per_network", "1"),
        ("limits.network_v4", "24"),
        ("client.trusted_proxies", "[\"127.0.9.0/24\"]"),
    ];
    let lb = Lb::over(&[backend.address], &settings).await;
    let _held = served("127.0.0.2", lb.traffic).await.unwrap();
    assert!(served("127.0.0.3", lb.traffic).await.is_none(), "its neighbour is of the same network");
    assert!(served("127.0.1.3", lb.traffic).await.is_some());
    let mut proxied = Vec::new();
    for _ in 0..5 {
        proxied.push(served("127.0.9.1", lb.traffic).await.unwrap());
    }
}
