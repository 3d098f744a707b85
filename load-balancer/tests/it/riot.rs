//! Hundreds of clients that break off anywhere, over a backend that does as well: at the end the books balance.

use lb_core::Rng;

use super::support::{Lb, Script, Wire, ok, within};
use super::violence::leave;

/// One client of the riot; true where it sent a whole request head.
async fn riot(address: std::net::SocketAddr, mut rng: Rng) -> bool {
    let mut wire = Wire::connect(address).await;
    let n = rng.below(8);
    let sent: &[u8] = match n {
        0 => b"GET / HTT",
        1 | 2 => b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhalf",
        3 => b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\n\r\n",
        _ => b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    };
    wire.send(sent).await;
    if n > 2 && rng.below(2) == 0 {
        wire.head().await;
    }
    leave(wire, rng.below(2) == 0);
    n > 0
}

#[tokio::test]
async fn after_a_riot_the_books_balance() {
    let moody = Script::start(|mut conn| async move {
        let mut rng = Rng::seeded(conn.nth as u64);
        while conn.request().await.is_some() {
            let sent = match rng.below(5) {
                0 => return conn.reset(),
                1 => conn.try_send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await,
                2 => conn.try_send("what?\r\n\r\n").await,
                _ => conn.try_send(ok("whole")).await,
            };
            if sent.is_err() {
                return;
            }
        }
    })
    .await;
    let calm = Script::named("calm").await;
    let settings = [("workers", "2"), ("retry.attempts", "1"), ("timeouts.first_byte", "1s")];
    let lb = Lb::over(&[moody.address, calm.address], &settings).await;
    let mut heads = 0.0;
    for seed in 0..8 {
        let clients: Vec<_> =
            (0..40).map(|i| tokio::spawn(riot(lb.traffic, Rng::seeded(seed * 100 + i)))).collect();
        for client in clients {
            heads += f64::from(u8::from(within("a rioter", client).await.unwrap()));
        }
    }
    lb.until("everyone gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
    let scrape = lb.settled().await;
    // A request whose client was gone before its head was read is no request; every other counts once.
    let counted = scrape.requests();
    assert!(counted <= heads && counted > heads / 2.0, "{counted} of {heads}\n{}", scrape.gist());
    assert_eq!(counted, scrape.sum("lb_request_duration_seconds_count", &[]));
    let attempts = |codes: &[(&str, &str)]| scrape.sum("lb_upstream_requests_total", codes);
    let retries = |outcome| scrape.sum("lb_retries_total", &[("outcome", outcome)]);
    assert_eq!(scrape.sum("lb_decisions_total", &[]), attempts(&[]), "every pick is one attempt");
    // A retry whose client left came to nothing that could be counted, and one that it left before was never picked for.
    let again = attempts(&[]) - counted - retries("success") - retries("failure");
    assert!((0.0..=attempts(&[("code", "canceled")])).contains(&again), "{again}\n{}", scrape.gist());
    assert_eq!(scrape.sum("lb_retries_same_backend_total", &[]), 0.0);
}
