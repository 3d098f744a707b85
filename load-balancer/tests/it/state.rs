//! Membership over restarts: what `/add`, `/rm` and `/server_up` made of the pool is there again, and a file that says
//! nothing understandable is kept and told.

use std::path::{Path, PathBuf};

use super::process::{Served, file};
use super::support::{Fleet, Lb, Script, alive, config, gone, within};

/// What stands beside the state file, its own name aside.
fn refused(fleet: &Fleet) -> Vec<PathBuf> {
    let all = std::fs::read_dir(&fleet.folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.display().to_string().contains("refused")).collect()
}

/// Two configured backends in `folder`, with registration.
async fn pool(backends: &[Script; 2], state: &Path) -> Lb {
    let state = state.display().to_string();
    let settings = [("state.file", state.as_str()), ("control.registration", "true")];
    Lb::over(&backends.each_ref().map(|b| b.address), &settings).await
}

#[tokio::test]
async fn registered_and_removed_backends_survive_a_restart() {
    let folder = Fleet::of(0);
    let backends = [Script::named("one").await, Script::named("two").await];
    let third = Script::named("three").await;
    let mut lb = pool(&backends, &folder.state()).await;
    assert!(!folder.state().exists(), "nothing to say that the configuration does not");
    assert_eq!(lb.register(&format!("http://{}", third.address)).await.text(), "ok");
    lb.remove(1, &["b1"]).await.members();
    let members = lb.members().await;
    assert_eq!(members, ["b2".to_owned(), format!("127.0.0.1-{}", third.address.port())]);
    lb.stopping().await;

    let mut lb = pool(&backends, &folder.state()).await;
    assert_eq!(lb.members().await, members);
    let joined = [("source", "registration"), ("event", "joined")];
    assert_eq!(
        lb.scrape().await.sum("lb_discovery_events_total", &joined),
        1.0,
        "each who is there has joined"
    );
    let mut seen = std::collections::BTreeSet::new();
    within("both", async {
        while seen.len() < 2 {
            seen.insert(lb.get("/?algo=random").await.text());
        }
    })
    .await;
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["three", "two"]);
    // The removed one comes back at its own place in history: last.
    let members = lb.add(1, &["b1"]).await.members();
    assert_eq!(members[2], "b1");
    lb.stopping().await;
    let mut lb = pool(&backends, &folder.state()).await;
    assert_eq!((lb.members().await, lb.scrape().await.sum("lb_state_saved", &[])), (members, 1.0));
    lb.stopping().await;

    // Who may not register today is not taken back either.
    let state = folder.state().display().to_string();
    let lb = Lb::over(&backends.each_ref().map(|b| b.address), &[("state.file", &state)]).await;
    assert_eq!(lb.members().await, ["b2", "b1"]);
    assert_eq!(lb.scrape().await.facts("state_refused"), 0.0);
}

#[tokio::test]
async fn replicas_come_back_under_their_names() {
    let fleet = Fleet::of(3);
    let mut lb = Lb::start(fleet.config(&[])).await;
    lb.remove(1, &["S2"]).await.members();
    let members = lb.add(3, &["S7", "S5"]).await.members();
    assert_eq!((members.len(), &members[..4]), (5, &["S1", "S3", "S7", "S5"].map(str::to_owned)[..]));
    let before = fleet.children();
    lb.stopping().await;
    assert!(fleet.children().is_empty() && !before.iter().any(|(_, pid)| alive(*pid)));
    for _ in 0..2 {
        let mut lb = Lb::start(fleet.config(&[])).await;
        assert_eq!(lb.members().await, members);
        assert_eq!(lb.get("/echo").await.status(), 200);
        let mut running: Vec<_> = fleet.children().into_iter().map(|(name, _)| name).collect();
        let mut named = members.clone();
        running.sort();
        named.sort();
        assert_eq!(running, named);
        lb.stopping().await;
    }
}

#[tokio::test]
async fn what_cannot_be_understood_is_kept_aside() {
    let good = |version: u32, pool: &str, members: &str| {
        format!(
            r#"{{"version":{version},"pool":"{pool}","members":[{members}],"removed":["b1"],"seeded":[],"next_ordinal":3}}"#
        )
    };
    let b2 =
        r#"{"name":"b2","origin":"configured","address":"127.0.0.1:1","weight":1,"region":"","ordinal":2}"#;
    let heavy = b2.replace("\"weight\":1", "\"weight\":4000000000");
    let backends = [Script::named("one").await, Script::named("two").await];
    for (text, why) in [
        ("\u{0}\u{1}garbage".to_owned(), "is no state of ours"),
        (String::new(), "is no state of ours"),
        (good(1, "default", b2)[..90].to_owned(), "is no state of ours"),
        (good(1, "default", b2).replace("removed", "dismissed"), "is no state of ours"),
        (good(2, "default", b2), "has version 2, this program writes 1"),
        (good(1, "other", b2), "belongs to the pool \"other\", this one is \"default\""),
        (good(1, "default", &format!("{b2},{b2}")), "names \"b2\" twice"),
        (good(1, "default", &heavy), "the weight 4000000000"),
        (good(1, "default", b2).replace("\":3}", "\":4294967295}"), "has an ordinal above"),
    ] {
        let folder = Fleet::of(0);
        std::fs::write(folder.state(), &text).unwrap();
        let lb = pool(&backends, &folder.state()).await;
        assert_eq!(lb.members().await, ["b1", "b2"], "{why}");
        assert_eq!(lb.get("/").await.status(), 200);
        let facts = lb.facts("state_refused").await;
        assert_eq!((facts.len(), lb.scrape().await.facts("state_refused")), (1, 1.0));
        assert!(facts[0]["reason"].as_str().unwrap().contains(why), "{why} in {}", facts[0]);
        let aside = refused(&folder);
        assert_eq!((aside.len(), facts[0]["kept_as"].as_str()), (1, aside[0].to_str()));
        assert_eq!(std::fs::read_to_string(&aside[0]).unwrap(), text);
        // From here on a good one is kept.
        lb.remove(1, &["b1"]).await.members();
        assert_eq!(pool(&backends, &folder.state()).await.members().await, ["b2"]);
    }
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_and_stops_nobody() {
    let backends = [Script::named("one").await, Script::named("two").await];
    let folder = Fleet::of(0);
    let lb = pool(&backends, &folder.folder.join("nowhere/lab.json")).await;
    assert_eq!(lb.scrape().await.sum("lb_state_saved", &[]), 1.0);
    assert_eq!(lb.remove(1, &["b1"]).await.members(), ["b2"]);
    assert_eq!(lb.scrape().await.sum("lb_state_saved", &[]), 0.0);
    assert_eq!(lb.get("/").await.text(), "two");
    std::fs::create_dir(folder.folder.join("nowhere")).unwrap();
    assert_eq!(lb.add(1, &["b1"]).await.members(), ["b1", "b2"]);
    assert_eq!(lb.scrape().await.sum("lb_state_saved", &[]), 1.0, "the next attempt counts");
}

#[tokio::test]
async fn the_configuration_has_the_last_word_about_its_own() {
    let folder = Fleet::of(0);
    let backends = [Script::named("one").await, Script::named("two").await];
    let mut lb = pool(&backends, &folder.state()).await;
    lb.remove(1, &["b1"]).await.members();
    lb.stopping().await;
    // The file names one backend fewer, another address and weight, and one more.
    let state = folder.state().display().to_string();
    let settings = [("state.file", state.as_str())];
    let other = Script::named("other").await;
    let lb = Lb::start(config(
        &[(backends[0].address, 1), (other.address, 7), (backends[1].address, 1)],
        &settings,
    ));
    let mut lb = lb.await;
    assert_eq!(lb.members().await, ["b2", "b3"], "b1 was removed, b3 is new");
    assert_eq!(lb.get("/?algo=weighted_round_robin").await.text(), "other");
    lb.stopping().await;
    let removed =
        Lb::start(config(&[], &[&settings[..], &[("control.registration", "true")]].concat())).await;
    assert_eq!(removed.members().await.len(), 0);
    let text = "this pool has no provider";
    super::support::assert_refused(&removed.add(1, &[]).await, 409, text);
}

async fn serving(fleet: &Fleet, path: &Path) -> (Served, Lb) {
    let (path, env) = (path.to_owned(), fleet.variables(&[]));
    let served =
        within("the start", tokio::task::spawn_blocking(move || Served::with(&path, &env))).await.unwrap();
    let lb = Lb::at(served.traffic, served.admin);
    (served, lb)
}

#[tokio::test]
async fn after_a_kill_exactly_the_members_run_and_no_orphan() {
    // The second kind outlives its balancer by itself: its standard input never ends.
    let text = format!(
        "f=$(mktemp -u) && mkfifo $f && exec 0<>$f && rm $f && exec {} \"$@\"",
        super::support::own_program()
    );
    for fleet in [Fleet::of(3), Fleet::scripted(3, &text)] {
        let path = file("kill", &fleet.text());
        let (served, lb) = serving(&fleet, &path).await;
        let members = lb.add(1, &["S9"]).await.members();
        assert_eq!(members, ["S1", "S2", "S3", "S9"]);
        let before = fleet.children();
        served.signal("KILL");
        drop(served);
        let (served, lb) = serving(&fleet, &path).await;
        assert_eq!(lb.members().await, members);
        assert_eq!(lb.get("/echo").await.status(), 200);
        for (_, pid) in &before {
            gone(*pid).await;
        }
        let after = fleet.children();
        assert!(after.len() == 4 && after.iter().all(|(_, pid)| alive(*pid)));
        served.signal("TERM");
        drop(served.ended().await);
        assert!(!after.iter().any(|(_, pid)| alive(*pid)));
        std::fs::remove_file(path).unwrap();
    }
}
