//! What is due when. Ordered by time and then by entry, so that events of one moment happen in the order in which they
//! were planned and a run repeats exactly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The next request arrives.
    Arrive,
    /// An attempt reaches its server.
    Reach { attempt: u32 },
    /// A server may have finished something.
    Depart { server: u32 },
    /// An attempt's answer reaches its balancer.
    Return { attempt: u32 },
    /// A client gives up, if the request is still that one.
    Deadline { request: u32, number: u64 },
    /// A request is sent again, if it is still that one.
    Again { request: u32, number: u64 },
    /// The plan's next change happens.
    Change { at: u32 },
    /// Balancers do what they do every few milliseconds.
    Tick,
    /// A balancer tells the others what it knows, and hears what they do.
    Round { balancer: u32 },
    /// A balancer scrapes all servers.
    Scrape { balancer: u32 },
    /// A probe reaches a server.
    Probe { balancer: u32, server: u32 },
    /// A probe's answer reaches its balancer.
    Probed { balancer: u32, server: u32, in_flight: u32, latency_us: u32 },
    /// A server's news of a free slot reaches a balancer.
    Token { balancer: u32, server: u32 },
}

impl Event {
    /// A number that tells events apart, for the hash of the log.
    pub(crate) fn code(self) -> u64 {
        let (kind, a, b) = match self {
            Event::Arrive => (1, 0, 0),
            Event::Reach { attempt } => (2, attempt, 0),
            Event::Depart { server } => (3, server, 0),
            Event::Return { attempt } => (4, attempt, 0),
            Event::Deadline { request, .. } => (5, request, 0),
            Event::Change { at } => (6, at, 0),
            Event::Tick => (7, 0, 0),
            Event::Scrape { balancer } => (8, balancer, 0),
            Event::Probe { balancer, server } => (9, balancer, server),
            Event::Probed { balancer, server, .. } => (10, balancer, server),
            Event::Token { balancer, server } => (11, balancer, server),
            Event::Again { request, .. } => (12, request, 0),
            Event::Round { balancer } => (13, balancer, 0),
        };
        (kind << 56) ^ (u64::from(a) << 28) ^ u64::from(b)
    }
}

/// Events to come.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BinaryHeap<Reverse<(u64, u64, Event)>>,
    entered: u64,
}

impl Agenda {
    /// Plans `event` for `nanos`.
    pub(crate) fn at(&mut self, nanos: u64, event: Event) {
        self.entered += 1;
        self.due.push(Reverse((nanos, self.entered, event)));
    }

    /// The next event and its time.
    pub(crate) fn next(&mut self) -> Option<(u64, Event)> {
        self.due.pop().map(|Reverse((nanos, _, event))| (nanos, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_first_then_entry() {
        let mut agenda = Agenda::default();
        agenda.at(5, Event::Tick);
        agenda.at(3, Event::Depart { server: 9 });
        agenda.at(3, Event::Arrive);
        let order: Vec<_> = std::iter::from_fn(|| agenda.next()).collect();
        assert_eq!(order, [(3, Event::Depart { server: 9 }), (3, Event::Arrive), (5, Event::Tick)]);
    }
}
