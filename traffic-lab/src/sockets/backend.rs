//! One backend of the lab: so many slots, a queue before them, and a timer in place of work, so that the machine is not
//! what is measured. What a request costs comes with the request, so that every policy sends the same work.
//!
//! A client that leaves does not stop the work: the slot stays busy, as a thread would.
//! How it fails: as its timeline says; a connection that sends what is not HTTP is closed.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::http;
use super::telemetry::Meter;
use super::timeline::Timeline;
use crate::clock;

/// Body of an answer, in bytes.
const BODY: usize = 100;
/// Room for one read.
const READ: usize = 2048;
/// Scenario time of what happens before the start: before any fault that has a beginning.
const BEFORE: f64 = -1e9;
/// What a timer of whole milliseconds may oversleep, in seconds; beyond it the machine stood still, which nobody makes up.
const OVERSLEPT_MOST: f64 = 2e-3;

/// Scenario time, once it has been started.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    born: Instant,
    zero: watch::Receiver<Option<Instant>>,
}

impl Time {
    /// Of a start that is still to come: the instant of scenario time 0.
    pub(crate) fn new(zero: watch::Receiver<Option<Instant>>) -> Self {
        Self { born: clock::now(), zero }
    }

    fn now(&self) -> f64 {
        let now = clock::now();
        let Some(zero) = *self.zero.borrow() else { return BEFORE + (now - self.born).as_secs_f64() };
        // One of the two is zero.
        now.saturating_duration_since(zero).as_secs_f64() - zero.saturating_duration_since(now).as_secs_f64()
    }

    /// Waits for a scenario time.
    async fn until(&mut self, time: f64) {
        if self.zero.wait_for(Option::is_some).await.is_err() {
            // Nobody is left to start it.
            return std::future::pending().await;
        }
        wait(time - self.now()).await;
    }
}

/// Waits so many seconds; at infinity, for ever.
async fn wait(seconds: f64) {
    match Duration::try_from_secs_f64(seconds.max(0.0)) {
        Ok(duration) => tokio::time::sleep(duration).await,
        Err(_) => std::future::pending().await,
    }
}

/// One backend.
#[derive(Debug)]
pub(crate) struct Backend {
    slots: Semaphore,
    timeline: Timeline,
    time: Time,
    /// By how much timers have overslept so far, in seconds: the next work is shorter by it, so that the mean is right.
    overslept: Cell<f64>,
    /// Measured requests that came here.
    pub(crate) measured: Cell<u64>,
    /// What it knows of itself.
    pub(crate) meter: Meter,
}

impl Backend {
    /// A backend of so many slots.
    pub(crate) fn new(slots: usize, timeline: Timeline, time: Time) -> Self {
        Self {
            slots: Semaphore::new(slots),
            timeline,
            time,
            overslept: Cell::default(),
            measured: Cell::default(),
            meter: Meter::new(slots),
        }
    }

    /// Serves on a port, except when the timeline has it away; ends only where it cannot have its port again.
    pub(crate) async fn serve(self: Rc<Self>, first: TcpListener) -> io::Result<()> {
        let address = first.local_addr()?;
        let mut listener = Some(first);
        let mut time = self.time.clone();
        for (from, until) in self.timeline.away().iter().copied().chain([(f64::INFINITY, f64::INFINITY)]) {
            let listening = match listener.take() {
                Some(listening) => listening,
                None => TcpListener::bind(address).await?,
            };
            let (leaving, left) = watch::channel(false);
            tokio::select! {
                () = time.until(from) => (),
                () = Rc::clone(&self).accept(&listening, &left) => (),
            }
            drop(listening);
            // Idle connections end now, others with their answer.
            leaving.send_replace(true);
            time.until(until).await;
        }
        Ok(())
    }

    async fn accept(self: Rc<Self>, listener: &TcpListener, left: &watch::Receiver<bool>) {
        loop {
            // What fails here is one connection (it was gone, or there were too many): the next may do.
            if let Ok((stream, _)) = listener.accept().await {
                let (backend, left) = (Rc::clone(&self), left.clone());
                spawn_local(async move {
                    backend.meter.connections.update(|count| count + 1);
                    // A connection that breaks is the balancer's to notice.
                    let _ended = backend.converse(stream, left).await;
                    backend.meter.connections.update(|count| count - 1);
                });
            }
        }
    }

    async fn converse(&self, mut stream: TcpStream, mut left: watch::Receiver<bool>) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(READ);
        loop {
            let measure = |bytes: &[u8]| {
                let request = http::request(bytes)?;
                Ok(request.map(|request| (Ask::of(request.target), request.length)))
            };
            let (ask, length) = tokio::select! {
                biased;
                read = http::read(&mut stream, &mut buffer, measure) => read?,
                _ = left.wait_for(|left| *left) => return Ok(()),
            };
            buffer.drain(..length);
            self.meter.in_flight.update(|count| count + 1);
            let (code, body) = self.answer(ask).await;
            self.meter.in_flight.update(|count| count - 1);
            let close = *left.borrow();
            stream.write_all(self.message(code, &body, close).as_bytes()).await?;
            if close {
                return Ok(());
            }
        }
    }

    async fn answer(&self, ask: Ask) -> (u16, String) {
        let now = self.time.now();
        match ask {
            Ask::Work { seconds, draw, measured } => {
                self.measured.update(|count| count + u64::from(measured));
                let fails = draw < self.timeline.error_share(now);
                if fails {
                    wait(self.timeline.done(now, 0.0) - now).await;
                } else {
                    self.work(seconds).await;
                }
                let code = if fails { 500 } else { 200 };
                self.meter.answered(code);
                (code, "x".repeat(BODY))
            }
            Ask::Metrics => {
                wait(self.timeline.done(now, 0.0) - now).await;
                self.meter
                    .metrics(self.timeline.telemetry(now))
                    .map_or((404, String::new()), |text| (200, text))
            }
            Ask::Other => {
                wait(self.timeline.done(now, 0.0) - now).await;
                (200, "OK".to_owned())
            }
        }
    }

    /// Holds a slot for as long as the work takes here and now.
    async fn work(&self, seconds: f64) {
        // Nobody closes the semaphore, so there is always a permit to come.
        let _slot = self.slots.acquire().await;
        self.meter.busy.update(|busy| busy + 1);
        let begin = self.time.now();
        let due = self.timeline.done(begin, seconds) - self.overslept.take();
        wait(due - begin).await;
        let late = self.time.now() - due;
        self.overslept.update(|overslept| (overslept + late).clamp(0.0, OVERSLEPT_MOST));
        self.meter.busy.update(|busy| busy - 1);
    }

    fn message(&self, code: u16, body: &str, close: bool) -> String {
        let reason = if code == 200 { "OK" } else { "no" };
        let report = self.meter.report(self.timeline.telemetry(self.time.now()));
        let connection = if close { "connection: close\r\n" } else { "" };
        let length = body.len();
        format!(
            "HTTP/1.1 {code} {reason}\r\ncontent-type: text/plain\r\n{report}{connection}content-length: {length}\r\n\r\n{body}"
        )
    }
}

/// What is asked of a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    Work { seconds: f64, draw: f64, measured: bool },
    Metrics,
    Other,
}

impl Ask {
    /// `/work?us=18000&draw=0.25&measured=1`, `/metrics`, or anything else.
    fn of(target: &str) -> Self {
        let Some(query) = target.strip_prefix("/work?") else {
            return if target == "/metrics" { Self::Metrics } else { Self::Other };
        };
        let value = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0)
        };
        Self::Work { seconds: value("us") / 1e6, draw: value("draw"), measured: value("measured") > 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::{scenario, timeline::Plan};

    fn backend(name: &str) -> Backend {
        let scenario = scenario::named(&[name.to_owned()]).unwrap().remove(0);
        let timeline = Timeline::new(&Plan { scenario, warm_up_s: 1.0, seconds: 1.0, seed: 1 }, 0);
        // A start that never comes: only lasting faults hold.
        Backend::new(2, timeline, Time::new(watch::channel(None).1))
    }

    #[tokio::test(start_paused = true)]
    async fn two_slots_serve_two_at_once_and_the_rest_in_turn() {
        let backend = backend("S1");
        let start = tokio::time::Instant::now();
        let work = || async {
            backend.work(0.1).await;
            start.elapsed().as_millis() / 100
        };
        let (a, b, c, d, e) = tokio::join!(work(), work(), work(), work(), work());
        assert_eq!([a, b, c, d, e], [1, 1, 2, 2, 3]);
        assert_eq!(backend.meter.busy.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_instant_and_take_no_slot() {
        let (failing, slow) = (backend("S4"), backend("S3"));
        let start = tokio::time::Instant::now();
        let ask = Ask::of("/work?us=100000&draw=0.5&measured=1");
        assert_eq!(failing.answer(ask).await.0, 500);
        assert_eq!((start.elapsed().as_millis(), failing.measured.get()), (0, 1));
        assert_eq!(slow.answer(ask).await.0, 200);
        assert_eq!(start.elapsed().as_millis() / 100, 10, "ten times as long");
    }

    #[test]
    fn a_request_says_what_it_costs() {
        let work = Ask::Work { seconds: 0.018, draw: 0.25, measured: true };
        assert_eq!(Ask::of("/work?us=18000&draw=0.25&measured=1"), work);
        assert_eq!(Ask::of("/metrics"), Ask::Metrics);
        assert_eq!(Ask::of("/health"), Ask::Other);
    }
}
