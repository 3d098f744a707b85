//! Discovery by DNS, from a server that answers as the test says: addresses come and go, times to live are kept, and what
//! cannot be found out takes nobody out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{RData, RecordType};

use super::support::{
    Clients, Lb, NameServer, Reply, backend_everywhere, configured, finish, hold, ip, ipv4, srv,
};

const NAME: &str = "backend.lab";

/// A balancer that asks `names`, with these settings over quick ones.
async fn asking(names: &NameServer, port: u16, more: &[(&str, &str)]) -> Lb {
    let (servers, port) = (format!("[\"{}\"]", names.address), port.to_string());
    let own = [
        ("discovery.source", "dns"),
        ("discovery.settle", "0"),
        ("discovery.dns.name", "backend.lab."),
        ("discovery.dns.port", &port),
        ("discovery.dns.servers", &servers),
        ("discovery.dns.min_ttl", "50ms"),
        ("discovery.dns.timeout", "300ms"),
    ];
    Lb::start(configured("", &[&own, more].concat())).await
}

fn named(port: u16, hosts: &[u8]) -> Vec<String> {
    hosts.iter().map(|host| format!("127.0.0.{host}-{port}")).collect()
}

async fn until(lb: &Lb, port: u16, hosts: &[u8]) {
    let expected = named(port, hosts);
    lb.until_members(&format!("{expected:?}"), |names| names == expected).await;
}

#[tokio::test]
async fn addresses_come_and_go_and_no_request_fails() {
    let (backend, names) = (backend_everywhere().await, NameServer::start().await);
    let port = backend.address().port();
    names.set_ipv4(NAME, &["127.0.0.3", "127.0.0.1"], 0);
    let more = [("health.enabled", "true"), ("workers", "2"), ("timeouts.drain", "20s")];
    let lb = asking(&names, port, &more).await;
    assert_eq!(lb.members().await, named(port, &[1, 3]), "in the order of their names");
    // The third has something to end, so it drains as long as that.
    let mut held = Vec::new();
    loop {
        let (wire, name) = hold(&lb).await;
        held.push(wire);
        if name == named(port, &[3])[0] {
            break;
        }
    }
    let clients = Clients::start(lb.traffic);
    clients.go_on().await;
    names.set_ipv4(NAME, &["127.0.0.1", "127.0.0.2", "127.0.0.3"], 0);
    until(&lb, port, &[1, 3, 2]).await;
    clients.go_on().await;
    // All at once others: those who go are held until these have passed a check.
    names.set_ipv4(NAME, &["127.0.0.4", "127.0.0.5"], 0);
    until(&lb, port, &[4, 5]).await;
    clients.go_on().await;
    // Back while it still drains: the same member.
    names.set_ipv4(NAME, &["127.0.0.5", "127.0.0.3"], 0);
    let of = |names: &[String], hosts: &[u8]| {
        let mut names = names.to_vec();
        names.sort();
        names == named(port, hosts)
    };
    lb.until_members("3 and 5", |names| of(names, &[3, 5])).await;
    clients.go_on().await;
    let done = clients.stop().await + held.len();
    for wire in held {
        assert_eq!(finish(wire).await.status(), 200);
    }
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.requests()), (done as f64, done as f64));
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0);
    let joined = [("source", "dns"), ("event", "joined")];
    assert_eq!(scrape.sum("lb_discovery_events_total", &joined), 5.0, "3 was recalled, not joined anew");
    assert_eq!(scrape.sum("lb_discovery_up", &[("source", "dns")]), 1.0);
}

#[tokio::test]
async fn what_cannot_be_found_out_takes_nobody_out() {
    let (backend, names) = (backend_everywhere().await, NameServer::start().await);
    let port = backend.address().port();
    names.set_ipv4(NAME, &["127.0.0.1", "127.0.0.2"], 0);
    let hold = ("discovery.dns.hold", "5s");
    let lb = asking(&names, port, &[hold]).await;
    let troubles = [
        (Reply::Code(ResponseCode::ServFail), "Server Failure"),
        (Reply::Code(ResponseCode::Refused), "Refused"),
        (Reply::Silence, "no answer in time"),
        // Within `hold`.
        (Reply::Code(ResponseCode::NXDomain), "does not exist"),
        (Reply::Code(ResponseCode::NoError), "has none"),
    ];
    for (n, (reply, text)) in (1..).zip(troubles) {
        for record in [RecordType::A, RecordType::AAAA] {
            names.set(NAME, record, reply.clone());
        }
        let scrape = lb.until(text, |s| s.sum("lb_discovery_up", &[]) == 0.0).await;
        assert!(scrape.sum("lb_discovery_errors_total", &[("source", "dns")]) >= f64::from(n));
        assert_eq!(lb.members().await, named(port, &[1, 2]));
        assert_eq!(lb.get("/home").await.status(), 200);
        let ready = lb.admin("/ready").await;
        assert_eq!(ready.status(), 200, "there are backends");
        assert!(ready.text().contains(text), "{text:?} in {:?}", ready.text());
        names.set_ipv4(NAME, &["127.0.0.1", "127.0.0.2"], 0);
        let scrape = lb.until("it works again", |s| s.sum("lb_discovery_up", &[]) == 1.0).await;
        let told = (scrape.facts("discovery_lost"), scrape.facts("discovery_back"));
        assert_eq!(told, (f64::from(n), f64::from(n)), "once each: {text}");
    }
    assert_eq!(lb.scrape().await.facts("draining"), 0.0);
}

#[tokio::test]
async fn a_name_that_loses_its_records_for_good_empties_the_pool() {
    let (backend, names) = (backend_everywhere().await, NameServer::start().await);
    let port = backend.address().port();
    names.set_ipv4(NAME, &["127.0.0.1"], 0);
    let lb = asking(&names, port, &[("discovery.dns.hold", "300ms")]).await;
    names.set(NAME, RecordType::A, Reply::Code(ResponseCode::NXDomain));
    lb.until_members("nobody", <[String]>::is_empty).await;
    assert_eq!(lb.get("/home").await.status(), 503);
    names.set_ipv4(NAME, &["127.0.0.1"], 0);
    until(&lb, port, &[1]).await;
    assert_eq!(lb.get("/home").await.status(), 200);
}

#[tokio::test]
async fn a_name_is_asked_for_as_often_as_its_records_want() {
    let names = NameServer::start().await;
    names.set_ipv4(NAME, &["127.0.0.1"], 1);
    let _lb = asking(&names, 1, &[]).await;
    let timer = tokio::time::sleep(Duration::from_millis(950));
    tokio::pin!(timer);
    tokio::select! {
        () = names.until_asked(NAME, RecordType::A, 1) => panic!("asked again before the second was over"),
        () = &mut timer => {}
    }
    names.until_asked(NAME, RecordType::A, 1).await;
    // An hour, but no more than the configuration says.
    let bounded = NameServer::start().await;
    bounded.set_ipv4(NAME, &["127.0.0.1"], 3_600);
    let _lb = asking(&bounded, 1, &[("discovery.dns.max_ttl", "100ms")]).await;
    bounded.until_asked(NAME, RecordType::A, 3).await;
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_asked_for_over_tcp() {
    let names = NameServer::start().await;
    let hosts: Vec<RData> = (1..=120).map(|n| ip(IpAddr::V4(Ipv4Addr::new(127, 0, 1, n)))).collect();
    names.set(NAME, RecordType::A, Reply::Large(hosts, 60));
    let lb = asking(&names, 9, &[]).await;
    assert_eq!(lb.members().await.len(), 120);
    let [udp, tcp] = names.asked(NAME, RecordType::A);
    assert!(udp >= 1 && tcp >= 1, "{udp} over UDP, {tcp} over TCP");
}

#[tokio::test]
async fn a_host_of_both_families_counts_once_unless_told_otherwise() {
    let names = NameServer::start().await;
    let v6 = || Reply::Records(vec![ip("::1".parse().unwrap())], 60);
    names.set(NAME, RecordType::AAAA, v6());
    names.set_ipv4(NAME, &["127.0.0.1"], 60);
    let cases: [(&str, &[&str]); 4] = [
        ("auto", &["127.0.0.1-9"]),
        ("ipv4", &["127.0.0.1-9"]),
        ("ipv6", &["--1-9"]),
        ("both", &["--1-9", "127.0.0.1-9"]),
    ];
    for (family, expected) in cases {
        let lb = asking(&names, 9, &[("discovery.dns.family", family)]).await;
        assert_eq!(lb.members().await, expected, "{family}");
    }
    names.set(NAME, RecordType::A, Reply::Code(ResponseCode::NoError));
    let lb = asking(&names, 9, &[]).await;
    assert_eq!(lb.members().await, ["--1-9"], "IPv6 where there is nothing else");
    // Half an answer is none.
    names.set(NAME, RecordType::A, Reply::Code(ResponseCode::ServFail));
    let both = [("discovery.dns.family", "both"), ("discovery.dns.timeout", "100ms")];
    let lb = asking(&names, 9, &both).await;
    assert!(lb.members().await.is_empty());
    let ready = lb.admin("/ready").await;
    assert_eq!(ready.status(), 503);
    assert!(ready.text().contains("discovery by dns fails: backend.lab. (A)"), "{}", ready.text());
    names.set_ipv4(NAME, &["127.0.0.1"], 60);
    lb.until_members("both", |names| names == ["--1-9", "127.0.0.1-9"]).await;
}

#[tokio::test]
async fn services_name_ports_weights_and_the_best_priority() {
    let (one, two, names) =
        (backend_everywhere().await, backend_everywhere().await, NameServer::start().await);
    let (first, second) = (one.address().port(), two.address().port());
    let service = |records: Vec<RData>| names.set(NAME, RecordType::SRV, Reply::Records(records, 0));
    for (target, host) in [("a.lab", "127.0.0.1"), ("b.lab", "127.0.0.2"), ("spare.lab", "127.0.0.3")] {
        names.set_ipv4(target, &[host], 60);
    }
    let spare = || srv(20, 1, first, "spare.lab.");
    service(vec![srv(10, 30, first, "a.lab."), srv(10, 10, second, "b.lab."), spare()]);
    let more = [("discovery.dns.record", "srv"), ("pool.algorithm", "weighted_round_robin")];
    let lb = asking(&names, 9, &more).await;
    let (a, b) = (format!("127.0.0.1-{first}"), format!("127.0.0.2-{second}"));
    assert_eq!(lb.members().await, [a.clone(), b.clone()]);
    for _ in 0..40 {
        assert_eq!(lb.get("/home").await.status(), 200);
    }
    let scrape = lb.scrape().await;
    let shares = [&a, &b].map(|name| scrape.of_backend("lb_decisions_total", name));
    assert_eq!(shares, [30.0, 10.0]);
    // One of no priority is worth more than all others; a target without address is left out.
    names.set("b.lab", RecordType::A, Reply::Code(ResponseCode::NXDomain));
    lb.until_members("a alone", |names| names == [a.clone()]).await;
    service(vec![spare()]);
    lb.until_members("the spare", |names| names == [format!("127.0.0.3-{first}")]).await;
    assert_eq!(lb.get("/home").await.status(), 200);
}

/// The process does not wait for ever, and says what it waits for.
#[tokio::test]
async fn a_name_that_does_not_exist_yet_is_waited_for_and_named() {
    let (backend, names) = (backend_everywhere().await, NameServer::start().await);
    let port = backend.address().port();
    names.set(NAME, RecordType::A, Reply::Records(ipv4(&[]), 0));
    let lb = asking(&names, port, &[("discovery.dns.hold", "0")]).await;
    let ready = lb.admin("/ready").await;
    assert_eq!(ready.status(), 503);
    assert!(ready.text().starts_with("no eligible backend; discovery by dns fails: "), "{}", ready.text());
    assert_eq!(lb.get("/home").await.status(), 503);
    names.set_ipv4(NAME, &["127.0.0.1"], 0);
    until(&lb, port, &[1]).await;
    assert_eq!(lb.admin("/ready").await.text(), "ready: 1 eligible backends\n");
}
