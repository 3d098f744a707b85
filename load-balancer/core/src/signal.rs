//! What a backend says about itself, in an answer to a scrape or in a response header.
//!
//! Plain numbers that may be missing, old, frozen or wrong: what they are worth is decided by
//! `capacity`, never here. Missing is unknown, not zero.

/// One report of a backend about itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Report {
    /// How much of what it can do it is doing, by its own measure (ORCA's `application_utilization`): 1 is all.
    pub utilization: Option<f64>,
    /// CPU in use as a share of what it may use: 1 is all.
    pub cpu: Option<f64>,
    /// Memory in use as a share of what it may use.
    pub memory: Option<f64>,
    /// Connections as a share of the most that it takes.
    pub connections: Option<f64>,
    /// Requests that it is answering, of all balancers.
    pub in_flight: Option<f64>,
    /// Good answers since it began, to all balancers: a counter.
    pub good: Option<f64>,
}

/// The largest share that is believed: a container above its quota shows more than 1, a percentage is a mistake.
const LARGEST_SHARE: f64 = 4.0;
/// The same where there is nothing beyond all of it: memory and connections.
const LARGEST_PART: f64 = 1.5;
/// The most requests in flight that are believed.
const MOST_IN_FLIGHT: f64 = 1e6;
/// The largest counter that is believed: beyond it, an `f64` can no longer count by one.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

impl Report {
    /// The same without what cannot be true: not a number, negative, or far too large.
    #[must_use]
    pub fn credible(self) -> Self {
        let within = |value: Option<f64>, most: f64| value.filter(|v| (0.0..=most).contains(v));
        Report {
            utilization: within(self.utilization, LARGEST_SHARE),
            cpu: within(self.cpu, LARGEST_SHARE),
            memory: within(self.memory, LARGEST_PART),
            connections: within(self.connections, LARGEST_PART),
            in_flight: within(self.in_flight, MOST_IN_FLIGHT),
            good: within(self.good, LARGEST_COUNT),
        }
    }

    /// The busiest of what limits it: its own measure or its CPU.
    #[must_use]
    pub fn busy(&self) -> Option<f64> {
        match (self.utilization, self.cpu) {
            (Some(own), Some(cpu)) => Some(own.max(cpu)),
            (own, cpu) => own.or(cpu),
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_unknown() {
        let wild = |v| Report { cpu: Some(v), in_flight: Some(v), ..Report::default() }.credible();
        for v in [f64::NAN, f64::INFINITY, -0.5, 1e9] {
            assert!(wild(v).is_empty(), "{v}");
        }
        assert_eq!(wild(75.0), Report { in_flight: Some(75.0), ..Report::default() }, "a percentage");
        assert_eq!(wild(1.2).cpu, Some(1.2));
    }

    #[test]
    fn busy_is_the_busiest_that_is_known() {
        let report = Report { utilization: Some(0.4), cpu: Some(0.7), ..Report::default() };
        assert_eq!(report.busy(), Some(0.7));
        assert_eq!(Report { cpu: None, ..report }.busy(), Some(0.4));
        assert_eq!(Report::default().busy(), None);
    }
}
