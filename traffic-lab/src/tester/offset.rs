//! By how much the server's clock is ahead of ours, from the exchanges that were fastest on the way.
//!
//! NTP's estimate: the time on the way is split in half, so the error is at most half of it, and least where the way was
//! shortest. Each instance is estimated by its own fastest exchange.
//! How it fails: without times in the answers nothing is told; nor where instances' clocks differ from each other, since
//! one number would then be wrong for most of them.

use std::collections::BTreeMap;

use crate::results::{ClockDifference, Record};

/// Seconds by which clocks may drift apart during a run: what clocks that are being adjusted do in some seconds.
const DRIFT_S: f64 = 0.001;

/// The estimate over a run's records.
pub(crate) fn estimate(records: &[Record]) -> Option<ClockDifference> {
    let mut fastest: BTreeMap<Option<&str>, ClockDifference> = BTreeMap::new();
    for (instance, seen) in
        records.iter().filter_map(|record| Some((record.instance.as_deref(), one(record)?)))
    {
        let best = fastest.entry(instance).or_insert(seen);
        if seen.within_s < best.within_s {
            *best = seen;
        }
    }
    let best = fastest.values().min_by(|a, b| a.within_s.total_cmp(&b.within_s)).copied()?;
    let agrees = |other: &ClockDifference| {
        (other.ahead_s - best.ahead_s).abs() <= other.within_s + best.within_s + DRIFT_S
    };
    fastest.values().all(agrees).then_some(best)
}

/// What one exchange tells; nothing where its server claims to have taken longer than all of it.
fn one(record: &Record) -> Option<ClockDifference> {
    let (received, answered) = (record.req_rcv_time?, record.resp_snd_time?);
    let way = (record.resp_rcv_time - record.req_snd_time) - (answered - received);
    let ahead_s = ((received - record.req_snd_time) + (answered - record.resp_rcv_time)) / 2.0;
    (way >= 0.0 && answered >= received).then_some(ClockDifference { ahead_s, within_s: way / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server whose clock is `ahead`, over a way of `there` and `back`.
    fn record(instance: &str, ahead: f64, there: f64, back: f64) -> Record {
        let received = 100.0 + there;
        let answered = received + 0.01;
        Record {
            instance: Some(instance.to_owned()),
            req_snd_time: 100.0,
            req_rcv_time: Some(received + ahead),
            resp_snd_time: Some(answered + ahead),
            resp_rcv_time: answered + back,
            ..Record::default()
        }
    }

    #[test]
    fn the_fastest_exchange_tells_and_the_truth_is_within_its_bound() {
        let slow = record("a", 2.5, 0.030, 0.001);
        let fast = record("a", 2.5, 0.0004, 0.0002);
        let estimate = estimate(&[slow, fast, Record::default()]).unwrap();
        assert!((estimate.within_s - 0.0003).abs() < 1e-6, "{estimate:?}");
        assert!((estimate.ahead_s - 2.5).abs() <= estimate.within_s, "{estimate:?}");
    }

    #[test]
    fn clocks_that_differ_and_answers_without_times_tell_nothing() {
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[Record { resp_rcv_time: 1.0, ..Record::default() }]), None);
        let apart = [record("a", 0.0, 1e-4, 1e-4), record("b", 0.5, 1e-4, 1e-4)];
        assert_eq!(estimate(&apart), None);
        assert!(estimate(&[record("a", 0.0, 1e-4, 1e-4), record("b", 0.0, 2e-3, 1e-4)]).is_some());
        assert_eq!(estimate(&[record("a", 0.0, -0.2, 0.1)]), None);
    }
}
