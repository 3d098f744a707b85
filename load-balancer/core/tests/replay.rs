//! A record holds every reason: the pick it notes comes out again from the record alone, for every algorithm, in worlds
//! that go on changing meanwhile.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use lb_core::locality::{Region, Rules};
use lb_core::record::Parts;
use lb_core::view::Hashing;
use lb_core::{
    Algorithm, Load, Locality, Member, Outcome, Pick, Policy, PoolLoad, Record, Rng, Tick, Tried, View,
};

fn world(rng: &mut Rng, size: usize) -> View {
    let (pool, locality) = (Arc::new(PoolLoad::default()), Arc::new(Locality::new(3)));
    let member = |i: usize| Member {
        name_hash: lb_core::hash::hash64(format!("b{i}").as_bytes()),
        ordinal: i as u32 + 1,
        weight: 1 + rng.below(4),
        warmth: if rng.below(5) == 0 { 0.3 } else { 1.0 },
        region: rng.below(4) as u8,
        eligible: rng.below(10) > 0,
        load: Arc::new(Load::new()),
    };
    let members: Vec<Member> = (0..size).map(member).collect();
    let region = |eligible| Region { eligible, busy: Some(0.5), distance: 0.0 };
    locality.settle(&Rules { least: 2.0 }, 1.0, &[region(1), region(2), region(0)]);
    let ring = View::ring_of(&members, 64);
    View::new(members, pool, ring, Hashing::Ring { bound: Some(1.25) }).with_locality(Some(locality))
}

/// Something happens to a backend, as it does between a pick and whoever asks about it.
fn stir(view: &View, rng: &mut Rng, now: Tick, open: &mut Vec<(u32, lb_core::Ticket)>) {
    let member = rng.below(view.members().len() as u32);
    let load = &view.members()[member as usize].load;
    match rng.below(3) {
        0 => open.push((member, load.begin(now, view.pool()))),
        1 => load.rate(0.5 + rng.unit() as f32, 0.0),
        _ => {}
    }
    if open.len() > 2 * view.members().len() {
        let (member, ticket) = open.swap_remove(rng.below(open.len() as u32) as usize);
        let load = &view.members()[member as usize].load;
        let outcome =
            if rng.below(9) == 0 { Outcome::Failure(lb_core::Cause::Status) } else { Outcome::Success };
        load.observe(now, &ticket, outcome, view.pool());
        load.end(ticket, view.pool());
    }
}

#[test]
fn every_pick_comes_out_of_its_record_again() {
    let mut rng = Rng::seeded(2024);
    let mut records = 0;
    for size in [1, 2, 6, 20, 60, 200] {
        let view = world(&mut rng, size);
        let (mut open, mut kept, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..2_000u64 {
            let now = Tick::from_millis(step);
            if step % 20 == 0 {
                view.refresh(now, &mut scratch);
            }
            let algorithm = Algorithm::ALL[step as usize % Algorithm::ALL.len()];
            let mut tried = Tried::default();
            (0..rng.below(3)).for_each(|_| tried.insert(rng.below(size as u32)));
            let key = step.to_string();
            let client = IpAddr::V4(Ipv4Addr::from_bits(rng.below(u32::MAX)));
            let region = (rng.below(2) == 0).then_some(rng.below(5) as u8);
            let mut draws = rng.clone();
            let mut pick = Pick { client, region, key: key.as_bytes(), tried: &tried, rng: &mut draws };
            kept.push(Record::of(algorithm, &view, &mut pick, now));
            rng.next_u64();
            stir(&view, &mut rng, now, &mut open);
        }
        for record in &kept {
            assert_eq!(record.recompute(&view), record.picked, "{record:?}");
            let told = Record::from(Parts::from(record));
            assert_eq!(told.recompute(&view), record.picked, "{record:?}");
        }
        records += kept.len();
        open.into_iter().for_each(|(m, t)| view.members()[m as usize].load.end(t, view.pool()));
    }
    assert_eq!(records, 12_000);
}

/// Noting changes nothing: the same world and the same numbers give the same pick, and the note its terms.
#[test]
fn a_noted_pick_is_the_pick() {
    for seed in 0..300 {
        let view = world(&mut Rng::seeded(seed), 6);
        let tried = Tried::default();
        for algorithm in Algorithm::ALL {
            if matches!(algorithm, Algorithm::RoundRobin | Algorithm::WeightedRoundRobin) {
                continue; // A turn taken is gone.
            }
            let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let (mut a, mut b) = (Rng::seeded(seed), Rng::seeded(seed));
            let mut pick = Pick { client, region: Some(1), key: b"k", tried: &tried, rng: &mut a };
            let plain = algorithm.pick(&view, &mut pick);
            let mut pick = Pick { client, region: Some(1), key: b"k", tried: &tried, rng: &mut b };
            let record = Record::of(algorithm, &view, &mut pick, Tick::ZERO);
            assert_eq!((record.picked, a.next_u64()), (plain, b.next_u64()), "{algorithm}");
            assert!(record.draws().count() < 64);
        }
    }
}

/// A record of somebody else's numbers does not happen to fit: the test above can fail.
#[test]
fn a_changed_record_gives_itself_away() {
    let view = world(&mut Rng::seeded(5), 6);
    let load = &view.members()[view.eligible()[0] as usize].load;
    let busy: Vec<_> = (0..50).map(|_| load.begin(Tick::ZERO, view.pool())).collect();
    let mut wrong = 0;
    for seed in 0..200 {
        let mut rng = Rng::seeded(seed);
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut pick = Pick { client, region: None, key: b"", tried: &Tried::default(), rng: &mut rng };
        let mut record = Record::of(Algorithm::Adaptive, &view, &mut pick, Tick::ZERO);
        assert_eq!(record.recompute(&view), record.picked);
        record.seen.retain(|seen| Some(seen.member) != record.picked.ok().map(|d| d.member));
        wrong += u32::from(record.recompute(&view) != record.picked);
    }
    assert!(wrong > 150, "{wrong}");
    busy.into_iter().for_each(|t| load.end(t, view.pool()));
}
