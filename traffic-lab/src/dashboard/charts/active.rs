//! Chart 2: how many requests were on their way at each moment, at each instance and together.
//!
//! Exact where there are few changes; where there are more than can be seen, the highest of each stretch, because a peak
//! is what the chart is read for.

use serde::Serialize;

use super::{Seen, Window, micros};

/// Changes that are told one by one.
const EXACT: usize = 1_500;
/// Stretches that are told otherwise.
const STRETCHES: f64 = 750.0;

/// One line: a count holds from its time to the next.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Active {
    /// Which instance; absent for all together.
    instance: Option<usize>,
    time: Vec<f64>,
    count: Vec<i64>,
}

/// A line an instance, and one for all.
pub(super) fn all(seen: &[Seen<'_>], instances: usize, window: Window) -> Vec<Active> {
    let lines = (0..instances).map(Some).chain([None]);
    lines.map(|instance| line(seen, instance, window)).collect()
}

fn line(seen: &[Seen<'_>], instance: Option<usize>, window: Window) -> Active {
    let ours = seen.iter().filter(|one| instance.is_none_or(|instance| one.instance == instance));
    let mut changes: Vec<(f64, i64)> = ours.flat_map(|one| [(one.sent, 1), (one.end, -1)]).collect();
    // Who is answered and sends again at the same moment has one request on its way, not two.
    changes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let within = changes.iter().filter(|(at, _)| window.has(*at)).count();
    let stretch = if within > EXACT { window.length() / STRETCHES } else { 0.0 };
    let mut line = Active { instance, ..Active::default() };
    let mut count: i64 = changes.iter().take_while(|(at, _)| *at < window.from).map(|(_, by)| by).sum();
    line.push(window.from, count);
    let mut highest: Option<(f64, i64)> = None;
    for &(at, by) in changes.iter().filter(|(at, _)| window.has(*at)) {
        let begin =
            if stretch > 0.0 { window.from + ((at - window.from) / stretch).floor() * stretch } else { at };
        if let Some((begun, most)) = highest
            && begun < begin
        {
            line.push(begun, most);
            highest = None;
            // From the last change of its stretch to the next one nothing happened.
            if begin - begun > stretch {
                line.push(begun + stretch, count);
            }
        }
        // What was there at a stretch's beginning counts for it; at a moment only what it leaves does.
        let before = if stretch > 0.0 { count } else { count + by };
        count += by;
        let most = if stretch > 0.0 { highest.map_or(before, |(_, most)| most).max(count) } else { count };
        highest = Some((begin, most));
    }
    if let Some((begun, most)) = highest {
        line.push(begun, most);
    }
    line.push(window.to, count);
    line
}

impl Active {
    /// Only changes are told, and the end.
    fn push(&mut self, at: f64, count: i64) {
        let at = micros(at);
        if self.time.last() == Some(&at) {
            if let Some(last) = self.count.last_mut() {
                *last = count;
            }
            return;
        }
        self.time.push(at);
        self.count.push(count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Charts, record};

    #[test]
    fn counts_hold_until_the_next_change() {
        let records = [record("A", 0.0, 1.0, 200), record("A", 1.0, 3.0, 200), record("B", 0.5, 2.0, 0)];
        let active = Charts::of(&records, None, None).active;
        assert_eq!(active.len(), 3);
        assert_eq!((&active[0].time[..], &active[0].count[..]), (&[0.0, 1.0, 3.0][..], &[1, 1, 0][..]));
        assert_eq!(active[2].instance, None);
        assert_eq!(active[2].time, [0.0, 0.5, 1.0, 2.0, 3.0]);
        assert_eq!(active[2].count, [1, 2, 2, 1, 0]);
        let part = Charts::of(&records, Some(1.5), Some(2.5)).active;
        assert_eq!((&part[2].time[..], &part[2].count[..]), (&[1.5, 2.0, 2.5][..], &[2, 1, 1][..]));
    }

    #[test]
    fn many_changes_keep_their_peaks_and_are_few_points() {
        let mut records: Vec<_> =
            (0..10_000).map(|n| record("A", f64::from(n) * 1e-3, f64::from(n) * 1e-3 + 5e-4, 200)).collect();
        for _ in 0..6 {
            records.push(record("A", 5.0001, 5.0002, 200));
        }
        records.push(record("A", 0.0, 20.0, 200));
        let active = Charts::of(&records, None, None).active;
        let line = &active[0];
        assert!(line.time.len() < 1_600, "{}", line.time.len());
        assert_eq!(line.count.iter().max(), Some(&8));
        assert_eq!(line.count.iter().min(), Some(&0));
        let last_but_one = line.time.iter().rposition(|&at| at < 19.0).unwrap();
        assert_eq!(line.count[last_but_one], 1, "what goes on after the others' end is told");
    }
}
