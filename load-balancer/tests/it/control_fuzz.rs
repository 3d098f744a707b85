//! A thousand control requests that nobody should send: each is answered with a 4xx, and the pool stays as it is.

use lb_core::Rng;
use serde_json::json;

use super::support::{Fleet, Lb, addresses, asking, config, replicas};

const REQUESTS: u32 = 1_000;

/// What a body looks like before it is spoilt.
const GOOD: [&str; 3] = [r#"{"n":1,"hostnames":["S5"]}"#, r#"{"n":2}"#, r#"{"url":"http://127.0.0.1:9/"}"#];

/// No number of backends.
const NUMBERS: [&str; 12] = [
    "0",
    "-0",
    "-1",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1.5",
    "0.1e1",
    "1e999",
    "\"1\"",
    "[1]",
];

fn any<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.below(of.len() as u32) as usize]
}

/// No name of a backend, nor of one that there is.
fn name(rng: &mut Rng) -> String {
    match rng.below(9) {
        0 => String::new(),
        1 => "x".repeat(64 + rng.below(2_000) as usize),
        2 => "../../etc/passwd".to_owned(),
        3 => "a\nb: c\r\n\r\n".to_owned(),
        4 => (0..1 + rng.below(5))
            .filter_map(|_| char::from_u32(0x100 + rng.below(0x2_0000)))
            .chain(['é'])
            .collect(),
        5 => char::from(rng.below(0x20) as u8).to_string(),
        6 => "$(reboot)".to_owned(),
        7 => "-".to_owned(),
        _ => "a.b".to_owned(),
    }
}

/// A body that means nothing, or nothing that may be done.
fn body(rng: &mut Rng) -> Vec<u8> {
    let good = any(rng, &GOOD);
    match rng.below(10) {
        // Cut short.
        0 => good.as_bytes()[..rng.below(good.len() as u32) as usize].to_vec(),
        // A byte that no JSON outside of a text has, somewhere in it.
        1 => {
            let mut bytes = good.as_bytes().to_vec();
            let at = rng.below(bytes.len() as u32) as usize;
            bytes[at] = any(rng, &[0x00, 0x07, 0xff, 0xc0]);
            bytes
        }
        2 => format!("{good}{}", any(rng, &["}", "x", "{}", ",", "\0"])).into(),
        3 => format!(r#"{{"n":{}}}"#, any(rng, &NUMBERS)).into(),
        4 => json!({ "n": 1 + rng.below(3), "hostnames": [name(rng)] }).to_string().into(),
        5 => json!({ "url": format!("{}{}", any(rng, &["", "http:/", "ftp://", "//"]), name(rng)) }).to_string().into(),
        6 => {
            let depth = 1 + rng.below(10_000) as usize;
            format!("{{\"n\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)).into()
        }
        7 => any(rng, &["", " ", "null", "true", "7", "\"n\"", "[]", "{}", "[{\"n\":1}]", "n=1&hostnames=S5"]).into(),
        8 => json!({ "n": 1, "hostnames": any(rng, &[json!({}), json!(1), json!([1]), json!([[]]), json!([null]), json!("S5")].each_ref()) })
            .to_string()
            .into(),
        _ => vec![any(rng, b"x{[\"0"); 65_537 + rng.below(10_000) as usize],
    }
}

async fn survives(lb: &Lb, seed: u64) {
    let mut rng = Rng::seeded(seed);
    let before = lb.admin("/rep").await.text();
    for i in 0..REQUESTS {
        let path = any(&mut rng, &["/add", "/rm", "/server_up"]);
        // A wrong method needs no wrong body.
        let wrong = rng.below(10) == 0;
        let method = if wrong { any(&mut rng, &["GET", "PUT", "PATCH", "OPTIONS", "LOOK"]) } else { "POST" };
        let kind =
            any(&mut rng, &["application/json", "text/plain", "image/png", "multipart/form-data", "é"]);
        let body = if wrong { any(&mut rng, &GOOD).as_bytes().to_vec() } else { body(&mut rng) };
        let head = asking(method, path, "", &[&format!("Content-Type: {kind}")]);
        let head = head.replace("Content-Length: 0", &format!("Content-Length: {}", body.len()));
        let port = any(&mut rng, &[lb.admin, lb.traffic]);
        let mut wire = super::support::Wire::connect(port).await;
        // Who sends too much may be answered, and cut off, before the end of it.
        let _ = wire.try_send([head.as_bytes(), &body].concat()).await;
        let told = || {
            format!(
                "request {i}: {method} {path} {:?}",
                String::from_utf8_lossy(&body[..body.len().min(200)])
            )
        };
        let reply = wire.try_reply().await.unwrap_or_else(|| panic!("no answer to {}", told()));
        assert!((400..500).contains(&reply.status()), "{} {} to {}", reply.status(), reply.text(), told());
        if reply.header("content-type") == Some("application/json") {
            assert_eq!(reply.json()["status"], "failure", "{}", told());
        }
        if i % 50 == 0 {
            assert_eq!(lb.admin("/rep").await.text(), before, "after {}", told());
            assert_eq!(lb.get("/echo").await.status(), 200);
        }
    }
    assert_eq!(lb.admin("/rep").await.text(), before);
    assert_eq!(lb.get("/echo").await.status(), 200);
    let scrape = lb.scrape().await;
    assert_eq!(scrape.sum("lb_control_requests_total", &[("code", "200")]), 0.0);
    assert_eq!(scrape.facts("draining"), 0.0);
}

const OPEN: [(&str, &str); 2] = [("control.registration", "true"), ("control.on_traffic_port", "true")];

#[tokio::test]
async fn a_pool_of_replicas_survives_a_thousand_bad_requests() {
    let fleet = Fleet::of(2);
    let lb = Lb::start(fleet.config(&OPEN)).await;
    let children = fleet.children();
    survives(&lb, 71).await;
    assert_eq!(fleet.children(), children);
}

#[tokio::test]
async fn a_static_pool_survives_a_thousand_bad_requests() {
    let backends = replicas(2).await;
    let pool: Vec<_> = addresses(&backends).into_iter().map(|address| (address, 1)).collect();
    let lb = Lb::start(config(&pool, &OPEN)).await;
    survives(&lb, 72).await;
}
