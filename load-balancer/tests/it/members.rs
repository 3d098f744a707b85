//! Membership by order: `/rep`, `/add`, `/rm`, with the texts that the originals' users know, and nothing half done.

use super::support::{Fleet, Lb, Script, alive, assert_refused, finish, gone, hold, own_program, within};

const LISTED: &str = r#"{"message":{"N":3,"replicas":["S1","S2","S3"]},"status":"successful"}"#;

#[tokio::test]
async fn members_are_listed_in_the_order_in_which_they_came() {
    let fleet = Fleet::of(3);
    let lb = Lb::start(fleet.config(&[])).await;
    let reply = lb.admin("/rep").await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, LISTED));
    let members = lb.add(4, &["S9", "S5"]).await.members();
    assert_eq!(members[..5], ["S1", "S2", "S3", "S9", "S5"]);
    let fresh = |name: &str| name.len() == 8 && name.starts_with("s-") && !["S9", "S5"].contains(&name);
    assert!(members.len() == 7 && fresh(&members[5]) && fresh(&members[6]) && members[5] != members[6]);
    assert_eq!(lb.members().await, members);
    for name in &members {
        let served =
            async { while lb.get("/echo?algo=round_robin").await.json()["server"] != name.as_str() {} };
        within(name, served).await;
    }
    let left = lb.remove(3, &["S1", "S5"]).await.members();
    assert!(left.len() == 4 && !left.contains(&"S1".to_owned()) && !left.contains(&"S5".to_owned()));
    let rest: Vec<_> = members.iter().filter(|name| left.contains(name)).cloned().collect();
    assert_eq!(left, rest, "who stays keeps its place");
    let posted = lb.ask("POST", "/rm", r#"{"n":1}"#).await.members();
    assert_eq!((posted.len(), lb.members().await), (3, posted));
    let scrape = lb.scrape().await;
    assert_eq!((scrape.asked("/add", "200"), scrape.asked("/rm", "200")), (1.0, 2.0));
    let joined = |source| scrape.sum("lb_discovery_events_total", &[("source", source), ("event", "joined")]);
    assert_eq!((joined("provider"), joined("admin"), joined("config")), (3.0, 4.0, 0.0));
    let there = |source| scrape.sum("lb_discovery_endpoints", &[("source", source)]);
    assert_eq!(there("provider") + there("admin"), scrape.sum("lb_backends", &[]));
}

/// Bodies that neither `/add` nor `/rm` takes, and what the answer says about them.
const BAD: [(&str, &str); 19] = [
    (r#"{"hostnames":["S5"]}"#, "n: must be a positive number"),
    (r#"{"n":0}"#, "n: must be a positive number"),
    (r#"{"n":-1}"#, "n: must be a positive number"),
    (r#"{"n":1.5}"#, "n: must be a positive number"),
    (r#"{"n":1e308}"#, "n: must be a positive number"),
    (r#"{"n":"2"}"#, "n: must be a positive number"),
    (r#"{"n":null}"#, "n: must be a positive number"),
    (r#"{"n":true}"#, "n: must be a positive number"),
    (r#"{"n":[2]}"#, "n: must be a positive number"),
    (r#"{"n":99999999999999999999}"#, "n: must be a positive number"),
    (r#"{"n":18446744073709551615}"#, "n: "),
    (r#"{"n":4}"#, "n: "),
    (r#"{"n":1,"hostnames":"S5"}"#, "hostnames: must be a list of strings"),
    (r#"{"n":1,"hostnames":[5]}"#, "hostnames: must be a list of strings"),
    (r#"{"n":2,"hostnames":["S3","S3"]}"#, "hostnames: 'S3' is given twice"),
    (r#"{"n":1,"names":["S5"]}"#, "\"names\" is unknown here: use n, hostnames"),
    ("", "the body must be a JSON object with n, hostnames"),
    ("[1]", "the body must be a JSON object with n, hostnames"),
    (r#"{"n":1"#, "the body must be a JSON object with n, hostnames"),
];

const ADD: [(&str, &str); 7] = [
    (r#"{"n":1,"hostnames":["S3"]}"#, "hostnames: 'S3' is already present: choose another name"),
    (r#"{"n":2,"hostnames":["S5","S3"]}"#, "hostnames: 'S3' is already present: choose another name"),
    (r#"{"n":1,"hostnames":[""]}"#, "hostnames: '' is not a valid name"),
    (r#"{"n":1,"hostnames":["S_5"]}"#, "hostnames: 'S_5' is not a valid name"),
    (r#"{"n":1,"hostnames":["-S5"]}"#, "hostnames: '-S5' is not a valid name"),
    (r#"{"n":1,"hostnames":["a.b"]}"#, "hostnames: 'a.b' is not a valid name"),
    (r#"{"n":1,"hostnames":["S5\n"]}"#, "is not a valid name"),
];

const REMOVE: [(&str, &str); 3] = [
    (r#"{"n":1,"hostnames":["S5"]}"#, "hostnames: 'S5' is not a removable replica"),
    (r#"{"n":2,"hostnames":["S3","S5"]}"#, "hostnames: 'S5' is not a removable replica"),
    (r#"{"n":4,"hostnames":["S3"]}"#, "n: 4 are to be removed and only 3 can be"),
];

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let fleet = Fleet::of(3);
    let lb = Lb::start(fleet.config(&[("control.max_backends", "6")])).await;
    let children = fleet.children();
    let requests = [("POST", "/add", &ADD[..]), ("DELETE", "/rm", &REMOVE[..]), ("POST", "/rm", &REMOVE[..])];
    for (method, path, own) in requests {
        let too_many = lb.ask(method, path, r#"{"n":1,"hostnames":["S3","S4"]}"#).await;
        let what = if path == "/add" { "newly added" } else { "removable" };
        let text = format!("<Error> Length of hostname list is more than {what} instances");
        let exact = format!(r#"{{"message":"{text}","status":"failure"}}"#);
        assert_eq!((too_many.status(), too_many.text()), (400, exact));
        for (body, text) in BAD.iter().chain(own) {
            assert_refused(&lb.ask(method, path, body).await, 400, text);
            assert_eq!(lb.admin("/rep").await.text(), LISTED, "after {path} {body}");
        }
    }
    let longest = "x".repeat(64);
    assert_refused(&lb.add(1, &[&longest]).await, 400, "is not a valid name");
    assert_eq!((lb.admin("/rep").await.text().as_str(), fleet.children()), (LISTED, children));
    let scrape = lb.scrape().await;
    assert_eq!(scrape.asked("/add", "400"), (BAD.len() + ADD.len() + 2) as f64);
    assert_eq!(scrape.asked("/rm", "400"), 2.0 * (BAD.len() + REMOVE.len() + 1) as f64);
    assert_eq!((scrape.facts("joined"), scrape.facts("draining")), (3.0, 0.0));
}

#[tokio::test]
async fn removed_replicas_are_drained_and_then_end() {
    let fleet = Fleet::of(2);
    let lb = Lb::start(fleet.config(&[])).await;
    let (held, name) = hold(&lb).await;
    let pid = fleet.pid(&name);
    let left = lb.remove(1, &[&name]).await.members();
    assert!(left.len() == 1 && left[0] != name);
    for _ in 0..20 {
        assert_eq!(lb.get("/echo?algo=random").await.json()["server"], left[0].as_str());
    }
    assert_eq!(lb.facts("draining").await[0]["in_flight"], 1.0);
    assert!(alive(pid), "what is in flight may finish");
    let reply = finish(held).await;
    assert_eq!((reply.status(), reply.json()["server"].as_str()), (200, Some(name.as_str())));
    gone(pid).await;
    assert_eq!(lb.facts("left").await[0]["in_flight"], 0.0, "nobody was cut off");
    assert_eq!(lb.scrape().await.facts("replica_died"), 0.0, "an end that was asked for is no death");
    assert_eq!((lb.members().await, fleet.children().len()), (left, 1));
}

#[tokio::test]
async fn adding_a_name_that_still_drains_keeps_it() {
    let fleet = Fleet::of(2);
    let lb = Lb::start(fleet.config(&[])).await;
    let (held, name) = hold(&lb).await;
    let pid = fleet.pid(&name);
    lb.remove(1, &[&name]).await.members();
    assert_eq!(lb.add(1, &[&name]).await.members(), ["S1", "S2"]);
    assert_eq!(finish(held).await.status(), 200);
    assert_eq!((fleet.pid(&name), alive(pid)), (pid, true), "the same process");
    let served = async { while lb.get("/echo?algo=random").await.json()["server"] != name.as_str() {} };
    within("its requests", served).await;
    assert_eq!(lb.scrape().await.facts("left"), 0.0);
}

#[tokio::test]
async fn one_replica_that_does_not_start_undoes_the_rest() {
    let text = format!("case \" $* \" in *' --name bad '*) exit 7;; esac; exec {} \"$@\"", own_program());
    let fleet = Fleet::scripted(2, &text);
    let lb = Lb::start(fleet.config(&[])).await;
    let children = fleet.children();
    let (held, name) = hold(&lb).await;
    lb.remove(1, &[&name]).await.members();
    let left = lb.members().await;
    // One that is kept, one that starts, one that does not.
    let refused = lb.add(3, &[&name, "good", "bad"]).await;
    assert_refused(&refused, 502, "exit status 7");
    assert!(refused.text().contains("bad") && refused.text().contains("nothing was changed"));
    assert_eq!(lb.members().await, left);
    within("the end of what had started", async {
        while fleet.children().len() > children.len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(finish(held).await.status(), 200);
    lb.until("the drain goes on", |s| s.facts("left") == 1.0).await;
    assert_eq!((lb.members().await, lb.scrape().await.asked("/add", "502")), (left, 1.0));
    assert_eq!(lb.add(1, &["good"]).await.members().len(), 2, "the name is free again");
}

#[tokio::test]
async fn configured_backends_come_back_and_others_cannot_be_added() {
    let backends = [Script::named("one").await, Script::named("two").await];
    let lb = Lb::over(&backends.each_ref().map(|b| b.address), &[]).await;
    for (n, names) in [(1, &["b9"][..]), (1, &[]), (5, &[])] {
        let text = "this pool has no provider that can start replicas";
        assert_refused(&lb.add(n, names).await, 409, text);
    }
    assert_refused(&lb.add(1, &["b_9"]).await, 400, "'b_9' is not a valid name");
    assert_refused(&lb.add(1, &["b1"]).await, 400, "'b1' is already present");
    let text = "Length of hostname list is more than newly added instances";
    assert_refused(&lb.add(1, &["b1", "b2"]).await, 400, text);
    assert_eq!(lb.members().await, ["b1", "b2"]);
    // While it drains, and after it has left.
    for (left, order) in [(0.0, ["b1", "b2"]), (1.0, ["b2", "b1"])] {
        assert_eq!(lb.remove(1, &["b1"]).await.members(), ["b2"]);
        assert_eq!(lb.get("/").await.text(), "two");
        lb.until("it has left", |s| s.facts("left") >= left).await;
        assert_refused(&lb.add(2, &["b1"]).await, 409, "no provider");
        assert_eq!(lb.add(1, &[]).await.members(), order);
        within("its share", async { while lb.get("/?algo=random").await.text() != "one" {} }).await;
    }
    assert_eq!(lb.remove(2, &[]).await.members(), [""; 0]);
    assert_eq!(lb.get("/").await.status(), 503);
}
