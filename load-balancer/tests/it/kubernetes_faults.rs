//! An API server that forgets, drops, hangs, forbids and is away: nothing is lost by it, and no request fails.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;

use super::kubernetes::{at, following, pod, real, slice};
use super::support::{Clients, Cluster, Lb, Scrape, configured};

const ALL: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// Longest that a dead watch may go unnoticed: two seconds of `watch_timeout`, five of grace, and as much for a busy machine.
const DEAD: Duration = Duration::from_secs(14);

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

fn up(scrape: &Scrape) -> bool {
    scrape.sum("lb_discovery_up", &[("source", "kubernetes")]) == 1.0
}

fn errors(scrape: &Scrape) -> f64 {
    scrape.sum("lb_discovery_errors_total", &[("source", "kubernetes")])
}

/// A cluster with one pod, a balancer that has found it, and clients of that.
async fn running() -> (Cluster, u16, backend::Running, Lb, Clients) {
    let cluster = Cluster::start().await;
    let anybody = real("anybody", ALL).await;
    let port = anybody.address().port();
    cluster.put("web-1", slice(port, &[pod("one", ip(1))]));
    let lb = following(&cluster, &[]).await;
    assert_eq!(lb.members().await, ["one"]);
    cluster.until("a watch", |world| world.watches == 1).await;
    let clients = Clients::start(lb.traffic);
    (cluster, port, anybody, lb, clients)
}

#[tokio::test]
async fn watches_that_end_or_break_off_go_on_where_they_were() {
    let (mut cluster, port, _anybody, lb, clients) = running().await;
    // The first is over by itself after two seconds. All that went before a bookmark is forgotten meanwhile.
    cluster.bookmark();
    cluster.until("the bookmark", |world| world.told == 2).await;
    cluster.forget();
    let version = |line: &str| {
        let version = line.split_once("resourceVersion=").unwrap().1;
        version.split('&').next().unwrap().parse::<u64>().unwrap()
    };
    cluster
        .until("a further watch", |world| {
            world.requests.last().is_some_and(|line| line.starts_with("watch") && version(line) == 2)
        })
        .await;
    assert_eq!(
        (cluster.asked("list "), errors(&lb.scrape().await)),
        (1, 0.0),
        "nothing had to be listed again"
    );
    // Cut off while things happen.
    for n in 2..=5 {
        cluster.go().await;
        cluster.put(&format!("web-{n}"), slice(port, &[pod(&format!("p{n}"), ip(n))]));
        if n == 4 {
            cluster.delete("web-2");
        }
        cluster.come_back().await;
        let name = format!("p{n}");
        lb.until_members("it is found nevertheless", |names| names.contains(&name)).await;
        clients.go_on().await;
    }
    assert_eq!(lb.until_members("all", |names| names.len() == 4).await, ["one", "p3", "p4", "p5"]);
    lb.until("it works again", up).await;
    assert_eq!(lb.facts("discovery_lost").await.len(), lb.facts("discovery_back").await.len());
    assert!(clients.stop().await > 0, "every one of them a 200");
}

#[tokio::test]
async fn what_the_server_has_forgotten_is_listed_again() {
    let (mut cluster, port, _anybody, lb, clients) = running().await;
    // In the middle of a watch: first the pages of the new list, then on from there.
    for n in 2..=8 {
        cluster.world().mute = true;
        cluster.put(&format!("web-{n}"), slice(port, &[pod(&format!("p{n}"), ip(n))]));
    }
    cluster.delete("web-1");
    cluster.forget();
    cluster.world().mute = false;
    cluster.cut().await;
    let all = ["p2", "p3", "p4", "p5", "p6", "p7", "p8"];
    lb.until_members("those of the list", |names| names == all).await;
    assert!(cluster.asked("continue=") >= 2, "in pages: {:?}", cluster.world().requests);
    cluster.until("a watch", |world| world.watches == 1).await;
    // And a watch that is told so at once, while it is under way.
    let lists = cluster.asked("list ");
    cluster.lose();
    let listed = |requests: &[String]| requests.iter().filter(|r| r.starts_with("list")).count();
    cluster.until("another list", |world| listed(&world.requests) > lists).await;
    cluster.put("web-9", slice(port, &[pod("p9", ip(9))]));
    lb.until_members("the next one", |names| names.len() == 8).await;
    clients.go_on().await;
    assert!(clients.stop().await > 0, "every one of them a 200");
    lb.until("all is well", up).await;
}

/// Connections that look open and are dead: seen within `watch_timeout` and five seconds; and a list that is never answered,
/// within ten.
#[tokio::test]
async fn a_server_that_hangs_is_noticed_and_left() {
    let (mut cluster, port, _anybody, lb, clients) = running().await;
    cluster.world().mute = true;
    cluster.put("web-2", slice(port, &[pod("two", ip(2))]));
    let noticed = tokio::time::timeout(DEAD, lb.until("the watch is taken for dead", |s| !up(s))).await;
    assert!(noticed.is_ok(), "not within {DEAD:?}");
    let fault = lb.facts("discovery_lost").await;
    assert!(fault[0]["reason"].as_str().unwrap().contains("has not ended the watch"), "{fault:?}");
    // Now watches are not even answered.
    let before = errors(&lb.scrape().await);
    lb.until("that is noticed, too", |s| errors(s) > before).await;
    assert_eq!((lb.members().await, lb.admin("/ready").await.status()), (vec!["one".to_owned()], 200));
    cluster.world().mute = false;
    cluster.cut().await;
    lb.until_members("what had come meanwhile", |names| names == ["one", "two"]).await;
    lb.until("it works again", up).await;
    assert!(clients.stop().await > 0, "every one of them a 200");
}

#[tokio::test]
async fn while_the_server_is_away_the_last_list_holds() {
    let (mut cluster, port, _anybody, lb, clients) = running().await;
    cluster.go().await;
    lb.until("that is seen", |s| !up(s) && errors(s) >= 3.0).await;
    assert_eq!((lb.members().await, lb.admin("/ready").await.status()), (vec!["one".to_owned()], 200));
    clients.go_on().await;
    cluster.put("web-2", slice(port, &[pod("two", ip(2))]));
    cluster.delete("web-1");
    cluster.come_back().await;
    lb.until_members("what is there now", |names| names == ["two"]).await;
    clients.go_on().await;
    assert!(clients.stop().await > 0, "every one of them a 200");
    assert_eq!((lb.facts("discovery_lost").await.len(), lb.facts("discovery_back").await.len()), (1, 1));
}

#[tokio::test]
async fn a_missing_right_is_named_and_waited_for() {
    let cluster = Cluster::start().await;
    let one = real("one", ip(1)).await;
    cluster.put("web-1", slice(one.address().port(), &[pod("one", ip(1))]));
    cluster.world().forbidden = vec!["list"];
    let lb = following(&cluster, &[]).await;
    let ready = lb.admin("/ready").await;
    assert_eq!(ready.status(), 503);
    let right = "the right to \"list endpointslices\" in the namespace shop is missing (403)";
    assert!(ready.text().contains(right.split('"').next().unwrap()), "{}", ready.text());
    let lost = lb.facts("discovery_lost").await;
    assert!(lost[0]["reason"].as_str().unwrap().contains(right), "{lost:?}");
    // Listing alone is of some use: what changes is seen by the next list.
    cluster.world().forbidden = vec!["watch"];
    lb.until_members("the list", |names| names == ["one"]).await;
    let clients = Clients::start(lb.traffic);
    lb.until("that is not enough", |s| !up(s)).await;
    cluster.put("web-2", slice(one.address().port(), &[]));
    cluster.world().forbidden.clear();
    lb.until("all is well", up).await;
    assert_eq!(lb.admin("/ready").await.status(), 200);
    assert!(clients.stop().await > 0, "every one of them a 200");
    // Told once, however often it was tried.
    let lost = lb.facts("discovery_lost").await;
    assert!(lost.len() <= 3, "{lost:?}");
}

#[tokio::test]
async fn what_cannot_work_is_said_and_not_tried_without_pause() {
    // Watches that end at once.
    let (cluster, _port, _anybody, lb, clients) = running().await;
    cluster.world().curt = true;
    lb.until("that is a fault", |s| errors(s) >= 3.0).await;
    let tries = cluster.asked("watch ");
    assert!(tries <= 10, "{tries} watches for {} faults", errors(&lb.scrape().await));
    cluster.world().curt = false;
    lb.until("all is well", up).await;
    clients.stop().await;
    // A namespace, a port and a kubeconfig that are wrong.
    let mut two = slice(1, &[pod("one", ip(1))]);
    two["ports"] = json!([{ "name": "http", "port": 1 }, { "name": "admin", "port": 2 }]);
    cluster.put("web-1", two);
    let wrong = [
        (
            "discovery.kubernetes.namespace",
            "elsewhere",
            "does not have what \"list endpointslices\" asks for (404)",
        ),
        ("discovery.kubernetes.port", "", "say which by discovery.kubernetes.port"),
        ("discovery.kubernetes.kubeconfig", "/nowhere/kubeconfig", "/nowhere/kubeconfig: "),
    ];
    let refused = wrong.map(|(key, value, text)| {
        let config = configured("", &at(&cluster, &[(key, value)]));
        async move {
            let lb = Lb::start(config).await;
            let lost = lb.facts("discovery_lost").await;
            assert!(lost[0]["reason"].as_str().unwrap().contains(text), "{lost:?}");
            assert_eq!(lb.admin("/ready").await.status(), 503);
        }
    });
    futures_util::future::join_all(refused).await;
}
