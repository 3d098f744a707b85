//! Nanoseconds a pick, by policy and pool size: `cargo bench -p lb-core`, with names and numbers after `--` for some of
//! the policies and sizes, and with `-- --check` to hold them to the bars.
//!
//! One thread, warm caches, and the least of many repeats: other work on the machine can only add time. Columns:
//! a pool with nothing in flight (every candidate ties), one with a quarter idle, one with one in sixteen idle, a busy one,
//! a second try in the second of these pools, and the busy one with the counting of the request in and out. That a pick does not allocate is not measured here, since counting allocations needs an
//! allocator of one's own, which is unsafe code; it holds by inspection: no policy owns or returns anything on the heap.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use lb_core::hash::hash64;
use lb_core::ring::DEFAULT_POINTS;
use lb_core::view::Hashing;
use lb_core::{Algorithm, Load, Member, Outcome, Pick, Policy, PoolLoad, Rng, Tick, Tried, View};

/// Pool sizes.
const SIZES: [usize; 6] = [2, 6, 20, 128, 1_000, 10_000];
/// Picks timed at once: long against the clock's resolution, short against the scheduler's slice.
const BATCH: usize = 4_096;
/// Batches, of which the quickest counts.
const REPEATS: usize = 60;
/// Keys in rotation.
const KEYS: usize = 1_024;

/// Most nanoseconds a pick may take: half a percent of a proxied request (10 µs) for a constant-time policy, one to three for
/// one that looks at a whole pool.
fn bar(algorithm: Algorithm, size: usize) -> f64 {
    use Algorithm::{Adaptive, LeastConnections, LeastResponseTime, MinEta};
    match (algorithm, size) {
        (Adaptive | LeastConnections | LeastResponseTime | MinEta, ..=128) => 120.0,
        (Adaptive | LeastConnections | LeastResponseTime | MinEta, _) => 300.0,
        _ => 50.0,
    }
}

/// A pool whose members hold `least..=most` requests each.
fn pool(size: usize, least: u32, most: u32) -> View {
    let (pool, mut rng) = (Arc::new(PoolLoad::default()), Rng::seeded(1));
    let member = |i: usize| Member {
        name_hash: hash64(format!("backend{i}").as_bytes()),
        ordinal: i as u32 + 1,
        weight: 1,
        warmth: 1.0,
        region: 0,
        eligible: true,
        load: Arc::new(Load::new()),
    };
    let members: Vec<Member> = (0..size).map(member).collect();
    for m in &members {
        let done = m.load.begin(Tick::ZERO, &pool);
        m.load.observe(Tick::from_millis(8 + u64::from(rng.below(4))), &done, Outcome::Success, &pool);
        m.load.complete(Tick::from_millis(12), &done);
        m.load.end(done, &pool);
        (0..least + rng.below(most - least + 1)).for_each(|_| {
            let _ = m.load.begin(Tick::from_millis(12), &pool);
        });
    }
    let ring = View::ring_of(&members, DEFAULT_POINTS);
    let view = View::new(members, pool, ring, Hashing::Ring { bound: Some(1.25) });
    view.refresh(Tick::from_millis(20), &mut Vec::new());
    view
}

/// Least and median nanoseconds a call of `work`.
fn time(mut work: impl FnMut(usize)) -> (f64, f64) {
    let mut batch = || {
        #[allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
        let start = Instant::now();
        (0..BATCH).for_each(&mut work);
        start.elapsed().as_nanos() as f64 / BATCH as f64
    };
    let mut took: Vec<f64> = (0..REPEATS).map(|_| batch()).collect();
    took.sort_unstable_by(f64::total_cmp);
    (took[0], took[REPEATS / 2])
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let check = args.iter().any(|arg| arg == "--check");
    let (sizes, names): (Vec<&String>, Vec<&String>) =
        args.iter().filter(|arg| !arg.starts_with("--")).partition(|arg| arg.parse::<usize>().is_ok());
    let wanted = |a: &Algorithm| names.is_empty() || names.iter().any(|&name| name == a.name());
    let sizes: Vec<usize> = if sizes.is_empty() {
        SIZES.into()
    } else {
        sizes.iter().filter_map(|size| size.parse().ok()).collect()
    };
    let keys: Vec<String> =
        (0..KEYS as u64).map(|n| (hash64(&n.to_le_bytes()) % 100_000).to_string()).collect();
    let mut missed = 0;
    println!(
        "{:<21} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>10} {:>5}",
        "ns", "members", "idle", "1/4", "1/16", "busy", "retry", "(median)", "+begin+end", "bar"
    );
    let pools: Vec<[View; 4]> = sizes
        .iter()
        .map(|&size| [pool(size, 0, 0), pool(size, 0, 3), pool(size, 0, 15), pool(size, 1, 4)])
        .collect();
    for algorithm in Algorithm::ALL.into_iter().filter(wanted) {
        for (&size, pools) in sizes.iter().zip(&pools) {
            let [_, quarter, _, busy] = pools;
            let mut rng = Rng::seeded(2);
            let mut pick = |view: &View, tried: &Tried, n: usize| {
                let client = IpAddr::V4(Ipv4Addr::from_bits(n as u32));
                let key = keys[n % KEYS].as_bytes();
                let mut pick = Pick { client, region: None, key, tried, rng: &mut rng };
                algorithm.pick(black_box(view), &mut pick)
            };
            let (none, mut one) = (Tried::default(), Tried::default());
            one.insert(size as u32 / 2);
            let cases = pools.iter().map(|view| (view, &none)).chain([(quarter, &one)]);
            let took: Vec<(f64, f64)> = cases
                .map(|(view, tried)| {
                    time(|n| {
                        let _ = black_box(pick(view, tried, n));
                    })
                })
                .collect();
            let (counted, _) = time(|n| {
                if let Ok(decision) = pick(busy, &none, n) {
                    let load = &busy.members()[decision.member as usize].load;
                    load.end(load.begin(Tick::from_millis(20), busy.pool()), busy.pool());
                }
            });
            let bar = bar(algorithm, size);
            let late = took.iter().any(|&(least, _)| least > bar);
            missed += usize::from(late);
            print!("{:<21} {size:>7}", algorithm.name());
            took.iter().for_each(|(least, _)| print!(" {least:>7.1}"));
            let median = took[3].1;
            println!(" {median:>8.1} {counted:>10.1} {bar:>5.0}{}", if late { "  missed" } else { "" });
        }
    }
    println!(
        "{missed} of {} over their bar",
        sizes.len() * Algorithm::ALL.into_iter().filter(wanted).count()
    );
    ExitCode::from(u8::from(check && missed > 0))
}
