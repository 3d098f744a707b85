//! Before the drain: whoever asks `/ready` is told to go elsewhere, everybody is still served, and clients are told to move.

use super::process::{Served, file};
use super::reload::backend;
use super::support::{Conn, Lb, Script, Wire, keep, variables, within};

/// Asks until a worker has heard that it is to leave, by what its answers say.
pub(super) async fn says_close(lb: &Lb) {
    within("the last response of a connection", async {
        loop {
            let mut wire = lb.connect().await;
            wire.send(keep("/")).await;
            if wire.reply().await.header("connection") == Some("close") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_leaves_serves_everybody_once_more_and_says_so() {
    let backend = Script::start(async |mut conn: Conn| {
        while let Some(request) = conn.request().await {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
            let upgrade = request.header("upgrade").is_some();
            conn.send(if upgrade { switch.into() } else { super::support::ok("ok") }).await;
            if upgrade {
                conn.end().await;
                return;
            }
        }
    })
    .await;
    // A delay of an hour: nothing here comes of time passing.
    let mut lb = Lb::over(&[backend.address], &[("timeouts.drain_delay", "1h")]).await;
    let (mut idle, mut fresh) = (lb.connect().await, lb.connect().await);
    idle.send(keep("/")).await;
    assert_eq!(idle.reply().await.header("connection"), None);
    assert_eq!((lb.admin("/ready").await.status(), lb.scrape().await.sum("lb_draining", &[])), (200, 0.0));
    assert_eq!(lb.leave().as_secs(), 3_600);
    let ready = lb.admin("/ready").await;
    assert_eq!((ready.status(), ready.text().as_str()), (503, "draining\n"));
    assert_eq!(lb.scrape().await.sum("lb_draining", &[]), 1.0);
    says_close(&lb).await;
    // Those that are open stay so until their next response has told them.
    for wire in [&mut idle, &mut fresh] {
        wire.send(keep("/")).await;
        let reply = wire.reply().await;
        assert_eq!((reply.text().as_str(), reply.header("connection")), ("ok", Some("close")));
    }
    assert!(idle.gone().await.is_empty() && fresh.gone().await.is_empty());
    let mut old = lb.connect().await;
    old.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n").await;
    let reply = old.reply().await;
    assert_eq!((reply.text().as_str(), reply.header("connection")), ("ok", Some("close")));
    assert!(old.gone().await.is_empty());
    // What is no HTTP any more after its response has no use for the word.
    let mut tunnel = lb.connect().await;
    tunnel.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let head = tunnel.head().await.unwrap();
    assert_eq!((head.status(), head.header("connection")), (101, Some("upgrade")));
    let waiting = lb.connect().await;
    drop(tunnel);
    lb.stopping().await;
    assert!(waiting.gone().await.is_empty());
    assert!(tokio::net::TcpStream::connect(lb.traffic).await.is_err());
}

async fn serving(name: &str, delay: &str) -> (Served, Script) {
    let script = Script::named("ok").await;
    let path = file(name, &backend("b1", script.address, 1));
    let env = variables(&[("timeouts.drain_delay", delay)]);
    let served = tokio::task::spawn_blocking(move || {
        let served = Served::with(&path, &env);
        std::fs::remove_file(path).unwrap();
        served
    });
    (within("the start", served).await.unwrap(), script)
}

/// Waits until the program says that it leaves.
async fn not_ready(lb: &Lb) {
    within("the order", async { while lb.admin("/ready").await.status() == 200 {} }).await;
}

#[tokio::test]
async fn a_second_signal_cuts_the_delay_short() {
    let (served, _backend) = serving("hurried", "1h").await;
    let lb = Lb::at(served.traffic, served.admin);
    assert_eq!(lb.get("/").await.text(), "ok");
    served.signal("TERM");
    not_ready(&lb).await;
    says_close(&lb).await;
    served.signal("TERM");
    let (code, log) = served.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("seconds=3600") && log.contains("draining") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn the_delay_ends_by_itself() {
    let (served, _backend) = serving("patient", "300ms").await;
    let lb = Lb::at(served.traffic, served.admin);
    let mut wire = Wire::connect(lb.traffic).await;
    served.signal("TERM");
    not_ready(&lb).await;
    wire.send(keep("/")).await;
    assert_eq!(wire.reply().await.text(), "ok");
    let (code, log) = served.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("told to stop"), "{log}");
}
