//! Which requests a backend has answered lately: the log behind `control.request_log`.

use std::collections::VecDeque;

use lb_core::Tick;

/// Longest id remembered, in bytes: the log's size follows from its settings, not from what clients send.
const ID_MAX: usize = 256;

/// What one worker remembers of one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent {
    /// Request ids by when their response heads arrived, the oldest first; at most `control.request_log`. Ids of more
    /// than 256 bytes are cut.
    pub ids: Vec<(Tick, Box<str>)>,
    /// How many ids there have ever been.
    pub total: u64,
}

/// The latest request ids, and how many there have been.
#[derive(Debug, Default)]
pub struct RequestLog {
    ids: VecDeque<(Tick, Box<str>)>,
    total: u64,
}

impl RequestLog {
    /// Adds an id and forgets the oldest beyond `most`.
    pub fn add(&mut self, now: Tick, id: &str, most: usize) {
        self.total += 1;
        while self.ids.len() >= most.max(1) {
            self.ids.pop_front();
        }
        let mut end = id.len().min(ID_MAX);
        while !id.is_char_boundary(end) {
            end -= 1;
        }
        self.ids.push_back((now, id[..end].into()));
    }

    /// The latest `most` of them.
    #[must_use]
    pub fn recent(&self, most: usize) -> Recent {
        let older = self.ids.len().saturating_sub(most);
        Recent { ids: self.ids.iter().skip(older).cloned().collect(), total: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(recent: &Recent) -> Vec<&str> {
        recent.ids.iter().map(|(_, id)| &**id).collect()
    }

    #[test]
    fn the_latest_are_kept_and_all_are_counted() {
        let mut log = RequestLog::default();
        for (ms, id) in ["a", "b", "c", "d"].into_iter().enumerate() {
            log.add(Tick::from_millis(ms as u64), id, 3);
        }
        let recent = log.recent(3);
        assert_eq!((ids(&recent), recent.total), (vec!["b", "c", "d"], 4));
        assert_eq!(recent.ids[0].0, Tick::from_millis(1));
        assert_eq!(ids(&log.recent(1)), ["d"], "a reload may ask for fewer");
        assert_eq!(log.recent(0), Recent { ids: Vec::new(), total: 4 });
        log.add(Tick::from_millis(9), "e", 2);
        assert_eq!(ids(&log.recent(100)), ["d", "e"]);
    }

    #[test]
    fn long_ids_are_cut_between_characters() {
        let mut log = RequestLog::default();
        log.add(Tick::ZERO, &("x".repeat(255) + "é"), 1);
        assert_eq!(log.recent(1).ids[0].1.len(), 255);
    }
}
