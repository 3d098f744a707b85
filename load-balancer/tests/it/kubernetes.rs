//! Backends from EndpointSlices, with an API server's double: they come, drain and go while traffic runs, and no request
//! fails.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Clients, Cluster, Lb, Scrape, configured, finish, hold, within};

/// A balancer that follows the Service `web` there.
pub(super) async fn following(cluster: &Cluster, settings: &[(&str, &str)]) -> Lb {
    Lb::start(configured("", &at(cluster, settings))).await
}

/// The settings for that, and more.
pub(super) fn at<'a>(cluster: &'a Cluster, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = [
        ("discovery.source", "kubernetes"),
        ("discovery.kubernetes.kubeconfig", cluster.kubeconfig.to_str().unwrap()),
        ("discovery.kubernetes.service", "web"),
        ("discovery.kubernetes.watch_timeout", "2s"),
    ];
    own.into_iter().chain(more.iter().copied()).collect()
}

/// A slice of that Service.
pub(super) fn slice(port: u16, endpoints: &[Value]) -> Value {
    let six = endpoints.iter().any(|e| e["addresses"][0].as_str().unwrap().contains(':'));
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "namespace": "shop", "labels": { "kubernetes.io/service-name": "web" } },
        "addressType": if six { "IPv6" } else { "IPv4" },
        "ports": [{ "name": "http", "port": port, "protocol": "TCP" }],
        "endpoints": if endpoints.is_empty() { Value::Null } else { json!(endpoints) },
    })
}

/// A pod that is ready.
pub(super) fn pod(name: &str, ip: impl Into<IpAddr>) -> Value {
    in_state(name, ip, json!({ "ready": true, "serving": true, "terminating": false }))
}

/// One that is on its way out, and still serves.
fn ending(name: &str, ip: impl Into<IpAddr>) -> Value {
    in_state(name, ip, json!({ "ready": false, "serving": true, "terminating": true }))
}

fn in_state(name: &str, ip: impl Into<IpAddr>, conditions: Value) -> Value {
    let target = json!({ "kind": "Pod", "namespace": "shop", "name": name, "uid": format!("uid-{name}") });
    json!({ "addresses": [ip.into().to_string()], "conditions": conditions, "targetRef": target, "zone": "west-b" })
}

/// A real backend at this address.
pub(super) async fn real(name: &str, bind: impl Into<IpAddr>) -> backend::Running {
    let config =
        backend::Config { name: name.into(), bind: bind.into(), fault: true, ..backend::Config::default() };
    backend::start(config).await.unwrap()
}

const ALL: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Between looks at a large pool.
const LOOK: Duration = Duration::from_millis(50);

fn joined(scrape: &Scrape) -> f64 {
    scrape.sum("lb_discovery_events_total", &[("source", "kubernetes"), ("event", "joined")])
}

#[tokio::test]
async fn pods_come_drain_and_go_and_no_request_fails() {
    let cluster = Cluster::start().await;
    let (one, two, six) =
        (real("one", FIRST).await, real("two", SECOND).await, real("six", Ipv6Addr::LOCALHOST).await);
    let ports = [&one, &two, &six].map(|b| b.address().port());
    cluster.put("web-1", slice(ports[0], &[pod("one", FIRST)]));
    let checked = [
        ("health.enabled", "true"),
        ("health.interval", "250ms"),
        ("discovery.regions", "{ west-b = \"EU\" }"),
    ];
    let lb = following(&cluster, &checked).await;
    assert_eq!((lb.members().await, lb.admin("/ready").await.status()), (vec!["one".to_owned()], 200));
    let clients = Clients::start(lb.traffic);
    clients.go_on().await;
    cluster.put("web-2", slice(ports[1], &[pod("two", SECOND)]));
    cluster.put("web-3", slice(ports[2], &[pod("six", Ipv6Addr::LOCALHOST)]));
    // In other slices, but no other members: the same pods by another way, another Service, and one that is not ready.
    cluster.put(
        "web-4",
        slice(ports[1], &[pod("two", SECOND), in_state("new", FIRST, json!({ "ready": false }))]),
    );
    let mut other = slice(ports[0], &[pod("other", Ipv4Addr::new(127, 0, 0, 9))]);
    other["metadata"]["labels"]["kubernetes.io/service-name"] = json!("other");
    cluster.put("other-1", other);
    lb.until_members("three", |names| names == ["one", "six", "two"] || names == ["one", "two", "six"]).await;
    let info = lb
        .until("all serve", |s| {
            ["one", "two", "six"].iter().all(|b| s.of_backend("lb_backend_healthy", b) == 1.0)
        })
        .await;
    assert_eq!(info.sum("lb_backend_info", &[("region", "EU")]), 3.0, "zones are translated");
    clients.go_on().await;
    assert!(clients.stop().await > 0, "every one of them a 200");

    // One drains: what is in flight there ends, and nothing new comes.
    let (held, name) = hold(&lb).await;
    let clients = Clients::start(lb.traffic);
    let index = ["one", "two", "six"].iter().position(|n| *n == name).unwrap();
    let ip = [IpAddr::V4(FIRST), IpAddr::V4(SECOND), IpAddr::V6(Ipv6Addr::LOCALHOST)][index];
    cluster.delete("web-4");
    cluster.put(&format!("web-{}", index + 1), slice(ports[index], &[ending(&name, ip)]));
    lb.until_members("two", |names| names.len() == 2 && !names.contains(&name)).await;
    clients.go_on().await;
    assert_eq!(lb.scrape().await.facts("left"), 0.0, "somebody is still served there");
    assert_eq!(finish(held).await.status(), 200);
    cluster.delete(&format!("web-{}", index + 1));
    lb.until("it has gone", |s| s.facts("left") == 1.0).await;
    clients.go_on().await;
    // It comes back, as a pod of another name.
    cluster.put("web-5", slice(ports[index], &[pod("successor", ip)]));
    lb.until_members("three again", |names| names.contains(&"successor".to_owned())).await;
    clients.go_on().await;
    assert!(clients.stop().await > 0, "every one of them a 200");
    let scrape = lb.scrape().await;
    assert_eq!((joined(&scrape), scrape.facts("left")), (4.0, 1.0));
    assert_eq!(scrape.sum("lb_discovery_up", &[("source", "kubernetes")]), 1.0);
}

#[tokio::test]
async fn where_all_terminate_they_serve_on_and_where_none_is_left_nobody_does() {
    let cluster = Cluster::start().await;
    let one = real("one", FIRST).await;
    let port = one.address().port();
    cluster.put("web-1", slice(port, &[pod("one", FIRST)]));
    let lb = following(&cluster, &[]).await;
    let clients = Clients::start(lb.traffic);
    let before = joined(&lb.scrape().await);
    cluster.put("web-1", slice(port, &[ending("one", FIRST)]));
    // Once this has been seen, so has that.
    cluster.put("web-2", slice(port, &[ending("two", SECOND)]));
    lb.until_members("both of them", |names| names == ["one", "two"]).await;
    clients.go_on().await;
    clients.stop().await;
    assert_eq!((before, lb.scrape().await.facts("draining")), (1.0, 0.0));
    cluster.delete("web-1");
    cluster.delete("web-2");
    lb.until_members("nobody", <[String]>::is_empty).await;
    assert_eq!(lb.get("/echo").await.status(), 503);
}

/// 500 pods at once, and all of them replaced, in slices of a hundred: one step each for whoever looks.
#[tokio::test]
async fn a_burst_is_one_change() {
    let cluster = Cluster::start().await;
    let anybody = real("anybody", ALL).await;
    let port = anybody.address().port();
    let ip = |generation: u8, i: usize| Ipv4Addr::new(127, generation, (i / 100) as u8, (i % 100 + 1) as u8);
    let hundred = |generation: u8, nth: usize, state: &dyn Fn(&str, Ipv4Addr) -> Value| {
        let one = |i| state(&format!("web-{generation}-{i}"), ip(generation, i));
        slice(port, &(nth * 100..nth * 100 + 100).map(one).collect::<Vec<_>>())
    };
    cluster.put("web-first", slice(port, &[pod("first", FIRST)]));
    // A ring of four million points takes a debug build its time, and is not what this is about.
    let light = [("metrics.backends", "1"), ("hash.points", "16")];
    let settings = [&light[..], &[("discovery.settle", "500ms"), ("timeouts.drain", "2s")]].concat();
    let lb = following(&cluster, &settings).await;
    let clients = Clients::start(lb.traffic);
    let mut seen = vec![lb.members().await.len()];
    for generation in 1..=2 {
        for nth in 0..5 {
            cluster.put(&format!("web-{generation}-{nth}"), hundred(generation, nth, &pod));
            if generation == 2 {
                cluster.put(&format!("web-1-{nth}"), hundred(1, nth, &ending));
            }
        }
        let fresh = format!("web-{generation}-499");
        let members = within("all of them", async {
            loop {
                let members = lb.members().await;
                if seen.last() != Some(&members.len()) {
                    seen.push(members.len());
                }
                if members.contains(&fresh) {
                    return members;
                }
                // Who asks without pause has the balancer's control thread do nothing but answer.
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
        assert_eq!(members.len(), 501);
    }
    assert_eq!(seen, [1, 501], "nobody saw half a burst");
    clients.go_on().await;
    (0..5).for_each(|nth| cluster.delete(&format!("web-1-{nth}")));
    lb.until("the first generation has gone", |s| s.facts("left") == 500.0).await;
    assert!(clients.stop().await > 0, "every one of them a 200");
    assert_eq!(lb.members().await.len(), 501);
}

/// Several Services, told apart by their labels, at a port with a name.
#[tokio::test]
async fn a_selector_and_labels_say_what_the_services_are() {
    let cluster = Cluster::start().await;
    for (region, weight, address) in [("EU", "3", FIRST), ("US", "1", SECOND)] {
        let ports = json!([{ "name": "http", "port": 5000 }, { "name": "admin", "port": 9901 }]);
        let mut slice = slice(0, &[pod(&format!("pod-{region}"), address)]);
        slice["ports"] = ports;
        slice["metadata"]["labels"] =
            json!({ "app": "shop", "ballast/region": region, "ballast/weight": weight });
        cluster.put(&format!("web-{region}"), slice);
    }
    let settings = [
        ("discovery.kubernetes.service", ""),
        ("discovery.kubernetes.selector", "app=shop"),
        ("discovery.kubernetes.port", "admin"),
    ];
    let lb = following(&cluster, &settings).await;
    let scrape = lb.scrape().await;
    let info = |region, address| {
        let labels = [("region", region), ("address", address)];
        scrape.sum("lb_backend_info", &labels)
    };
    assert_eq!((info("EU", "127.0.0.1:9901"), info("US", "127.0.0.2:9901")), (1.0, 1.0));
    assert_eq!(lb.members().await, ["pod-EU", "pod-US"]);
    assert_eq!(cluster.asked("labelSelector=app%3Dshop"), cluster.world().requests.len());
}
