//! Records in the DNS as a source: every address of a name, or every target of its SRV records, is a backend.
//!
//! Asked again when the shortest time to live is over, within `min_ttl` and `max_ttl`. An answer counts whole or not at all:
//! where one of several look-ups fails, the last list holds. That a name has no records is what servers also say for a moment
//! while a zone or a service is made anew, so the last list holds for `hold` and only then is empty (HAProxy's `hold nx`;
//! Envoy believes an empty answer at once); a name that never had any is a fault for as long as that lasts. It fails by
//! being late: by the time to live that the records have.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use lb_core::backoff::Backoff;
use lb_core::{Rng, Tick};

use super::{Found, Outlet, name_of};
use crate::clock::{self, Clock};
use crate::config::{Address, Dns, Record, WEIGHT_MOST};

mod lookup;

use lookup::{Miss, Resolver, Target};

/// Pauses after look-ups that failed or found nothing: soon again, since the list ages meanwhile.
const PAUSES: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) };
/// Targets that are looked up at once.
const AT_ONCE: usize = 16;

/// Says who is there, again and again.
pub(super) async fn watch(settings: &Dns, outlet: &Outlet) {
    let (clock, mut rng) = (Clock::default(), clock::entropy());
    let mut resolver = Resolver::new(settings);
    let (mut misses, mut known) = (0, false);
    let mut absent: Option<Tick> = None;
    loop {
        let asked = match &resolver {
            Ok(resolver) => ask(resolver, settings).await,
            Err(reason) => Err(Miss::Failed(reason.clone())),
        };
        let wait = match asked {
            Ok((found, ttl)) => {
                outlet.say(Ok(found));
                (misses, known, absent) = (0, true, None);
                ttl.clamp(settings.ttl.0, settings.ttl.1)
            }
            Err(Miss::Absent(reason)) => {
                misses += 1;
                let since = *absent.get_or_insert(clock.now());
                // A name that never had any is more likely mistyped.
                // Without the dot at its end search domains were tried, too: the last of them says that there is no such
                // name, whatever the name's own servers suffer from.
                let believed = known && settings.name.ends_with('.');
                let over = believed && clock.now().since(since) >= settings.hold;
                outlet.say(if over { Ok(Vec::new()) } else { Err(reason) });
                pause(misses, &mut rng)
            }
            Err(Miss::Failed(reason)) => {
                misses += 1;
                absent = None;
                outlet.say(Err(reason));
                // The system's servers may be others now, and a socket may be of no use any more.
                resolver = Resolver::new(settings);
                pause(misses, &mut rng)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// Those who failed together do not come back together.
fn pause(misses: u32, rng: &mut Rng) -> Duration {
    PAUSES.wait(misses).mul_f64(0.5 + rng.unit() / 2.0)
}

/// Who is there now, and for how long that is so.
async fn ask(resolver: &Resolver, settings: &Dns) -> Result<(Vec<Found>, Duration), Miss> {
    let (targets, ttl) = match settings.record {
        Record::Address(port) => {
            let target = Target { name: settings.name.clone(), port, weight: 1 };
            (vec![target], Duration::MAX)
        }
        Record::Srv => resolver.targets(&settings.name).await?,
    };
    let single = targets.len() == 1;
    let looked_up = stream::iter(targets).map(|target| async move {
        match resolver.addresses(&target.name, settings.family).await {
            Ok((addresses, ttl)) => Ok((target, addresses, ttl)),
            // The others are still there.
            Err(Miss::Absent(_)) if !single => Ok((target, Vec::new(), settings.ttl.0)),
            Err(miss) => Err(miss),
        }
    });
    let all: Vec<_> = looked_up.buffered(AT_ONCE).try_collect().await?;
    let ttl = all.iter().map(|(_, _, ttl)| *ttl).chain([ttl]).min().unwrap_or_default();
    let heaviest = all.iter().map(|(target, _, _)| target.weight).max().unwrap_or_default();
    let mut found: Vec<Found> = Vec::new();
    for (target, addresses, _) in all {
        for ip in addresses {
            let address = Address::Ip((ip, target.port).into());
            if !found.iter().any(|found| found.address == address) {
                found.push(Found {
                    name: name_of(&address),
                    address,
                    weight: scaled(target.weight, heaviest),
                    region: String::new(),
                    draining: false,
                });
            }
        }
    }
    if found.is_empty() {
        return Err(Miss::Absent(format!("{}: no target has an address", settings.name)));
    }
    Ok((found, ttl))
}

/// A weight as a record has it (up to 65535), in the range of ours. None at all is the least (RFC 2782: "a very small chance").
fn scaled(weight: u32, heaviest: u32) -> u32 {
    let most = heaviest.max(WEIGHT_MOST);
    (weight * WEIGHT_MOST / most).max(1)
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn weights_keep_their_proportions_and_none_is_nothing() {
        assert_eq!([1, 5, 1_000].map(|weight| scaled(weight, 1_000)), [1, 5, 1_000]);
        assert_eq!([0, 100, 65_535].map(|weight| scaled(weight, 65_535)), [1, 1, 1_000]);
        assert_eq!(scaled(10_000, 20_000), 500);
    }
}
