//! What is passed on of what a source says, and what backends are called.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;

const SETTLE: Duration = Duration::from_millis(100);

fn list(n: usize) -> Said {
    let found = |i| {
        let address = Address::Name("b".to_owned(), 5_000 + i as u16);
        Found { name: format!("b{i}"), address, weight: 1, region: String::new(), draining: false }
    };
    Ok((0..n).map(found).collect())
}

/// What comes out where `script` puts in: lengths of lists, and errors.
async fn passed_on(script: impl AsyncFnOnce(&Outlet)) -> Vec<Result<usize, String>> {
    let (news, inbox) = mpsc::unbounded_channel();
    let passed = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&passed);
    let send = move |said: Said| {
        seen.borrow_mut().push(said.map(|all| all.len()));
        true
    };
    let outlet = Outlet(news);
    let source = async move { script(&outlet).await };
    tokio::join!(source, pass_on(inbox, SETTLE, send));
    Rc::into_inner(passed).unwrap().into_inner()
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_list_and_a_stream_is_not_held_back() {
    let burst = passed_on(async |outlet| (1..=500).for_each(|n| outlet.say(list(n)))).await;
    assert_eq!(burst, [Ok(500)]);
    let stream = passed_on(async |outlet| {
        for n in 1..=100 {
            outlet.say(list(n));
            tokio::time::sleep(SETTLE / 10).await;
        }
    })
    .await;
    assert!((9..=11).contains(&stream.len()), "once for each time it settles: {stream:?}");
    assert_eq!(stream.last(), Some(&Ok(100)));
}

#[tokio::test(start_paused = true)]
async fn an_error_hides_no_list_and_a_list_hides_errors_before_it() {
    let lost = || Err("lost".to_owned());
    let after =
        passed_on(async |outlet| [list(1), list(2), lost()].into_iter().for_each(|s| outlet.say(s))).await;
    assert_eq!(after, [Ok(2), Err("lost".to_owned())]);
    let before =
        passed_on(async |outlet| [lost(), lost(), list(3)].into_iter().for_each(|s| outlet.say(s))).await;
    assert_eq!(before, [Ok(3)]);
}

#[test]
fn names_of_addresses_are_labels() {
    let named = |text: &str| name_of(&Address::parse(text).unwrap());
    assert_eq!(named("10.0.0.7:5000"), "10.0.0.7-5000");
    assert_eq!(named("[fd00::1]:80"), "fd00--1-80");
    assert_eq!(named("web.local:80"), "web.local-80");
    let long = named(&format!("{}.local:80", "a".repeat(100)));
    assert!(long.len() == NAME_MOST && long.ends_with(".local-80"), "{long}");
}
