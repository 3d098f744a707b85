//! Decision records, as `/decisions?what=requests&format=json&exact=true` tells them: every pick is made again by lb-core
//! from its record, over the view it was made over.
//!
//! How it fails: records that are not exact, or a view that is missing, are refused with how to get them. Picks over the
//! slot tables of the hash presets are counted and left out: the tables are not told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use lb_core::hash::hash64;
use lb_core::record::{Parts, Read};
use lb_core::view::Hashing;
use lb_core::{Load, Locality, Member, PoolLoad, Record, View};
use serde::Deserialize;

/// How to have records that tell everything.
const HOW: &str = "ask the admin listener for /decisions?what=requests&format=json&exact=true&last=500";

#[derive(Debug, Deserialize)]
struct File {
    requests: Vec<Request>,
    #[serde(default)]
    views: Vec<Told>,
}

#[derive(Debug, Deserialize)]
struct Request {
    request_id: String,
    epoch: u64,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    /// The chosen backend's name.
    backend: Option<String>,
    /// `Some(None)` where there was no pick: a trial.
    #[serde(default, deserialize_with = "present")]
    record: Option<Option<Pick>>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<Pick>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Debug, Deserialize)]
struct Pick {
    algorithm: String,
    client: IpAddr,
    region: Option<u8>,
    key: Vec<u8>,
    tried: Vec<u32>,
    read: Vec<Seen>,
    turns: Vec<u64>,
    in_flight: Option<u32>,
    generator: String,
    picked: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    member: u32,
    count: u32,
    /// JSON has no infinity: it is told as null.
    extra: Option<f32>,
    quality: Option<f32>,
    factor: Option<f32>,
}

#[derive(Debug, Deserialize)]
struct Told {
    epoch: u64,
    members: Vec<ToldMember>,
    points: u32,
    bound: Option<f32>,
    slots: bool,
    regions: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct ToldMember {
    name: String,
    ordinal: u32,
    weight: u32,
    warmth: f32,
    region: u8,
    eligible: bool,
}

/// What came of making picks again, by algorithm.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// The same came out.
    pub(super) equal: u64,
    /// Something else did.
    pub(super) different: u64,
    /// The table of slots that was chosen from is not told.
    pub(super) untold: u64,
}

/// All picks made again.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// By algorithm.
    pub(super) counts: BTreeMap<String, Count>,
    /// Attempts that were trials after an ejection: nothing was picked.
    pub(super) trials: u64,
    /// Request, what was picked, what came out, of those that differ.
    pub(super) wrong: Vec<(String, Option<u32>, Option<u32>)>,
}

/// Whether a file looks like decision records rather than a run.
pub(super) fn are_these(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Like {
        #[serde(rename = "requests")]
        _requests: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_str::<Like>(text).is_ok()
}

/// Makes every pick in `text` again.
///
/// # Errors
/// If these are no exact records.
pub(super) fn again(text: &str) -> Result<Again> {
    let file: File =
        serde_json::from_str(text).with_context(|| format!("not exact decision records; {HOW}"))?;
    ensure!(
        !file.requests.is_empty(),
        "no request is recorded: see [decisions], or send x-lb-debug with requests"
    );
    let views: BTreeMap<u64, (&Told, View)> =
        file.views.iter().map(|told| (told.epoch, (told, view(told)))).collect();
    let mut all = Again::default();
    for request in &file.requests {
        let id = &request.request_id;
        let missing = || format!("the view that request {id} was decided over is missing; {HOW}");
        let (told, view) = views.get(&request.epoch).with_context(missing)?;
        for attempt in &request.attempts {
            let not_exact = || format!("the record of request {id} is not exact; {HOW}");
            let Some(pick) = attempt.record.as_ref().with_context(not_exact)? else {
                all.trials += 1;
                continue;
            };
            let count = all.counts.entry(pick.algorithm.clone()).or_default();
            if told.slots && pick.algorithm == "consistent_hash" {
                count.untold += 1;
                continue;
            }
            let out = Record::from(parts(pick)?).recompute(view).ok().map(|decision| decision.member);
            // Named as well, so that a view that is not the one would show.
            let name = |member: u32| told.members.get(member as usize).map(|member| member.name.as_str());
            if out == pick.picked && out.and_then(name) == attempt.backend.as_deref() {
                count.equal += 1;
            } else {
                count.different += 1;
                all.wrong.push((id.clone(), pick.picked, out));
            }
        }
    }
    Ok(all)
}

fn parts(pick: &Pick) -> Result<Parts> {
    let number = |told: Option<f32>| told.unwrap_or(f32::INFINITY);
    let read = |seen: &Seen| Read {
        member: seen.member,
        count: seen.count,
        extra: number(seen.extra),
        quality: number(seen.quality),
        factor: seen.factor,
    };
    Ok(Parts {
        algorithm: pick.algorithm.parse().with_context(|| format!("algorithm `{}`", pick.algorithm))?,
        client: pick.client,
        region: pick.region,
        key: pick.key.clone(),
        tried: pick.tried.clone(),
        read: pick.read.iter().map(read).collect(),
        turns: pick.turns.clone(),
        in_flight: pick.in_flight,
        generator: pick.generator.parse().context("a generator's state is a number")?,
        picked: pick.picked,
    })
}

/// The view as it was, but for live numbers, which the records hold.
fn view(told: &Told) -> View {
    let member = |told: &ToldMember| Member {
        name_hash: hash64(told.name.as_bytes()),
        ordinal: told.ordinal,
        weight: told.weight,
        warmth: told.warmth,
        region: told.region,
        eligible: told.eligible,
        load: Arc::new(Load::new()),
    };
    let members: Vec<Member> = told.members.iter().map(member).collect();
    let ring = View::ring_of(&members, told.points);
    let locality = told.regions.map(|regions| Arc::new(Locality::new(regions)));
    View::new(members, Arc::new(PoolLoad::default()), ring, Hashing::Ring { bound: told.bound })
        .with_locality(locality)
}

impl Again {
    /// For people.
    // Writing to a string cannot fail, so results of `write!` are dropped.
    pub(super) fn text(&self) -> String {
        let mut text =
            format!("  {:24}{:>8}{:>11}{:>10}\n", "picks made again", "equal", "different", "not told");
        for (algorithm, Count { equal, different, untold }) in &self.counts {
            let _ = writeln!(text, "  {algorithm:24}{equal:>8}{different:>11}{untold:>10}");
        }
        if self.trials > 0 {
            let _ = writeln!(
                text,
                "  {} attempts were trials after an ejection: nothing was picked",
                self.trials
            );
        }
        for (id, was, is) in &self.wrong {
            let _ = writeln!(text, "  request {id}: position {was:?} was picked, {is:?} came out");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use lb_core::Rng;
    use serde_json::json;

    use super::*;

    fn file(picked: u32, backend: &str) -> String {
        let member = |name: &str, at: u32| json!({"name": name, "ordinal": at + 1, "weight": 1, "warmth": 1.0, "region": 0, "eligible": true});
        let read = |member: u32, count: u32| json!({"member": member, "count": count, "extra": 0.0, "quality": 1.0, "factor": null});
        let record = json!({
            "algorithm": "least_connections", "client": "127.0.0.1", "region": null, "key": [107], "tried": [],
            "read": [read(0, 5), read(1, 2)], "turns": [], "in_flight": null, "generator": "18446744073709551615",
            "picked": picked,
        });
        json!({
            "requests": [{"request_id": "r1", "epoch": 3, "attempts": [
                {"backend": backend, "record": record},
                {"backend": "b", "record": null},
            ]}],
            "views": [{"epoch": 3, "members": [member("a", 0), member("b", 1)], "points": 64, "bound": 1.25,
                       "slots": false, "regions": null}],
        })
        .to_string()
    }

    #[test]
    fn equal_is_equal_and_different_is_told() {
        assert!(are_these(&file(1, "b")) && !are_these("[]") && !are_these(r#"{"records": []}"#));
        let good = again(&file(1, "b")).unwrap();
        assert_eq!((good.counts["least_connections"].equal, good.trials, good.wrong.len()), (1, 1, 0));
        for (picked, backend) in [(0, "a"), (1, "a")] {
            let bad = again(&file(picked, backend)).unwrap();
            assert_eq!(bad.counts["least_connections"].different, 1);
            assert!(bad.text().contains("request r1"), "{}", bad.text());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let says = |text: &str| format!("{:#}", again(text).unwrap_err());
        let whole = file(1, "b");
        assert!(says(&whole.replace("\"record\"", "\"why\"")).contains("exact=true"));
        assert!(says(&whole.replace("\"epoch\":3,\"members\"", "\"epoch\":4,\"members\"")).contains("view"));
        assert!(says(r#"{"requests": []}"#).contains("x-lb-debug"));
    }

    /// Numbers survive JSON: whatever was read comes back to the last bit.
    #[test]
    fn floats_come_back_as_they_were() {
        let mut rng = Rng::seeded(8);
        for _ in 0..100_000 {
            let was = f32::from_bits(rng.next_u64() as u32);
            let text =
                json!({"member": 0, "count": 0, "extra": was, "quality": was, "factor": null}).to_string();
            let seen: Seen = serde_json::from_str(&text).unwrap();
            assert!(if was.is_finite() { seen.extra == Some(was) } else { seen.extra.is_none() }, "{was}");
        }
    }
}
