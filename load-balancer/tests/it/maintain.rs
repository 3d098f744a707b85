//! The number of replicas is kept: what dies is replaced, what cannot start is not started for ever, and where scaling is
//! on the number follows the load.

use super::support::{Fleet, Lb, Scrape, alive, finish, gone, hold, kill, own_program, within};

#[tokio::test]
async fn a_killed_replica_is_replaced_under_a_fresh_name() {
    let fleet = Fleet::of(3);
    let lb = Lb::start(fleet.config(&[])).await;
    let pid = fleet.pid("S2");
    kill(pid);
    let members = lb.until_members("three again", |m| m.len() == 3 && !m.contains(&"S2".to_owned())).await;
    assert_eq!(members[..2], ["S1", "S3"]);
    assert!(members[2].starts_with("s-"), "{members:?}");
    assert_eq!((fleet.children().len(), fleet.pid("S1") > 0), (3, true));
    let died = lb.facts("replica_died").await;
    assert_eq!(
        (died.len(), &died[0]["replica"], &died[0]["reason"]),
        (1, &"S2".into(), &"killed by signal 9".into())
    );
    let scrape = lb.until("nobody is missing", |s| s.sum("lb_replicas_missing", &[]) == 0.0).await;
    assert_eq!(scrape.facts("replica_started"), 4.0);
    let served = async { while lb.get("/echo?algo=random").await.json()["server"] != members[2].as_str() {} };
    within("its requests", served).await;
    // All of them at once.
    fleet.children().into_iter().for_each(|(_, pid)| kill(pid));
    let next =
        lb.until_members("three others", |m| m.len() == 3 && !m.iter().any(|n| members.contains(n))).await;
    assert_eq!(lb.get("/echo").await.status(), 200, "{next:?}");
}

#[tokio::test]
async fn one_that_dies_while_it_drains_is_not_replaced() {
    let fleet = Fleet::of(2);
    let lb = Lb::start(fleet.config(&[])).await;
    let (held, name) = hold(&lb).await;
    let left = lb.remove(1, &[&name]).await.members();
    kill(fleet.pid(&name));
    lb.until("it has left", |s| s.facts("left") == 1.0).await;
    drop(held);
    let scrape = lb.settled().await;
    assert_eq!((scrape.facts("replica_died"), scrape.sum("lb_replicas_missing", &[])), (0.0, 0.0));
    assert_eq!((lb.members().await, fleet.children().len()), (left, 1));
}

#[tokio::test]
async fn a_crash_loop_is_slowed_down() {
    // One that dies before it can join, one after, and one that never listens and takes its time: looks at the pool fall
    // in between.
    for script in [
        "echo listening on http://127.0.0.1:9",
        "echo listening on http://127.0.0.1:9; sleep 0.2",
        "sleep 0.3",
    ] {
        let fleet = Fleet::scripted(1, &format!("{script}; exit 3"));
        let lb = Lb::start(fleet.config(&[])).await;
        let failed = |s: &Scrape| s.facts("replica_failed") + s.facts("replica_died");
        let scrape = lb.until("four failures", |s| failed(s) >= 4.0).await;
        assert_eq!(scrape.sum("lb_replicas_missing", &[]), 1.0);
        let mut facts = [lb.facts("replica_failed").await, lb.facts("replica_died").await].concat();
        facts.sort_by_key(|fact| fact["number"].as_u64());
        let at: Vec<_> = facts.iter().map(|fact| fact["at"].as_u64().unwrap()).collect();
        for (i, pause) in [500, 1_000, 2_000].into_iter().enumerate() {
            // The two clocks are read a moment apart.
            assert!(at[i + 1] - at[i] >= pause - 50, "{script}: failures at {at:?}");
        }
    }
}

#[tokio::test]
async fn a_replica_that_hangs_is_replaced() {
    let fleet = Fleet::of(2);
    let checked = [
        ("health.enabled", "true"),
        ("health.interval", "50ms"),
        ("health.edge_interval", "20ms"),
        ("replicas.replace_after", "500ms"),
    ];
    let lb = Lb::start(fleet.config(&checked)).await;
    let pid = fleet.pid("S1");
    let sick = async { while lb.get("/unhealthy?algo=random").await.status() != 201 {} };
    within("one is sick", sick).await;
    let scrape = lb.until("its checks fail", |s| s.facts("unhealthy") == 1.0).await;
    assert_eq!(scrape.facts("replica_died"), 0.0);
    let name = lb.facts("unhealthy").await[0]["backend"].as_str().unwrap().to_owned();
    let old = if name == "S1" { pid } else { fleet.pid("S2") };
    lb.until_members("another", |m| m.len() == 2 && !m.contains(&name)).await;
    let died = lb.facts("replica_died").await;
    assert!(died.len() == 1 && died[0]["reason"].as_str().unwrap().contains("failed its checks for 500ms"));
    gone(old).await;
    lb.until("both serve", |s| s.sum("lb_backend_healthy", &[]) == 2.0).await;
    assert_eq!(lb.get("/echo").await.status(), 200);
}

/// What all have at once is hardly each one's own fault: they are not killed all at once for it.
#[tokio::test]
async fn a_pool_that_hangs_as_a_whole_is_replaced_one_by_one() {
    let fleet = Fleet::of(3);
    let checked = [
        ("health.enabled", "true"),
        ("health.interval", "50ms"),
        ("health.edge_interval", "20ms"),
        ("replicas.replace_after", "700ms"),
    ];
    let lb = Lb::start(fleet.config(&checked)).await;
    let sick = async {
        while lb.scrape().await.sum("lb_backend_healthy", &[]) > 0.0 {
            lb.get("/unhealthy?algo=round_robin").await;
        }
    };
    within("all are sick", sick).await;
    lb.until("two are replaced", |s| s.facts("replica_died") >= 2.0).await;
    let at: Vec<_> = lb.facts("replica_died").await.iter().map(|f| f["at"].as_u64().unwrap()).collect();
    assert!(at[1] - at[0] >= 450, "a pause as in a crash loop: {at:?}");
    lb.until("all serve", |s| s.sum("lb_backend_healthy", &[]) == 3.0).await;
    assert_eq!(lb.members().await.len(), 3);
}

#[tokio::test]
async fn the_stop_ends_all_children() {
    let slow =
        format!("case \" $* \" in *' --name slow '*) exec sleep 1000;; esac; exec {} \"$@\"", own_program());
    let fleet = Fleet::scripted(3, &slow);
    let mut lb = Lb::start(fleet.config(&[])).await;
    lb.remove(1, &["S2"]).await.members();
    // One that is only starting, and somebody who waits for it.
    let admin = lb.admin;
    let waiting = tokio::spawn(async move { Lb::at(admin, admin).add(1, &["slow"]).await.status() });
    within("it starts", async {
        while fleet.children().len() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let children = fleet.children();
    lb.stopping().await;
    assert!(!children.iter().any(|(_, pid)| alive(*pid)));
    assert!(fleet.children().is_empty());
    // An answer is not owed any more; where there is one it is a refusal.
    if let Ok(status) = within("whoever waited", waiting).await {
        assert_eq!(status, 503);
    }
    // Who was promised is there again, who was not is not.
    let again = Lb::start(fleet.config(&[])).await;
    assert_eq!(again.members().await, ["S1", "S3"]);
}

#[tokio::test]
async fn the_number_follows_the_load() {
    let fleet = Fleet::of(1);
    let scaling = [
        ("replicas.scaling.least", "1"),
        ("replicas.scaling.most", "4"),
        ("replicas.scaling.target", "1.0"),
        ("replicas.scaling.cool_down", "300ms"),
        ("timeouts.body_idle", "0"),
        ("timeouts.first_byte", "0"),
        ("timeouts.total", "0"),
    ];
    let lb = Lb::start(fleet.config(&scaling)).await;
    assert_eq!(lb.members().await, ["S1"]);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(hold(&lb).await.0);
    }
    let members = lb.until_members("four of them", |m| m.len() == 4).await;
    assert!(members[0] == "S1" && members[1..].iter().all(|name| name.starts_with("s-")), "{members:?}");
    let scaled = lb.facts("scaled").await;
    assert!(scaled[0]["from"] == 1.0 && scaled.last().unwrap()["to"] == 4.0, "{scaled:?}");
    assert_eq!(fleet.children().len(), 4);
    for wire in held {
        assert_eq!(finish(wire).await.status(), 200);
    }
    // The load is averaged over ten seconds: one replica fewer proves the way back.
    lb.until_members("fewer", |m| m.len() < 4).await;
    let last = lb.facts("scaled").await.pop().unwrap();
    assert!(last["to"].as_f64() < last["from"].as_f64(), "{last}");
    assert_eq!((lb.members().await[0].as_str(), lb.get("/echo").await.status()), ("S1", 200));
    assert_eq!(lb.scrape().await.sum("lb_request_aborts_total", &[]), 0.0);
}
