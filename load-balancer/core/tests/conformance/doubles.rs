//! Known bugs of other balancers, and a few mutants, behind the same trait: the suite must fail every one of them, by
//! the property named beside it. A property that no double can fail would prove nothing, so each must catch one.
//!
//! The formulas are re-derived from public reports; none of their code is here.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lb_core::hash::hash64;
use lb_core::{Decision, Member, NoPick, Pick, Policy, Rng, Tick, View};

use crate::promises::{Affinity, Promises, Share};
use crate::world::Subject;

/// One double: what it pretends to be, and the properties that must see through it.
struct Double {
    name: &'static str,
    subject: Box<dyn Subject>,
    promises: Promises,
    caught_by: &'static [&'static str],
}

/// Members in flight per weight, as counting policies see them.
fn held(member: &Member) -> f32 {
    member.load.in_flight() as f32 / member.weight as f32
}

/// A rule over the usable members (never empty).
struct Rule<F>(F);

impl<F: Fn(&View, &[u32], &mut Pick<'_>) -> u32> Policy for Rule<F> {
    fn pick(&self, view: &View, pick: &mut Pick<'_>) -> Result<Decision, NoPick> {
        let usable: Vec<u32> = view.eligible().iter().copied().filter(|&i| !pick.tried.contains(i)).collect();
        match (usable.is_empty(), view.members().is_empty(), view.eligible().is_empty()) {
            (false, ..) => Ok(Decision { member: (self.0)(view, &usable, pick) }),
            (_, true, _) => Err(NoPick::Empty),
            (_, _, true) => Err(NoPick::NoneEligible),
            _ => Err(NoPick::AllTried),
        }
    }
}

impl<F: Fn(&View, &[u32], &mut Pick<'_>) -> u32> Subject for Rule<F> {}

fn rule(rule: impl Fn(&View, &[u32], &mut Pick<'_>) -> u32 + 'static) -> Box<dyn Subject> {
    Box::new(Rule(rule))
}

fn any(of: &[u32], rng: &mut Rng) -> u32 {
    of[rng.below(of.len() as u32) as usize]
}

/// The usable member with the smallest cost; `ties` settles equals.
fn argmin(usable: &[u32], cost: impl Fn(u32) -> f64, ties: impl FnOnce(&[u32]) -> u32) -> u32 {
    let least = usable.iter().map(|&i| cost(i)).fold(f64::INFINITY, f64::min);
    let best: Vec<u32> = usable.iter().copied().filter(|&i| cost(i) <= least).collect();
    ties(&best)
}

/// Caddy before 2026-07 (caddy#7873): a reservoir of two whose slots are drawn from the start instead of being filled
/// first, so a later backend can throw the earlier ones out and stand alone: the last of two wins half of all picks.
fn caddy_reservoir(view: &View, usable: &[u32], pick: &mut Pick<'_>) -> u32 {
    let mut reservoir = [None; 2];
    for (n, &i) in usable.iter().enumerate() {
        if let Some(slot) = reservoir.get_mut(pick.rng.below(n as u32 + 1) as usize) {
            *slot = Some(i);
        }
    }
    let kept: Vec<u32> = reservoir.into_iter().flatten().collect();
    argmin(&kept, |i| f64::from(held(&view.members()[i as usize])), |best| any(best, pick.rng))
}

/// HAProxy `random(2)`, Envoy LEAST_REQUEST: the second draw may be the first.
fn two_with_replacement(view: &View, usable: &[u32], pick: &mut Pick<'_>) -> u32 {
    let (a, b) = (any(usable, pick.rng), any(usable, pick.rng));
    if held(&view.members()[b as usize]) < held(&view.members()[a as usize]) { b } else { a }
}

/// sozu (sozu#1437): a fold that means to keep the two least loaded, loses the second, and flips a coin: of loads
/// 1, 2, 3 it keeps 3 and 1.
fn sozu_fold(loads: &[f32]) -> (usize, usize) {
    let (mut first, mut second) = (0, 0);
    for at in 1..loads.len() {
        if second == 0 && first == 0 {
            (first, second) = if loads[0] <= loads[at] { (0, at) } else { (at, 0) };
        } else if loads[first] <= loads[at] && loads[at] < loads[second] {
            second = at;
        } else {
            (first, second) = (at, first);
        }
    }
    (first, second)
}

fn sozu(view: &View, usable: &[u32], pick: &mut Pick<'_>) -> u32 {
    let loads: Vec<f32> = usable.iter().map(|&i| held(&view.members()[i as usize])).collect();
    let (first, second) = sozu_fold(&loads);
    usable[if pick.rng.below(2) == 0 { first } else { second }]
}

/// HAProxy `leastconn` (haproxy#3223): weights count only once something is in flight.
fn weightless_when_idle(view: &View, usable: &[u32], pick: &mut Pick<'_>) -> u32 {
    argmin(usable, |i| f64::from(held(&view.members()[i as usize])), |best| any(best, pick.rng))
}

/// YARP `LeastRequests`: the first of the least loaded.
fn lowest_index(view: &View, usable: &[u32], _: &mut Pick<'_>) -> u32 {
    argmin(usable, |i| f64::from(held(&view.members()[i as usize])), |best| best[0])
}

/// A rule over samples that it keeps itself, by backend name.
struct Sampling<S> {
    known: RefCell<BTreeMap<u64, S>>,
    add: fn(&mut S, Tick, f64),
    cost: fn(Option<&S>, &Member, Tick) -> f64,
    /// Compare two distinct draws; all members otherwise.
    two: bool,
    now: Cell<Tick>,
}

impl<S: Default> Sampling<S> {
    fn boxed(add: fn(&mut S, Tick, f64), cost: fn(Option<&S>, &Member, Tick) -> f64, two: bool) -> Box<Self> {
        Box::new(Sampling { known: RefCell::default(), add, cost, two, now: Cell::default() })
    }
}

impl<S> Policy for Sampling<S> {
    fn pick(&self, view: &View, pick: &mut Pick<'_>) -> Result<Decision, NoPick> {
        let known = self.known.borrow();
        Rule(|view: &View, usable: &[u32], pick: &mut Pick<'_>| {
            let cost = |i: u32| {
                let member = &view.members()[i as usize];
                (self.cost)(known.get(&member.name_hash), member, self.now.get())
            };
            let mut by_weight = |best: &[u32]| {
                let weight = |i: u32| view.members()[i as usize].weight;
                let mut left = pick.rng.below(best.iter().map(|&i| weight(i)).sum());
                let turn = |&&i: &&u32| left.checked_sub(weight(i)).map(|rest| left = rest).is_none();
                best.iter().find(turn).copied().unwrap_or(best[0])
            };
            if self.two && usable.len() > 2 {
                let a = by_weight(usable);
                let others: Vec<u32> = usable.iter().copied().filter(|&i| i != a).collect();
                let b = any(&others, pick.rng);
                return if cost(b) < cost(a) { b } else { a };
            }
            argmin(usable, cost, by_weight)
        })
        .pick(view, pick)
    }
}

impl<S: Default> Subject for Sampling<S> {
    fn reset(&self) {
        self.known.borrow_mut().clear();
    }
    fn sampled(&self, now: Tick, name: u64, micros: f64) {
        self.now.set(now);
        (self.add)(self.known.borrow_mut().entry(name).or_default(), now, micros);
    }
}

/// Traefik `leasttime` (traefik#12306): the mean of the last 100 first bytes in whole milliseconds, never aged, errors
/// included; unknown is zero, and zero times anything in flight is still zero.
fn traefik() -> Box<dyn Subject> {
    let add = |samples: &mut VecDeque<u64>, _: Tick, micros: f64| {
        samples.push_back(micros as u64 / 1_000);
        if samples.len() > 100 {
            samples.pop_front();
        }
    };
    let cost = |samples: Option<&VecDeque<u64>>, m: &Member, _: Tick| {
        let mean = samples.map_or(0.0, |s| s.iter().sum::<u64>() as f64 / s.len() as f64);
        mean * f64::from(1 + m.load.in_flight()) / f64::from(m.weight)
    };
    Sampling::boxed(add, cost, false)
}

/// A moving average that decays towards zero on every read (τ 10 s), with its newest sample.
#[derive(Default)]
struct Decaying {
    mean: f64,
    at: Tick,
}

impl Decaying {
    fn read(&self, now: Tick) -> f64 {
        self.mean * (-now.since(self.at).as_secs_f64() / 10.0).exp()
    }
}

/// Kong `latency` (kong#14961): meant to compare two, looks at all, and sees no requests in flight: everyone runs to the
/// one with the best average.
fn kong() -> Box<dyn Subject> {
    let add = |average: &mut Decaying, now: Tick, micros: f64| {
        let keep = (-now.since(average.at).as_secs_f64() / 10.0).exp();
        (average.mean, average.at) = (average.mean * keep + micros * (1.0 - keep), now);
    };
    let cost = |average: Option<&Decaying>, m: &Member, _: Tick| {
        average.map_or(0.0, |a| a.mean) / f64::from(m.weight)
    };
    Sampling::boxed(add, cost, false)
}

/// Peak EWMA over two choices in which an error is a sample like any other.
fn unpriced_peak_ewma() -> Box<dyn Subject> {
    let add = |average: &mut Decaying, now: Tick, micros: f64| {
        let keep = (-now.since(average.at).as_secs_f64() / 10.0).exp();
        let mean = average.mean * keep + micros * (1.0 - keep);
        (average.mean, average.at) = (if micros > average.mean { micros } else { mean }, now);
    };
    let cost = |average: Option<&Decaying>, m: &Member, now: Tick| {
        average.map_or(30_000.0, |a| a.read(now)) * f64::from(1 + m.load.in_flight()) / f64::from(m.weight)
    };
    Sampling::boxed(add, cost, true)
}

/// Draws by weight, with something it never resets.
struct Unseeded(Cell<u64>);

impl Policy for Unseeded {
    fn pick(&self, view: &View, pick: &mut Pick<'_>) -> Result<Decision, NoPick> {
        self.0.set(self.0.get() + 1);
        let mut rng = Rng::seeded(self.0.get());
        lb_core::Algorithm::Random.pick(view, &mut Pick { rng: &mut rng, ..*pick })
    }
}

impl Subject for Unseeded {}

/// Draws by weight, whoever was tried, and knows one excuse.
struct Careless;

impl Policy for Careless {
    fn pick(&self, view: &View, pick: &mut Pick<'_>) -> Result<Decision, NoPick> {
        view.draw(&lb_core::Tried::default(), pick.rng).map(|member| Decision { member }).ok_or(NoPick::Empty)
    }
}

impl Subject for Careless {}

fn doubles() -> Vec<Double> {
    let counting =
        Promises { share: Share::ByWeight, affinity: Affinity::None, load_aware: true, latency_aware: false };
    let timing = Promises { latency_aware: true, ..counting };
    let blind = Promises { load_aware: false, ..counting };
    let keyed = Promises { share: Share::OnRing, affinity: Affinity::Key, ..blind };
    let double = |name, subject, promises, caught_by| Double { name, subject, promises, caught_by };
    vec![
        double("caddy random_choose 2", rule(caddy_reservoir), counting, &["order decides nothing"]),
        double("haproxy random(2)", rule(two_with_replacement), counting, &["starves the hung"]),
        double("sozu power of two", rule(sozu), counting, &["starves the hung"]),
        double("haproxy leastconn", rule(weightless_when_idle), counting, &["idle shares"]),
        double(
            "yarp least requests",
            rule(lowest_index),
            counting,
            &["idle shares", "order decides nothing"],
        ),
        double(
            "traefik leasttime",
            traefik(),
            timing,
            &[
                "failing fast does not pay",
                "unknown is not best",
                "forgives a stall",
                "sees fractions of a millisecond",
            ],
        ),
        double("kong latency", kong(), timing, &["idle shares with scatter", "unknown is not best"]),
        double("peak ewma, errors unpriced", unpriced_peak_ewma(), timing, &["failing fast does not pay"]),
        double(
            "mutant: weights ignored",
            rule(|_, usable, pick| any(usable, pick.rng)),
            blind,
            &["starts slowly", "idle shares", "busy shares", "large pools"],
        ),
        double(
            "mutant: key modulo pool size",
            rule(|_, usable, pick| usable[(hash64(pick.key) % usable.len() as u64) as usize]),
            keyed,
            &["moves few keys"],
        ),
        double("mutant: tries the tried", Box::new(Careless), blind, &["excludes", "says why not"]),
        double("mutant: its own randomness", Box::new(Unseeded(Cell::new(0))), blind, &["replays"]),
    ]
}

#[test]
fn the_suite_catches_every_double() {
    let mut unproven: BTreeSet<&str> = crate::SUITE.iter().map(|&(name, _)| name).collect();
    for Double { name, subject, promises, caught_by } in doubles() {
        println!("{name}:");
        for caught_by in caught_by {
            let (_, property) = crate::SUITE.iter().find(|(name, _)| name == caught_by).expect("a property");
            match property(&*subject, promises) {
                Ok(()) => panic!("{name} passed “{caught_by}”"),
                Err(why) => println!("    {caught_by}: {why}"),
            }
            unproven.remove(caught_by);
        }
    }
    assert!(unproven.is_empty(), "properties that no double fails: {unproven:?}");
}

#[test]
fn the_fold_loses_what_the_report_says_it_loses() {
    let (first, second) = sozu_fold(&[1.0, 2.0, 3.0]);
    assert_eq!((first, second), (2, 0), "of loads 1, 2, 3 it keeps 3 and 1");
}
