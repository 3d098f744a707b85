//! Connections that only make work: each kind that has a number is ended, and nobody else notices.

use super::support::{Frame, H2, Lb, Raw, Script, frame, get, head, ok, whole, within};

/// Few of everything, so that a flood is short.
const FEW: [(&str, &str); 2] = [("http2.resets", "10"), ("http2.control_frames", "20")];

fn request() -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "lab"), (":path", "/")];
    head(&fields.map(|(name, value)| (name.into(), value.into())))
}

/// Sends `flood` to a balancer over a backend that answers, while a decent client goes on: it must be ended as `kind`, or, where
/// the library's own bound may be met first, as anything.
async fn ends(kind: &str, flood: impl Fn(u32) -> Vec<u8>) -> Vec<Frame> {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &FEW).await;
    let mut decent = H2::connect(lb.traffic).await;
    assert_eq!(decent.get("/").await.text(), "ok");
    let mut raw = Raw::connect(lb.traffic).await;
    for n in 0..2_000 {
        if raw.wire.try_send(flood(n)).await.is_err() {
            break;
        }
    }
    let rest = raw.rest().await;
    let scrape = lb.until("one left", |s| s.sum("lb_downstream_connections", &[]) == 1.0).await;
    let label = [("kind", kind)];
    let counted = scrape.sum("lb_http2_floods_total", if kind == "any" { &[] } else { &label });
    assert_eq!(counted, 1.0, "{}", scrape.gist());
    assert_eq!(scrape.sum("lb_http2_floods_total", &[]), 1.0);
    assert_eq!(decent.get("/").await.text(), "ok");
    lb.settled().await;
    rest
}

#[tokio::test]
async fn rapid_resets() {
    // CVE-2023-44487
    ends("any", |n| {
        let stream = 2 * n + 1;
        let open = frame(Raw::HEADERS, Raw::END_HEADERS | Raw::END_STREAM, stream, &request());
        [open, frame(Raw::RESET, 0, stream, &8u32.to_be_bytes())].concat()
    })
    .await;
}

#[tokio::test]
async fn resets_that_we_are_made_to_send() {
    // CVE-2025-8671: a stream's window cannot be widened beyond 2³¹.
    ends("resets", |n| {
        let stream = 2 * n + 1;
        let open = frame(Raw::HEADERS, Raw::END_HEADERS, stream, &request());
        [open, frame(Raw::WINDOW, 0, stream, &0x7fff_ffffu32.to_be_bytes())].concat()
    })
    .await;
}

#[tokio::test]
async fn frames_that_ask_for_nothing() {
    // CVE-2019-9512, CVE-2019-9515, CVE-2019-9513, and what nobody knows.
    ends("control", |_| frame(Raw::PING, 0, 0, &[7; 8])).await;
    ends("control", |_| frame(Raw::PING, 1, 0, &[7; 8])).await;
    ends("control", |_| frame(Raw::SETTINGS, 0, 0, &[])).await;
    ends("control", |_| frame(2, 0, 1, &[0, 0, 0, 0, 9])).await;
    ends("control", |_| frame(77, 0, 0, &[1, 2, 3])).await;
    ends("control", |_| frame(Raw::WINDOW, 0, 0, &1u32.to_be_bytes())).await;
}

#[tokio::test]
async fn data_without_content() {
    // CVE-2019-9518
    let open = frame(Raw::HEADERS, Raw::END_HEADERS, 1, &request());
    ends("control", |n| if n == 0 { open.clone() } else { frame(Raw::DATA, 0, 1, &[]) }).await;
}

#[tokio::test]
async fn a_head_that_goes_on_and_on() {
    // CVE-2024-27316: with pieces that hold nothing, and with pieces that hold fields. The library has bounds of its own; which
    // one is met first is no matter.
    for piece in [Vec::new(), head(&[(b"x".to_vec(), vec![b'y'; 900])])] {
        let backend = Script::named("ok").await;
        let lb = Lb::over(&[backend.address], &FEW).await;
        let mut raw = Raw::connect(lb.traffic).await;
        raw.send(Raw::HEADERS, 0, 1, &request()).await;
        for _ in 0..2_000 {
            if !raw.send(Raw::CONTINUATION, 0, 1, &piece).await {
                break;
            }
        }
        raw.rest().await;
        let scrape = lb.until("gone", |s| s.sum("lb_downstream_connections", &[]) == 0.0).await;
        let ended = scrape.sum("lb_http2_floods_total", &[]) + scrape.aborts("bad_request");
        assert_eq!(ended, 1.0, "{}", scrape.gist());
        assert!(backend.requests().is_empty());
    }
}

#[tokio::test]
async fn a_small_head_that_means_a_large_one() {
    // One field into the table, then named again and again by one byte.
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &FEW).await;
    let mut raw = Raw::connect(lb.traffic).await;
    let mut bomb = request();
    bomb.extend([0x40, 1, b'x', 127, 0x81, 0x1e]);
    bomb.extend([b'y'; 127 + 1 + (0x1e << 7)]);
    bomb.extend([0xbe; 8_000]);
    raw.send(Raw::HEADERS, Raw::END_HEADERS | Raw::END_STREAM, 1, &bomb).await;
    let end = raw.until(&[Raw::HEADERS, Raw::RESET, Raw::GOAWAY]).await;
    assert!(end.is_some(), "it is refused, not dropped");
    lb.settled().await;
    assert!(backend.requests().is_empty());
    assert_eq!(lb.get("/").await.text(), "ok");
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_reach_nobody() {
    let (open, backend) = Script::gated("ok").await;
    let lb = Lb::over(&[backend.address], &[("http2.streams", "5")]).await;
    let mut raw = Raw::connect(lb.traffic).await;
    for n in 0..20 {
        raw.get(2 * n + 1, "/").await;
    }
    for n in 5..20 {
        let refused = raw.until(&[Raw::RESET]).await.unwrap();
        // REFUSED_STREAM: a client may ask again.
        assert_eq!((refused.stream, refused.code()), (2 * n + 1, 7));
    }
    lb.until("five", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 5.0).await;
    open.send_replace(true);
    for _ in 0..5 {
        assert!(raw.until(&[Raw::DATA]).await.is_some());
    }
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), backend.requests().len()), (5.0, 5));
}

#[tokio::test]
async fn heavy_use_is_no_flood() {
    let backend = Script::answering(ok(&"x".repeat(2_000_000))).await;
    let small = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &FEW).await;
    let mut client = H2::connect(lb.traffic).await;
    for _ in 0..5 {
        let (one, two) = (client.begin(get("/"), true).await.0, client.begin(get("/"), true).await.0);
        let (one, two) = within("two at once", async { tokio::join!(whole(one), whole(two)) }).await;
        assert_eq!((one.unwrap().body.len(), two.unwrap().body.len()), (2_000_000, 2_000_000));
    }
    let lb_small = Lb::over(&[small.address], &FEW).await;
    let mut client = H2::connect(lb_small.traffic).await;
    for _ in 0..500 {
        assert_eq!(client.get("/").await.text(), "ok");
    }
    for lb in [lb, lb_small] {
        let scrape = lb.settled().await;
        assert_eq!(scrape.sum("lb_http2_floods_total", &[]), 0.0);
        assert_eq!(scrape.sum("lb_downstream_connections_accepted_total", &[]), 1.0);
    }
}
