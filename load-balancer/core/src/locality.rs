//! How much dearer a backend in another region is than one in the client's own.
//!
//! A factor, not a delay: whoever adds the way there to an estimated wait stays at home until the queue is as long as the
//! way, and tails grow to match. A factor spills early and little by little. It fades to 1 while the client's own region
//! fills up, so that an overfull region passes work on before it suffers, and a region without backends costs nothing: then
//! all are equally far. Distances are learned: the smallest latency seen to a region, beyond that to the nearest one.

use crate::capacity::{Meter, Mode, Standing};
use crate::word::AtomicF32;

/// Utilisation of the client's region below which the factor holds in full. With a steeper fade, from 0.80 to 0.95, regions
/// take turns at being full, and the simulated tail of a skewed demand is 5 to 10 % longer.
const CALM: f64 = 0.70;
/// Utilisation at which it has faded to 1: measured over a second, it hardly ever is more.
const FULL: f64 = 0.99;
/// The largest factor that a distance makes: beyond it a region would have to be more than four times as busy as
/// another before it spilled.
const MOST: f64 = 4.0;

/// Live factors for every pair of a client's and a backend's region. Written by one thread.
#[derive(Debug)]
pub struct Locality {
    regions: usize,
    factors: Box<[AtomicF32]>,
}

/// A client's region, as a row of factors by the backend's region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a>(&'a [AtomicF32]);

impl Row<'_> {
    /// The factor for a backend of `region`; 1 for one that belongs nowhere.
    pub(crate) fn factor(&self, region: u8) -> f32 {
        self.0.get(usize::from(region)).map_or(1.0, AtomicF32::get)
    }
}

impl Locality {
    /// All regions alike, until told otherwise.
    #[must_use]
    pub fn new(regions: usize) -> Self {
        Locality { regions, factors: (0..regions * regions).map(|_| AtomicF32::new(1.0)).collect() }
    }

    /// How many regions there are.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// The factor that backends of `backend`'s region cost clients of `client`'s; 1 where either is no region.
    #[must_use]
    pub fn factor(&self, client: u8, backend: u8) -> f32 {
        self.row(client).map_or(1.0, |row| row.factor(backend))
    }

    pub(crate) fn row(&self, client: u8) -> Option<Row<'_>> {
        let from = usize::from(client) * self.regions;
        self.factors.get(from..from + self.regions).map(Row)
    }

    /// Sets all factors from what is known of each region, in their order.
    pub fn settle(&self, rules: &Rules, typical: f64, regions: &[Region]) {
        for (client, own) in regions.iter().enumerate().take(self.regions) {
            for (backend, other) in regions.iter().enumerate().take(self.regions) {
                let factor = if client == backend { 1.0 } else { rules.factor(typical, own, other) };
                self.factors[client * self.regions + backend].set(factor as f32);
            }
        }
    }
}

/// What is known of a region.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Region {
    /// Backends that may be picked.
    pub eligible: u32,
    /// Their utilisation, by capacity; `None` where it is not known.
    pub busy: Option<f64>,
    /// What the way there costs beyond the way to the nearest region (µs).
    pub distance: f64,
}

/// One backend, as regions are summed up from.
#[derive(Debug, Clone, Copy)]
pub struct Resident {
    /// Where it is.
    pub region: u8,
    /// Its part of what the pool can do: weight times capacity.
    pub share: f64,
    /// How busy it is, where that is known and new.
    pub busy: Option<f64>,
}

impl Resident {
    /// One that stands so: how busy it says it is counts only while it says so of late.
    #[must_use]
    pub fn of(region: u8, weight: f64, standing: &Standing, meter: &Meter) -> Self {
        let told = matches!(standing.mode, Mode::Fresh | Mode::Held);
        Resident { region, share: weight * standing.capacity, busy: meter.last().busy().filter(|_| told) }
    }
}

/// Share of a region's capacity whose utilisation must be known for the region's to be.
const ENOUGH_KNOWN: f64 = 0.5;

/// What is known of each region, from its eligible backends and its distance.
#[must_use]
pub fn regions(distances: &[f64], residents: &[Resident]) -> Vec<Region> {
    let region = |(at, &distance): (usize, &f64)| {
        let here = residents.iter().filter(|r| usize::from(r.region) == at);
        let (mut eligible, mut all, mut known, mut sum) = (0, 0.0, 0.0, 0.0);
        for resident in here {
            eligible += 1;
            all += resident.share;
            if let Some(busy) = resident.busy {
                known += resident.share;
                sum += resident.share * busy;
            }
        }
        let busy = (known > 0.0 && known >= ENOUGH_KNOWN * all).then(|| sum / known);
        Region { eligible, busy, distance }
    };
    distances.iter().enumerate().map(region).collect()
}

/// What the user decides about locality.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The least that a backend of another region is dearer by, 1 or more.
    pub least: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { least: 1.5 }
    }
}

impl Rules {
    /// 1 + (G₀ − 1) · (how far the client's region is from full), G₀ = 1 + (extra way / typical latency), bounded.
    fn factor(&self, typical: f64, own: &Region, other: &Region) -> f64 {
        if own.eligible == 0 {
            return 1.0;
        }
        let further = if typical > 0.0 { (other.distance - own.distance) / typical } else { 0.0 };
        let whole = (1.0 + further).max(self.least).min(self.least.max(MOST));
        let room = own.busy.map_or(1.0, |busy| ((FULL - busy) / (FULL - CALM)).clamp(0.0, 1.0));
        1.0 + (whole - 1.0) * room
    }
}

/// Distances (µs) of regions from the smallest latencies seen to their backends, `(region, µs)`: each region's least,
/// beyond the least of all. A region without any is taken as near.
pub fn distances(regions: usize, floors: impl Iterator<Item = (u8, f32)>) -> Vec<f64> {
    let mut least = vec![f64::INFINITY; regions];
    for (region, floor) in floors {
        if let Some(cell) = least.get_mut(usize::from(region)) {
            *cell = cell.min(f64::from(floor));
        }
    }
    let nearest = least.iter().copied().fold(f64::INFINITY, f64::min);
    least.iter().map(|&floor| if floor.is_finite() { floor - nearest } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(eligible: u32, busy: f64, distance: f64) -> Region {
        Region { eligible, busy: Some(busy), distance }
    }

    #[test]
    fn the_factor_follows_the_way_and_fades_as_the_region_fills() {
        let (rules, far) = (Rules::default(), region(2, 0.5, 60_000.0));
        let factor = |busy| rules.factor(20_000.0, &region(2, busy, 0.0), &far);
        assert_eq!(factor(0.5), 4.0, "three times the typical latency");
        assert!((factor(0.845) - 2.5).abs() < 1e-9);
        assert_eq!(factor(0.995), 1.0);
        assert_eq!(rules.factor(20_000.0, &region(0, 0.0, 0.0), &far), 1.0, "nobody at home");
        assert_eq!(rules.factor(0.0, &region(1, 0.0, 0.0), &far), 1.5, "nothing measured");
        assert_eq!(rules.factor(20_000.0, &far, &region(2, 0.5, 0.0)), 1.5, "the way home may be longer");
        assert_eq!(Rules { least: 6.0 }.factor(1.0, &region(1, 0.1, 0.0), &far), 6.0);
    }

    #[test]
    fn pairs_have_their_own_factors() {
        let locality = Locality::new(2);
        assert_eq!(locality.factor(0, 1), 1.0);
        locality.settle(&Rules::default(), 0.0, &[region(1, 0.2, 0.0), region(0, 0.0, 0.0)]);
        assert_eq!((locality.factor(0, 0), locality.factor(0, 1), locality.factor(1, 0)), (1.0, 1.5, 1.0));
        assert_eq!((locality.factor(7, 0), locality.factor(0, 7)), (1.0, 1.0), "belongs nowhere");
    }

    #[test]
    fn a_region_is_as_busy_as_its_capacity() {
        let resident = |region, share, busy| Resident { region, share, busy };
        let all = [
            resident(0, 1.0, Some(0.9)),
            resident(0, 3.0, Some(0.5)),
            resident(1, 1.0, Some(0.4)),
            resident(1, 2.0, None),
            resident(9, 1.0, Some(1.0)),
        ];
        let known = regions(&[0.0, 5.0, 0.0], &all);
        assert_eq!(known[0], Region { eligible: 2, busy: Some(0.6), distance: 0.0 });
        assert_eq!(known[1], Region { eligible: 2, busy: None, distance: 5.0 }, "too little is known");
        assert_eq!(known[2].eligible, 0);
    }

    #[test]
    fn distances_are_beyond_the_nearest() {
        let floors = [(0, 900.0), (1, 61_000.0), (0, 800.0), (1, 60_800.0), (9, 1.0)];
        assert_eq!(distances(3, floors.into_iter()), [0.0, 60_000.0, 0.0]);
        assert_eq!(distances(2, std::iter::empty()), [0.0, 0.0]);
    }
}
