//! What has happened to the pool, told once: every [`Fact`] becomes a log line, metrics and a piece of the stream that
//! `/decisions` shows. Nothing else writes any of the three, so they cannot disagree.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use lb_core::fact::{Fact, Value};
use serde_json::{Map, json};
use tokio::sync::broadcast;

use super::Metrics;

/// Facts that are remembered: hours of an ordinary pool, the last minutes of one in trouble, below a mebibyte.
const REMEMBERED: usize = 1_000;
/// Facts that a slow reader of the stream may be behind before it loses some.
const BUFFERED: usize = 256;

/// A fact with its place in the order of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// From 1, without gaps.
    pub number: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What.
    pub fact: Fact,
}

impl Told {
    /// As one JSON object: number, at, kind, text, and the fact's own numbers.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let mut object = Map::new();
        object.insert("number".into(), self.number.into());
        object.insert("at".into(), self.at.into());
        object.insert("kind".into(), self.fact.kind().into());
        object.insert("text".into(), self.fact.text().into());
        for (name, value) in self.fact.fields() {
            let value = match value {
                Value::Text(text) => json!(text),
                Value::Number(number) => json!(number),
                Value::Flag(flag) => json!(flag),
            };
            object.insert(name.into(), value);
        }
        serde_json::Value::Object(object)
    }
}

/// The facts so far, and a way to hear of the next ones.
#[derive(Debug)]
pub struct Chronicle {
    metrics: Arc<Metrics>,
    /// Facts come a few a second at most, and never on the request path: a lock is simple enough.
    recent: Mutex<VecDeque<Arc<Told>>>,
    live: broadcast::Sender<Arc<Told>>,
}

impl Chronicle {
    /// With nothing told. The configuration came into force at `at` (milliseconds since the Unix epoch).
    #[must_use]
    pub fn new(metrics: &Arc<Metrics>, at: u64) -> Arc<Self> {
        let pool = metrics.pool.as_str();
        metrics.reload_at.with_label_values::<&str>(&[]).set(at as f64 / 1e3);
        for result in ["applied", "refused"] {
            metrics.reloads.with_label_values(&[result]);
        }
        metrics.reload_ok.with_label_values::<&str>(&[]).set(1);
        metrics.panic.with_label_values(&[pool]).set(0);
        metrics.failing.with_label_values(&[pool]).set(0);
        Arc::new(Chronicle {
            metrics: Arc::clone(metrics),
            recent: Mutex::default(),
            live: broadcast::channel(BUFFERED).0,
        })
    }

    /// Tells a fact that came about at `at` (milliseconds since the Unix epoch).
    pub fn tell(&self, at: u64, fact: Fact) {
        log(&fact);
        self.count(at, &fact);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = recent.back().map_or(1, |last| last.number + 1);
        let told = Arc::new(Told { number, at, fact });
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&told));
        // Nobody may be listening.
        let _ = self.live.send(told);
    }

    /// The last `most` facts after number `after`, oldest first, and a receiver of all that follow them without a gap.
    #[must_use]
    pub fn since(&self, after: u64, most: usize) -> (Vec<Arc<Told>>, broadcast::Receiver<Arc<Told>>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // A number from before a restart is none of ours.
        let after = if recent.back().is_some_and(|last| last.number < after) { 0 } else { after };
        let later: Vec<_> = recent.iter().filter(|told| told.number > after).cloned().collect();
        let skip = later.len().saturating_sub(most);
        (later.into_iter().skip(skip).collect(), self.live.subscribe())
    }

    fn count(&self, at: u64, fact: &Fact) {
        let metrics = &self.metrics;
        let pool = metrics.pool.as_str();
        metrics.facts.with_label_values(&[pool, fact.kind()]).inc();
        let reloaded = |result: &str, ok: i64| {
            metrics.reloads.with_label_values(&[result]).inc();
            metrics.reload_ok.with_label_values::<&str>(&[]).set(ok);
        };
        match fact {
            Fact::Ejected { backend, reason, .. } => {
                metrics.series.of(backend).make(|label| {
                    metrics.ejections.with_label_values(&[pool, label, reason.name()]).inc();
                });
            }
            Fact::Reloaded { .. } => {
                reloaded("applied", 1);
                metrics.reload_at.with_label_values::<&str>(&[]).set(at as f64 / 1e3);
            }
            Fact::ReloadRefused { .. } => reloaded("refused", 0),
            Fact::Switched { to, reason, .. } => {
                metrics.algorithm_switches.with_label_values(&[pool, to, reason]).inc();
            }
            _ => {}
        }
    }
}

fn log(fact: &Fact) {
    let (kind, backend) = (fact.kind(), fact.backend());
    if fact.alarming() {
        tracing::warn!(kind, backend, "{}", fact.text());
    } else {
        tracing::info!(kind, backend, "{}", fact.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(n: usize) -> Fact {
        Fact::Joined { backend: format!("b{n}"), address: "127.0.0.1:1".into() }
    }

    #[test]
    fn readers_get_the_last_ones_and_then_every_next_one() {
        let chronicle = Chronicle::new(&Arc::new(Metrics::new("p").unwrap()), 0);
        (1..=REMEMBERED + 5).for_each(|n| chronicle.tell(n as u64, joined(n)));
        let (all, _) = chronicle.since(0, usize::MAX);
        assert_eq!((all.len(), all[0].number), (REMEMBERED, 6));
        let (last, mut live) = chronicle.since(0, 2);
        assert_eq!(last.iter().map(|t| t.number).collect::<Vec<_>>(), [1_004, 1_005]);
        assert!(chronicle.since(1_005, 10).0.is_empty());
        assert_eq!(chronicle.since(7_000, 10).0.len(), 10, "a number from before a restart");
        chronicle.tell(7, joined(1_006));
        assert_eq!(live.try_recv().unwrap().number, 1_006);
    }

    #[test]
    fn a_fact_is_json_with_its_numbers() {
        let told = Told { number: 3, at: 9, fact: Fact::Saturated { backend: "b1".into(), seconds: 1.5 } };
        let json = told.json();
        assert_eq!((json["number"].as_u64(), json["kind"].as_str()), (Some(3), Some("saturated")));
        assert_eq!((json["backend"].as_str(), json["seconds"].as_f64()), (Some("b1"), Some(1.5)));
    }
}
