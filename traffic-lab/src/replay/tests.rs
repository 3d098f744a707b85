//! Replays as a whole, over runs made here: nothing is lost, order stays, the same command gives the same bytes.

use lb_core::Rng;

use super::*;
use crate::results::{Loop, Record, Sending, Summary, VERSION};

/// Seconds of a request's work.
const WORK: f64 = 0.010;

/// A run over three backends of one slot each, in turn: `load` of them taken, with a record in ten that failed if `bad`.
fn made(requests: usize, load: f64, bad: bool) -> Run {
    let mut rng = Rng::seeded(42);
    let (mut now, mut free) = (1_700_000_000.0, [0.0f64; 3]);
    let record = |number: usize| {
        now += -(1.0 - rng.unit()).ln() * WORK / (3.0 * load);
        let (at, took) = (number % 3, -(1.0 - rng.unit()).ln() * WORK);
        let failed = bad && number % 10 == 9;
        if !failed {
            free[at] = free[at].max(now) + took;
        }
        Record {
            instance: (!failed).then(|| format!("b{at}")),
            req_due_time: Some(now - 0.001),
            req_snd_time: now,
            resp_rcv_time: if failed { now } else { free[at] },
            status: (!failed).then_some(200),
            error: failed.then(|| "refused".to_owned()),
            key: Some(format!("user-{}", number % 50)),
            ..Record::default()
        }
    };
    let records: Vec<Record> = (0..requests).map(record).collect();
    Run {
        version: VERSION,
        id: "made".to_owned(),
        title: None,
        target: "http://127.0.0.1:1/".to_owned(),
        started: 1_700_000_000.0,
        sending: Sending {
            kind: Loop::OpenPoisson,
            algorithm: Some("round_robin".to_owned()),
            ..Sending::default()
        },
        clock: None,
        summary: Summary::of(&records),
        records,
    }
}

fn replayed(run: &Run, algorithms: &[&'static str], seed: u64) -> (Pool, Vec<Run>) {
    let policies: Vec<_> = algorithms.iter().map(|name| policy(name, false).unwrap()).collect();
    predict(run, &Said::default(), &policies, seed).unwrap()
}

/// The model's own world: the same algorithm is predicted as it was, request by request, and one that looks is better.
#[test]
fn the_same_algorithm_gives_what_was_measured() {
    let run = made(6_000, 0.8, false);
    let (pool, predicted) = replayed(&run, &["round_robin", "least_connections"], 1);
    assert!(
        pool.servers.iter().all(|server| server.slots == 1 && (server.speed - 1.0).abs() < 1e-9),
        "{pool:?}"
    );
    let (was, [same, better]) = (&run.summary.service_ms, &predicted[..]) else { panic!() };
    for (measured, predicted) in
        [(was.p50, same.summary.service_ms.p50), (was.p99, same.summary.service_ms.p99)]
    {
        assert!((predicted / measured - 1.0).abs() < 0.02, "{predicted} for {measured}");
    }
    assert_eq!(same.summary.instances, run.summary.instances);
    assert!(better.summary.service_ms.p99 < 0.8 * was.p99, "{:?} {was:?}", better.summary.service_ms);
}

#[test]
fn requests_are_conserved_in_their_order() {
    let run = made(2_000, 0.7, true);
    let names: Vec<&'static str> = play::names();
    let (pool, predicted) = replayed(&run, &names, 3);
    let traffic = Traffic::of(&run, &pool);
    assert!(traffic.arrivals.is_sorted_by_key(|arrival| arrival.at));
    assert_eq!((traffic.arrivals.len(), traffic.arrivals[0].at), (run.records.len(), 0));
    for (name, prediction) in names.iter().zip(&predicted) {
        assert_eq!(prediction.records.len(), run.records.len(), "{name}");
        for (was, is) in run.records.iter().zip(&prediction.records) {
            assert_eq!(
                (was.req_snd_time, was.req_due_time, &was.key),
                (is.req_snd_time, is.req_due_time, &is.key)
            );
            assert!(is.good() && is.instance.is_some() && is.service() > 0.0, "{name}: {is:?}");
        }
        let counted: u64 = prediction.summary.instances.values().sum();
        assert_eq!((counted, prediction.summary.failed), (2_000, 0), "{name}");
    }
}

/// Same run, algorithm and seed: the same files to the last byte; another seed draws otherwise.
#[test]
fn the_same_command_writes_the_same_bytes() {
    let run = made(1_500, 0.7, true);
    let root = std::env::temp_dir().join(format!("traffic-lab-replay-{}", std::process::id()));
    let written = |name: &str, seed: u64| {
        let directory = root.join(name);
        let (pool, predicted) = replayed(&run, &["power_of_two", "consistent_hash", "prequal-84"], seed);
        let text = table::text(&run, &pool, &predicted, false);
        write(&directory, &run, &predicted, &text).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    let (first, again, other) = (written("a", 1), written("b", 1), written("c", 2));
    assert_eq!(first.len(), 5);
    assert!(first == again && first != other);
    std::fs::remove_dir_all(&root).unwrap();
}

/// A key goes where the balancer's own ring sends it, and stays there.
#[test]
fn keys_choose() {
    let run = made(1_500, 0.01, false);
    let (_, predicted) = replayed(&run, &["consistent_hash"], 1);
    let at = |user: usize| {
        let of =
            predicted[0].records.iter().filter(|r| r.key.as_deref() == Some(format!("user-{user}").as_str()));
        let places: std::collections::BTreeMap<_, usize> =
            of.fold(Default::default(), |mut places, record| {
                *places.entry(record.instance.clone()).or_default() += 1;
                places
            });
        places
    };
    // Bounded loads move a request on while its own backend has another one; that is seldom at this load.
    let home = |user| at(user).into_iter().max_by_key(|(_, count)| *count).unwrap();
    assert!((0..50).all(|user| home(user).1 >= 24), "{:?}", at(0));
    assert!((0..50).map(|user| home(user).0).collect::<std::collections::BTreeSet<_>>().len() == 3);
}

/// What a file says is taken: who there was, and what each can do; regions for all or for none.
#[test]
fn the_pool_can_be_given() {
    let mut run = made(1_000, 0.5, false);
    run.records.iter_mut().for_each(|record| record.instance = None);
    run.summary = Summary::of(&run.records);
    let path = std::env::temp_dir().join(format!("traffic-lab-pool-{}.toml", std::process::id()));
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        pool::read(&path)
    };
    let policies = [policy("weighted_round_robin", false).unwrap()];
    let text = "[[backend]]\nname = 'x'\nslots = 3\nweight = 3\n[[backend]]\nname = 'y'\nspeed = 0.5\n";
    let said = Said { backends: read(text).unwrap(), slots: Some(2) };
    let (pool, predicted) = predict(&run, &said, &policies, 1).unwrap();
    assert_eq!((pool.servers[0].slots, pool.servers[1].slots, pool.servers[1].speed), (3, 2, 0.5));
    let counts = &predicted[0].summary.instances;
    assert_eq!((counts["x"], counts["y"]), (750, 250));
    assert!(predicted[0].summary.service_ms.p50 > 1.0, "unnamed answers bring their own work");
    assert!(table::text(&run, &pool, &predicted, false).contains("1000 good answers do not say"));
    let half = Said { backends: read(&text.replace("slots = 3", "region = 'EU'")).unwrap(), slots: None };
    assert!(format!("{:#}", predict(&run, &half, &policies, 1).unwrap_err()).contains("`y`"));
    assert!(format!("{:#}", read(&text.replace('3', "0")).unwrap_err()).contains("`x`"));
    assert!(format!("{:#}", read("[[backend]]\nname = 'x'\nslot = 3\n").unwrap_err()).contains("slot"));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_cannot_be_replayed_says_why() {
    let says = |run: &Run, said: &Said| {
        let policies = [policy("random", false).unwrap()];
        format!("{:#}", predict(run, said, &policies, 1).unwrap_err())
    };
    let mut run = made(20, 0.5, false);
    assert!(
        format!("{:#}", policy("fastest", false).err().unwrap())
            .contains("round_robin, weighted_round_robin")
    );
    run.records.iter_mut().for_each(|record| record.instance = None);
    run.summary = Summary::of(&run.records);
    assert!(says(&run, &Said::default()).contains("--pool"));
    run.records.iter_mut().for_each(|record| record.status = Some(500));
    assert!(says(&run, &Said::default()).contains("no good answer"));
    run.records.clear();
    assert!(says(&run, &Said::default()).contains("no records"));
}
