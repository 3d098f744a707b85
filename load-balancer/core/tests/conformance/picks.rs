//! Properties of single picks, without a world: exclusion, reasons, keys.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lb_core::{Cause, Load, Member, NoPick, Outcome, Pick, PoolLoad, Rng, Tick, Ticket, Tried, View};

use crate::promises::{Affinity, Promises};
use crate::world::{Subject, member, view};

/// Keys asked about where keys move.
const KEYS: u32 = 10_000;

/// Picks for request number `n`: its client and its key both follow from it.
fn ask(subject: &dyn Subject, view: &View, n: u32, tried: &Tried, rng: &mut Rng) -> Result<u32, NoPick> {
    let client = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n));
    let key = n.to_string();
    let mut pick = Pick { client, region: None, key: key.as_bytes(), tried, rng };
    subject.pick(view, &mut pick).map(|d| d.member)
}

/// A pool in the middle of its life: random size, weights, eligibility, load and failures.
fn random_pool(rng: &mut Rng) -> (View, Vec<(u32, Ticket)>) {
    let count = if rng.below(12) == 0 { 129 + rng.below(40) } else { rng.below(9) };
    let pool = Arc::new(PoolLoad::default());
    let may_be_eligible = rng.below(4);
    let mut members: Vec<Member> = (0..count as usize)
        .map(|i| member(i, 1 + rng.below(9) * rng.below(9), &Arc::new(Load::new())))
        .collect();
    let mut tickets = Vec::new();
    for (i, m) in members.iter_mut().enumerate() {
        m.eligible = rng.below(4) < may_be_eligible;
        for _ in 0..rng.below(4) {
            let ticket = m.load.begin(Tick::from_millis(1), &pool);
            match rng.below(3) {
                0 => m.load.observe(Tick::from_millis(9), &ticket, Outcome::Failure(Cause::Status), &pool),
                1 => m.load.observe(Tick::from_millis(9), &ticket, Outcome::Success, &pool),
                _ => {}
            }
            tickets.push((i as u32, ticket));
        }
    }
    let view = view(members, &pool);
    view.refresh(Tick::from_millis(20), &mut Vec::new());
    (view, tickets)
}

/// No pick is ever ineligible or tried, and where a usable member exists one is picked.
pub(crate) fn excludes(subject: &dyn Subject, _: Promises) -> Result<(), String> {
    let mut rng = Rng::seeded(21);
    for round in 0..300 {
        subject.reset();
        let (view, _) = random_pool(&mut rng);
        let count = view.members().len() as u32;
        for n in 0..20 {
            let mut tried = Tried::default();
            (0..rng.below(5)).for_each(|_| tried.insert(rng.below(count.max(1))));
            let usable = (0..count).filter(|&i| view.usable(i, &tried)).count();
            match ask(subject, &view, n, &tried, &mut rng) {
                Ok(i) if !view.usable(i, &tried) => {
                    return Err(format!("round {round}: picked {i}, tried or not eligible"));
                }
                Err(why) if usable > 0 => {
                    return Err(format!("round {round}: {why}, but {usable} were usable"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Where nothing can be picked, the reason is the right one.
pub(crate) fn says_why_not(subject: &dyn Subject, _: Promises) -> Result<(), String> {
    let pool = Arc::new(PoolLoad::default());
    let members = |eligible: &[bool]| -> Vec<Member> {
        let one = |(i, &eligible)| Member { eligible, ..member(i, 1, &Arc::new(Load::new())) };
        eligible.iter().enumerate().map(one).collect()
    };
    let mut tried = Tried::default();
    tried.insert(1);
    let cases: [(&[bool], NoPick); 3] =
        [(&[], NoPick::Empty), (&[false, false], NoPick::NoneEligible), (&[false, true], NoPick::AllTried)];
    for (eligible, expected) in cases {
        let got = ask(subject, &view(members(eligible), &pool), 1, &tried, &mut Rng::seeded(1));
        if got != Err(expected) {
            return Err(format!("{got:?} where {expected:?} was due"));
        }
    }
    Ok(())
}

/// A backend that leaves moves only its own keys, one that comes takes about 1/N of all; one that is merely down moves
/// the same keys to the same places as one that left.
pub(crate) fn moves_few_keys(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    if promises.affinity == Affinity::None {
        return Ok(());
    }
    let pool = Arc::new(PoolLoad::default());
    let with = |servers: &[usize], down: Option<usize>| {
        let one = |&s: &usize| Member { eligible: Some(s) != down, ..member(s, 1, &Arc::new(Load::new())) };
        view(servers.iter().map(one).collect(), &pool)
    };
    let owners = |servers: &[usize], down| -> Vec<usize> {
        let (view, mut rng) = (with(servers, down), Rng::seeded(3));
        let owner = |n| {
            ask(subject, &view, n, &Tried::default(), &mut rng).map_or(usize::MAX, |i| servers[i as usize])
        };
        (0..KEYS).map(owner).collect()
    };
    let (six, five) = (owners(&[0, 1, 2, 3, 4, 5], None), owners(&[0, 1, 3, 4, 5], None));
    if let Some(n) = (0..six.len()).find(|&n| six[n] != five[n] && six[n] != 2) {
        return Err(format!("key {n} moved from {} to {}, though 2 left", six[n], five[n]));
    }
    let moved = six.iter().zip(&five).filter(|(a, b)| a != b).count() as f64 / f64::from(KEYS);
    if !(0.8 / 6.0..1.2 / 6.0).contains(&moved) {
        return Err(format!("{moved:.3} of the keys moved, 1/6 was due"));
    }
    if owners(&[0, 1, 2, 3, 4, 5], Some(2)) != five {
        return Err("a backend that is down spills elsewhere than one that left".into());
    }
    if owners(&[5, 3, 1, 0, 4, 2], None) != six {
        return Err("keys depend on the pool's order".into());
    }
    Ok(())
}

/// A backend in slow start gets its warmth's share of what it will get later; a key's backend is its backend at once.
pub(crate) fn starts_slowly(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    if promises.affinity != Affinity::None {
        return Ok(());
    }
    const WARMTH: f32 = 0.2;
    let pool = Arc::new(PoolLoad::default());
    let one = |s: usize| Member {
        warmth: if s == 2 { WARMTH } else { 1.0 },
        region: 0,
        ..member(s, 1, &Arc::new(Load::new()))
    };
    let (view, mut rng) = (view((0..4).map(one).collect(), &pool), Rng::seeded(8));
    let mut got = [0u32; 4];
    for n in 0..KEYS {
        let picked = ask(subject, &view, n, &Tried::default(), &mut rng).map_err(|why| why.to_string())?;
        got[picked as usize] += 1;
    }
    let share = f64::from(got[2]) / f64::from(KEYS);
    let due = f64::from(WARMTH / (3.0 + WARMTH));
    // Round robin gives away four of five turns, which is a share of all turns, not of the others' picks.
    if !(0.7 * due..1.3 * due).contains(&share) || got.contains(&0) {
        return Err(format!("{got:?}: {share:.3} to the one starting slowly, {due:.3} was due"));
    }
    // Alone it serves everybody.
    let alone = crate::world::view(vec![one(2)], &pool);
    ask(subject, &alone, 1, &Tried::default(), &mut rng).map(|_| ()).map_err(|why| format!("alone: {why}"))
}
