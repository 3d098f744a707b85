//! The pure part: what a list of slices comes to, in tables and at random.

use lb_core::Rng;
use serde_json::{Value, json};

use super::*;

fn labels() -> Labels {
    Labels { region: "ballast/region".into(), weight: "ballast/weight".into() }
}

/// As the API server sends it.
fn slice(kind: &str, ports: &Value, endpoints: &Value) -> EndpointSlice {
    let labels = json!({ "kubernetes.io/service-name": "web" });
    let metadata = json!({ "name": "web-1", "labels": labels });
    let slice = json!({ "metadata": metadata, "addressType": kind, "ports": ports, "endpoints": endpoints });
    serde_json::from_value(slice).unwrap()
}

fn http() -> Value {
    json!([{ "name": "http", "port": 5000, "protocol": "TCP" }])
}

fn pod(name: &str, ip: &str, conditions: &Value) -> Value {
    let target = json!({ "kind": "Pod", "name": name, "uid": format!("uid-{name}"), "namespace": "shop" });
    json!({ "addresses": [ip], "conditions": conditions, "targetRef": target, "zone": "west-b" })
}

fn ready() -> Value {
    json!({ "ready": true, "serving": true, "terminating": false })
}

fn terminating(serving: bool) -> Value {
    json!({ "ready": false, "serving": serving, "terminating": true })
}

fn look(slices: &[EndpointSlice], port: &Port) -> Vec<Found> {
    found(slices.iter(), port, &labels()).unwrap()
}

/// Name, address and whether it drains, of each.
fn gist(slices: &[EndpointSlice]) -> Vec<String> {
    let line = |f: Found| format!("{} {}{}", f.name, f.address, if f.draining { " draining" } else { "" });
    look(slices, &Port::Only).into_iter().map(line).collect()
}

#[test]
fn conditions_say_who_serves_and_what_is_not_said_is_good() {
    for (conditions, expected) in [
        (Value::Null, "a 10.0.0.1:5000"),
        (json!({}), "a 10.0.0.1:5000"),
        (json!({ "ready": true }), "a 10.0.0.1:5000"),
        (ready(), "a 10.0.0.1:5000"),
        (json!({ "ready": false }), ""),
        (json!({ "ready": false, "serving": false, "terminating": false }), ""),
        (terminating(true), "a 10.0.0.1:5000 draining"),
        (json!({ "ready": false, "terminating": true }), "a 10.0.0.1:5000 draining"),
        // What a Service with publishNotReadyAddresses says: ready whatever happens.
        (json!({ "ready": true, "serving": false, "terminating": false }), "a 10.0.0.1:5000"),
        (json!({ "ready": true, "serving": true, "terminating": true }), "a 10.0.0.1:5000 draining"),
        (terminating(false), ""),
    ] {
        let all = gist(&[slice("IPv4", &http(), &json!([pod("a", "10.0.0.1", &conditions)]))]);
        assert_eq!(all.join(","), expected, "{conditions}");
    }
}

#[test]
fn all_slices_are_one_list_and_nobody_is_in_it_twice() {
    let four = |endpoints: Value| slice("IPv4", &http(), &endpoints);
    let six = |endpoints: Value| slice("IPv6", &http(), &endpoints);
    let (a4, a6) = (pod("a", "10.0.0.1", &ready()), pod("a", "fd00::1", &ready()));
    // A pod with both families is one backend, at its IPv4 address, whichever slice comes first and knows first.
    assert_eq!(gist(&[six(json!([a6])), four(json!([a4]))]), ["a 10.0.0.1:5000"]);
    let not_yet = pod("a", "10.0.0.1", &json!({ "ready": false }));
    assert_eq!(gist(&[six(json!([a6])), four(json!([not_yet]))]), ["a 10.0.0.1:5000"]);
    assert_eq!(gist(&[six(json!([a6]))]), ["a [fd00::1]:5000"]);
    // While an endpoint moves between slices it is in both, and one of them is old.
    let (old, new) = (pod("a", "10.0.0.1", &terminating(true)), pod("a", "10.0.0.1", &ready()));
    assert_eq!(gist(&[four(json!([old])), four(json!([new]))]), ["a 10.0.0.1:5000"]);
    // Without a pod behind it, an endpoint is its address.
    let bare = json!({ "addresses": ["10.0.0.9", "10.0.0.10"] });
    assert_eq!(gist(&[four(json!([bare, bare])), six(Value::Null)]), ["10.0.0.9-5000 10.0.0.9:5000"]);
    // Successors: of an address, and of a name. Who is ready counts.
    let (gone, here) = (pod("a", "10.0.0.1", &terminating(true)), pod("b", "10.0.0.1", &ready()));
    assert_eq!(gist(&[four(json!([gone, here]))]), ["b 10.0.0.1:5000"]);
    let mut before = pod("a", "10.0.0.1", &terminating(true));
    before["targetRef"]["uid"] = json!("another");
    assert_eq!(gist(&[four(json!([before, pod("a", "10.0.0.2", &ready())]))]), ["a 10.0.0.2:5000"]);
    // What no backend can be made of.
    let odd = json!([{ "addresses": ["backend.example"] }, { "addresses": [] }]);
    assert_eq!(gist(&[four(odd), slice("FQDN", &http(), &json!([{ "addresses": ["10.0.0.1"] }]))]), [""; 0]);
    let long = "x".repeat(64);
    assert_eq!(gist(&[four(json!([pod(&long, "10.0.0.1", &ready())]))]), ["10.0.0.1-5000 10.0.0.1:5000"]);
}

#[test]
fn the_port_is_the_one_that_is_meant() {
    let two = json!([{ "name": "http", "port": 5000 }, { "name": "admin", "port": 9901 }]);
    let (none, any, udp) = (Value::Null, json!([{ "name": "" }]), json!([{ "port": 53, "protocol": "UDP" }]));
    let name = |name: &str| Port::Name(name.to_owned());
    let cases = [
        (&http(), Port::Only, Some(5000)),
        (&none, Port::Only, None),
        (&any, Port::Only, None),
        (&udp, Port::Only, None),
        (&two, name("admin"), Some(9901)),
        (&two, name("metrics"), None),
        (&two, Port::Number(9901), Some(9901)),
        (&two, Port::Number(80), None),
        (&none, Port::Number(80), Some(80)),
        (&json!([]), Port::Number(80), Some(80)),
        (&any, Port::Number(80), Some(80)),
        (&udp, Port::Number(53), None),
        (&json!([{ "port": 70_000 }]), Port::Only, None),
    ];
    for (ports, port, expected) in cases {
        let slices = [slice("IPv4", ports, &json!([pod("a", "10.0.0.1", &ready())]))];
        let expected: Vec<_> = expected.map(|port: u16| format!("10.0.0.1:{port}")).into_iter().collect();
        let all: Vec<_> = look(&slices, &port).iter().map(|f| f.address.to_string()).collect();
        assert_eq!(all, expected, "{port:?} of {ports}");
    }
    // By name, and another number in each slice: old and new pods of a rollout.
    let new = json!([{ "name": "http", "port": 8080 }]);
    let slices = [
        slice("IPv4", &http(), &json!([pod("a", "10.0.0.1", &ready())])),
        slice("IPv4", &new, &json!([pod("b", "10.0.0.2", &ready())])),
    ];
    let all: Vec<_> = look(&slices, &name("http")).iter().map(|f| f.address.to_string()).collect();
    assert_eq!(all, ["10.0.0.1:5000", "10.0.0.2:8080"]);
    let unclear = [slice("IPv4", &two, &json!([]))];
    let reason = found(unclear.iter(), &Port::Only, &labels()).unwrap_err();
    assert!(
        reason.contains("\"http\" (5000), \"admin\" (9901)") && reason.contains("discovery.kubernetes.port")
    );
}

#[test]
fn labels_and_zones_say_where_and_how_much() {
    let cases = [
        (json!({}), "west-b", 1),
        (json!({ "ballast/region": "EU", "ballast/weight": "3" }), "EU", 3),
        (json!({ "ballast/region": "", "ballast/weight": "many" }), "west-b", 1),
        (json!({ "ballast/weight": "0" }), "west-b", 1),
        (json!({ "ballast/weight": "5000" }), "west-b", 1_000),
    ];
    for (labels, region, weight) in cases {
        let mut slice = slice("IPv4", &http(), &json!([pod("a", "10.0.0.1", &ready())]));
        slice.metadata.labels = serde_json::from_value(labels.clone()).unwrap();
        let all = look(&[slice], &Port::Only);
        assert_eq!((all[0].region.as_str(), all[0].weight), (region, weight), "{labels}");
    }
}

/// Pods with one address or two, each seen by one slice or several that need not agree, cut and ordered at random.
#[test]
fn neither_order_nor_cut_changes_anything() {
    let mut rng = Rng::seeded(26);
    for _ in 0..300 {
        let pods = rng.below(30);
        let mut seen: Vec<(bool, Value)> = Vec::new();
        for i in 1..=pods {
            for _ in 0..=rng.below(3) {
                let six = rng.below(2) == 0;
                let ip = if six { format!("fd00::{i}") } else { format!("10.0.0.{i}") };
                let states = [ready(), terminating(true), terminating(false), json!({ "ready": false })];
                seen.push((six, pod(&format!("p{i}"), &ip, &states[rng.below(4) as usize])));
            }
        }
        let expected = gist(&cut(&seen, &mut rng));
        for _ in 0..5 {
            shuffle(&mut seen, &mut rng);
            assert_eq!(gist(&cut(&seen, &mut rng)), expected);
        }
        // By hand: the best that is said about each pod, at the lower of its addresses.
        let by_hand = (1..=pods).filter_map(|i| {
            let name = format!("p{i}");
            let own: Vec<_> = seen.iter().filter(|(_, pod)| pod["targetRef"]["name"] == *name).collect();
            let any = |state: Value| own.iter().any(|(_, pod)| pod["conditions"] == state);
            let address = if own.iter().any(|(six, _)| !six) {
                format!("10.0.0.{i}:5000")
            } else {
                format!("[fd00::{i}]:5000")
            };
            match (any(ready()), any(terminating(true))) {
                (true, _) => Some(format!("{name} {address}")),
                (false, true) => Some(format!("{name} {address} draining")),
                _ => None,
            }
        });
        let mut by_hand: Vec<String> = by_hand.collect();
        by_hand.sort();
        assert_eq!(expected, by_hand);
    }
}

fn cut(seen: &[(bool, Value)], rng: &mut Rng) -> Vec<EndpointSlice> {
    let mut slices = Vec::new();
    for (kind, family) in [("IPv4", false), ("IPv6", true)] {
        let mut rest: Vec<Value> =
            seen.iter().filter(|(six, _)| *six == family).map(|(_, pod)| pod.clone()).collect();
        while !rest.is_empty() {
            let tail = rest.split_off(rng.below(rest.len() as u32 + 1) as usize);
            slices.push(slice(kind, &http(), &json!(rest)));
            rest = tail;
        }
    }
    shuffle(&mut slices, rng);
    slices
}

fn shuffle<T>(all: &mut [T], rng: &mut Rng) {
    for i in (1..all.len()).rev() {
        all.swap(i, rng.below(i as u32 + 1) as usize);
    }
}

#[test]
fn a_name_that_no_backend_may_have_is_not_taken() {
    let long = "x".repeat(64);
    for name in ["", "a b", "a\nb", "é", "a/b", "a\"b", &long] {
        let slices = [slice("IPv4", &http(), &json!([pod(name, "10.0.0.1", &ready())]))];
        assert_eq!(gist(&slices), ["10.0.0.1-5000 10.0.0.1:5000"], "{name:?}");
    }
}
