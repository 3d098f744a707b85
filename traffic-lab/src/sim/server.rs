//! One simulated server: `cores` slots shared by all jobs (processor sharing), or given to them in order of arrival.
//!
//! Virtual time makes an event cost O(log n): all jobs in service advance at the same rate, so a job that needs `w` more
//! is done when the server's virtual clock shows its present reading plus `w`, whatever joins or leaves meanwhile. It fails
//! as a model where a real server's cost per request grows with concurrency (caches, locks); such a loss is not in it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::scenario::Discipline;

/// Completions that a server remembers to answer probes with (Prequal's latency by requests in flight).
const REMEMBERED: usize = 64;
/// Of these, the ones nearest to the present number in flight speak.
const NEAREST: usize = 9;
/// Virtual nanoseconds that rounding may have eaten at a completion.
const ROUNDING: f64 = 1e-3;

/// A job: its attempt, and how much work it is (core-ns at speed 1).
type Job = (u32, f64);

/// A simulated server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Slots.
    pub(crate) cores: f64,
    /// Speed as built; 1 does a millisecond of work in a millisecond.
    pub(crate) built: f64,
    /// Where it stands.
    pub(crate) zone: u32,
    /// What neighbours and faults leave of its speed.
    pub(crate) factor: f64,
    /// What a cold cache leaves of its speed.
    pub(crate) warmth: f64,
    /// Pauses under way; any stops it.
    pub(crate) pauses: u32,
    /// Share of requests that it fails at once.
    pub(crate) failing: f64,
    /// What it answers to those.
    pub(crate) status: u16,
    /// Whether it refuses connections.
    pub(crate) down: bool,
    /// Requests it holds at most.
    pub(crate) limit: u32,
    /// Requests on their way to it, and their work (core-ns).
    pub(crate) transit: (u32, f64),
    /// Requests answered well, and failed, so far.
    pub(crate) good: u64,
    /// Requests failed so far.
    pub(crate) bad: u64,
    /// Slot-nanoseconds in use so far.
    pub(crate) busy: f64,
    /// When its next completion is planned; `u64::MAX` where none is.
    pub(crate) planned: u64,
    discipline: Discipline,
    virtual_ns: f64,
    at: u64,
    serving: BinaryHeap<Reverse<(u64, u32)>>,
    finish_sum: f64,
    waiting: VecDeque<Job>,
    waiting_work: f64,
    /// (In flight at arrival, latency µs) of recent completions.
    recent: VecDeque<(u32, u32)>,
}

impl Server {
    /// An idle server.
    pub(crate) fn new(cores: f64, speed: f64, zone: u32, limit: u32, discipline: Discipline) -> Self {
        Server {
            cores,
            built: speed,
            zone,
            factor: 1.0,
            warmth: 1.0,
            pauses: 0,
            failing: 0.0,
            status: 500,
            down: false,
            limit,
            transit: (0, 0.0),
            good: 0,
            bad: 0,
            busy: 0.0,
            planned: u64::MAX,
            discipline,
            virtual_ns: 0.0,
            at: 0,
            serving: BinaryHeap::new(),
            finish_sum: 0.0,
            waiting: VecDeque::new(),
            waiting_work: 0.0,
            recent: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// Speed now; 0 while paused.
    pub(crate) fn speed(&self) -> f64 {
        if self.pauses > 0 { 0.0 } else { self.built * self.factor * self.warmth }
    }

    /// Requests it holds.
    pub(crate) fn held(&self) -> u32 {
        (self.serving.len() + self.waiting.len()) as u32
    }

    /// Work (core-ns) that it still has to do at `now`, what is on its way included.
    pub(crate) fn remaining(&self, now: u64) -> f64 {
        let elapsed = now.saturating_sub(self.at) as f64 * self.rate();
        let reading = self.virtual_ns + elapsed;
        let serving = self.finish_sum - reading * self.serving.len() as f64;
        serving.max(0.0) + self.waiting_work + self.transit.1
    }

    /// Virtual nanoseconds per nanosecond.
    fn rate(&self) -> f64 {
        let jobs = self.serving.len() as f64;
        if jobs > self.cores { self.speed() * self.cores / jobs } else { self.speed() }
    }

    /// Brings the server up to `now`. To be called before anything about it changes.
    pub(crate) fn advance(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.at) as f64;
        self.busy += elapsed * (self.serving.len() as f64).min(self.cores);
        self.virtual_ns += elapsed * self.rate();
        self.at = now;
    }

    /// Takes a job; it must have been brought up to date.
    pub(crate) fn admit(&mut self, attempt: u32, work: f64) {
        let full = self.discipline == Discipline::Fifo && self.serving.len() as f64 >= self.cores;
        if full {
            self.waiting.push_back((attempt, work));
            self.waiting_work += work;
        } else {
            self.serve(attempt, work);
        }
    }

    fn serve(&mut self, attempt: u32, work: f64) {
        if self.serving.is_empty() {
            // Nothing refers to the old reading: a small one keeps its precision.
            (self.virtual_ns, self.finish_sum) = (0.0, 0.0);
        }
        let finish = self.virtual_ns + work;
        self.finish_sum += finish;
        self.serving.push(Reverse((finish.to_bits(), attempt)));
    }

    /// Takes out one job that is done, if there is one.
    pub(crate) fn done(&mut self) -> Option<u32> {
        let &Reverse((finish, attempt)) = self.serving.peek()?;
        let finish = f64::from_bits(finish);
        if finish > self.virtual_ns + ROUNDING {
            return None;
        }
        self.serving.pop();
        self.finish_sum -= finish;
        if let Some((next, work)) = self.waiting.pop_front() {
            self.waiting_work -= work;
            self.serve(next, work);
        }
        Some(attempt)
    }

    /// When the next job is done if nothing changes.
    pub(crate) fn next_done(&self) -> Option<u64> {
        let &Reverse((finish, _)) = self.serving.peek()?;
        let rate = self.rate();
        let left = (f64::from_bits(finish) - self.virtual_ns).max(0.0);
        (rate > 0.0).then(|| self.at + (left / rate).ceil() as u64)
    }

    /// Everything it holds is lost: a crash. Returns the attempts.
    pub(crate) fn crash(&mut self) -> Vec<u32> {
        let mut lost: Vec<u32> = self.serving.drain().map(|Reverse((_, attempt))| attempt).collect();
        lost.extend(self.waiting.drain(..).map(|(attempt, _)| attempt));
        lost.sort_unstable();
        (self.finish_sum, self.waiting_work) = (0.0, 0.0);
        lost
    }

    /// Remembers a completion for [`Server::latency_us`].
    pub(crate) fn remember(&mut self, held_at_arrival: u32, latency_us: u32) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((held_at_arrival, latency_us));
    }

    /// What a probe is told: the median latency (µs) of recent completions that found about as many in flight as there
    /// are now; 0 where nothing is remembered.
    pub(crate) fn latency_us(&self) -> u32 {
        let held = self.held();
        let mut near: Vec<(u32, u32)> =
            self.recent.iter().map(|&(at, latency)| (at.abs_diff(held), latency)).collect();
        let count = near.len().min(NEAREST);
        if count == 0 {
            return 0;
        }
        near.select_nth_unstable(count - 1);
        near.truncate(count);
        near.select_nth_unstable_by_key(count / 2, |&(_, latency)| latency).1.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::draw::exponential;
    use lb_core::Rng;

    /// Mean sojourn over mean service, of Poisson arrivals at `load` on `cores` slots with exponential work.
    fn sojourn(cores: f64, load: f64, discipline: Discipline) -> f64 {
        const WORK_NS: f64 = 1e6;
        const JOBS: usize = 400_000;
        let (mut rng, mut server) = (Rng::seeded(5), Server::new(cores, 1.0, 0, u32::MAX, discipline));
        let mut arrived: Vec<u64> = Vec::with_capacity(JOBS);
        let (mut now, mut total, mut left) = (0u64, 0.0, 0usize);
        while left < JOBS {
            let next = now + (exponential(&mut rng) * WORK_NS / (cores * load)) as u64;
            while let Some(due) = server.next_done().filter(|&due| due <= next) {
                server.advance(due);
                while let Some(job) = server.done() {
                    total += (due - arrived[job as usize]) as f64;
                    left += 1;
                }
            }
            now = next;
            server.advance(now);
            server.admit(arrived.len() as u32, exponential(&mut rng) * WORK_NS);
            arrived.push(now);
        }
        total / left as f64 / WORK_NS
    }

    /// M/M/1-PS: 1/(1 − ρ) services.
    #[test]
    fn one_slot_follows_the_closed_form() {
        for load in [0.5, 0.8] {
            let mean = sojourn(1.0, load, Discipline::Sharing);
            assert!((mean * (1.0 - load) - 1.0).abs() < 0.05, "{load}: {mean}");
        }
    }

    /// M/M/4 (Erlang's C): both disciplines have its mean, since work is memoryless.
    #[test]
    fn four_slots_follow_erlang() {
        let load: f64 = 0.8;
        let offered = 4.0 * load;
        let terms: Vec<f64> =
            (0..=4u32).map(|k| offered.powi(k as i32) / f64::from((1..=k).product::<u32>())).collect();
        let queued = terms[4] / (1.0 - load);
        let wait = queued / (terms[..4].iter().sum::<f64>() + queued) / (4.0 * (1.0 - load));
        for discipline in [Discipline::Sharing, Discipline::Fifo] {
            let mean = sojourn(4.0, load, discipline);
            assert!((mean / (1.0 + wait) - 1.0).abs() < 0.05, "{discipline:?}: {mean} for {}", 1.0 + wait);
        }
    }

    #[test]
    fn work_left_is_what_was_brought_less_what_is_done() {
        let mut server = Server::new(2.0, 0.5, 0, u32::MAX, Discipline::Sharing);
        (0..4).for_each(|job| server.admit(job, 100.0));
        assert_eq!(server.remaining(0), 400.0);
        server.advance(100);
        assert_eq!(server.remaining(100), 300.0);
        server.pauses = 1;
        assert_eq!((server.remaining(900), server.next_done()), (300.0, None));
        assert_eq!(server.crash(), [0, 1, 2, 3]);
    }
}
