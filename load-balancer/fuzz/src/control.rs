//! Bodies of `/add`, `/rm` and `/server_up`: refused with a reason in words, or numbers and names that mean the same to
//! whoever reads them a second time, and plans that keep within them.

use lb_core::Rng;
use lb_core::membership::{plan_add, plan_remove, valid_name};
use load_balancer::fuzzing::{announced, numbered};
use serde_json::{Value, json};

/// Members while planning.
const PRESENT: [&str; 4] = ["S1", "S2", "web-1", "10.0.0.1-80"];
/// Members there may be.
const MOST: usize = 8;

/// The input is a body.
pub fn run(body: &[u8]) {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    match numbered(body) {
        Ok((n, names)) => {
            let value = value.as_ref().unwrap();
            assert_eq!(value["n"].as_u64(), Some(n as u64));
            assert_eq!(
                numbered(json!({ "n": n, "hostnames": names }).to_string().as_bytes()),
                Ok((n, names.clone()))
            );
            planned(n, &names);
        }
        Err(why) => refused(&why),
    }
    match announced(body) {
        Ok((name, host, port, secure)) => {
            assert!(
                port > 0 && !host.is_empty() && !host.contains(['/', '@', '?', '#', '\\', ' ']),
                "{host:?}:{port}"
            );
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            assert!((1..=63).contains(&name.len()) && name.bytes().all(plain), "{name:?}");
            let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let scheme = if secure { "https" } else { "http" };
            let again = json!({ "url": format!("{scheme}://{bracketed}:{port}/") }).to_string();
            assert_eq!(announced(again.as_bytes()), Ok((name, host, port, secure)));
        }
        Err(why) => refused(&why),
    }
}

/// Told in words that end up in logs and JSON: a line, not a page, and nothing that commands a terminal.
fn refused(why: &str) {
    assert!(why.starts_with("<Error> ") && !why.contains(char::is_control), "{why:?}");
}

fn planned(n: usize, names: &[String]) {
    let mut rng = Rng::seeded(n as u64);
    if let Ok(plan) = plan_add(n, names, &PRESENT, MOST, &mut rng) {
        assert!(plan.len() == n && PRESENT.len() + n <= MOST && plan.starts_with(names), "{plan:?}");
        assert!(plan.iter().all(|name| valid_name(name) && !PRESENT.contains(&name.as_str())), "{plan:?}");
        distinct(&plan);
    }
    if let Ok(plan) = plan_remove(n, names, &PRESENT, &mut rng) {
        assert!(plan.len() == n && plan.starts_with(names), "{plan:?}");
        assert!(plan.iter().all(|name| PRESENT.contains(&name.as_str())), "{plan:?}");
        distinct(&plan);
    }
}

fn distinct(plan: &[String]) {
    let names: std::collections::BTreeSet<&String> = plan.iter().collect();
    assert_eq!(names.len(), plan.len(), "{plan:?}");
}
