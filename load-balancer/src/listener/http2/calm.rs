//! What one HTTP/2 connection may do that costs us and asks for nothing: two allowances that refill with time, and what ends
//! the connection when one is used up.
//!
//! The library bounds what it keeps; it does not bound what it is made to do. A client may open and reset streams as fast as
//! it can write (CVE-2023-44487), have streams reset by us (CVE-2025-8671), ask for answers to pings and settings
//! (CVE-2019-9512, CVE-2019-9515), or send frames without content. Pure: frames and time in, a verdict out.

use lb_core::Tick;

use super::frames::{Frame, Kind};

/// Frames that ask for nothing and may come at once, as a multiple of what may come in a second.
const CONTROL_BURST: u32 = 5;
/// The same of streams that end before their time.
const RESET_BURST: u32 = 4;
/// Bytes sent that allow for one more frame: who takes in a response widens windows and measures the way.
const BYTES_PER_FRAME: u32 = 512;
/// What a request allows for beside it: priorities and windows.
const FRAMES_PER_REQUEST: f64 = 2.0;

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Streams end before their time, by either side, too often.
    Resets,
    /// Too many frames that ask for nothing.
    Control,
}

impl Flood {
    /// Every value of the label `kind`.
    pub const ALL: [Flood; 2] = [Flood::Resets, Flood::Control];

    /// The value of the metric label `kind`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Flood::Resets => "resets",
            Flood::Control => "control",
        }
    }
}

/// What is left of an allowance.
#[derive(Debug)]
struct Allowance {
    left: f64,
    most: f64,
    per_second: f64,
}

impl Allowance {
    fn new(per_second: u32, burst: u32) -> Self {
        let most = f64::from(per_second) * f64::from(burst);
        Allowance { left: most, most, per_second: per_second.into() }
    }

    fn add(&mut self, n: f64) {
        self.left = (self.left + n).min(self.most);
    }

    /// Takes one; false where there is none.
    fn take(&mut self) -> bool {
        self.left -= 1.0;
        self.left >= 0.0
    }
}

/// The two allowances of one connection.
#[derive(Debug)]
pub struct Calm {
    resets: Allowance,
    control: Allowance,
    at: Tick,
}

impl Calm {
    /// So many streams may end before their time in a second, and so many frames that ask for nothing may come.
    #[must_use]
    pub fn new(resets: u32, control: u32, now: Tick) -> Self {
        Calm {
            resets: Allowance::new(resets, RESET_BURST),
            control: Allowance::new(control, CONTROL_BURST),
            at: now,
        }
    }

    /// Time has come to `now`: allowances refill.
    pub fn pass(&mut self, now: Tick) {
        let seconds = now.since(self.at).as_secs_f64();
        self.at = now;
        for allowance in [&mut self.resets, &mut self.control] {
            allowance.add(allowance.per_second * seconds);
        }
    }

    /// The client has sent `frame`.
    ///
    /// # Errors
    /// Which allowance is used up.
    pub fn received(&mut self, frame: Frame) -> Result<(), Flood> {
        match frame.kind {
            Kind::Reset => self.reset(),
            Kind::Headers => {
                self.control.add(FRAMES_PER_REQUEST);
                Ok(())
            }
            Kind::Data if frame.length > 0 || frame.last => Ok(()),
            Kind::Data | Kind::Continuation | Kind::Window | Kind::Other => {
                self.control.take().then_some(()).ok_or(Flood::Control)
            }
        }
    }

    /// We have sent `frame`.
    ///
    /// # Errors
    /// Which allowance is used up.
    pub fn sent(&mut self, frame: Frame) -> Result<(), Flood> {
        const NO_ERROR: u32 = 0;
        match frame.kind {
            // Without an error: the answer was complete before the request was, which is no fault of the client's.
            Kind::Reset if frame.code != NO_ERROR => self.reset(),
            Kind::Data => {
                self.control.add(1.0 + f64::from(frame.length / BYTES_PER_FRAME));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn reset(&mut self) -> Result<(), Flood> {
        self.resets.take().then_some(()).ok_or(Flood::Resets)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: Kind, length: u32, code: u32) -> Frame {
        Frame { kind, stream: 1, length, last: false, whole_head: false, code }
    }

    fn calm() -> Calm {
        Calm::new(10, 20, Tick::ZERO)
    }

    /// How many of `frame` pass before the verdict.
    fn passed(calm: &mut Calm, frame: Frame, ours: bool) -> (u32, Flood) {
        for n in 0..100_000 {
            let verdict = if ours { calm.sent(frame) } else { calm.received(frame) };
            if let Err(flood) = verdict {
                return (n, flood);
            }
        }
        panic!("{frame:?} passes without end");
    }

    #[test]
    fn what_asks_for_nothing_is_counted() {
        for kind in [Kind::Other, Kind::Window, Kind::Continuation, Kind::Data] {
            assert_eq!(passed(&mut calm(), frame(kind, 0, 0), false), (100, Flood::Control), "{kind:?}");
        }
        assert_eq!(passed(&mut calm(), frame(Kind::Reset, 4, 8), false), (40, Flood::Resets));
        assert_eq!(passed(&mut calm(), frame(Kind::Reset, 4, 1), true), (40, Flood::Resets));
    }

    #[test]
    fn both_sides_resets_are_of_one_allowance() {
        let mut calm = calm();
        for _ in 0..20 {
            calm.received(frame(Kind::Reset, 4, 8)).unwrap();
            calm.sent(frame(Kind::Reset, 4, 1)).unwrap();
        }
        assert_eq!(calm.received(frame(Kind::Reset, 4, 8)), Err(Flood::Resets));
    }

    #[test]
    fn time_refills_up_to_the_burst_and_not_beyond() {
        let mut calm = calm();
        assert_eq!(passed(&mut calm, frame(Kind::Other, 8, 0), false).0, 100);
        calm.pass(Tick::ZERO.after(Duration::from_secs(1)));
        // One was taken beyond what there was.
        assert_eq!(passed(&mut calm, frame(Kind::Other, 8, 0), false).0, 19);
        calm.pass(Tick::ZERO.after(Duration::from_secs(3_600)));
        assert_eq!(passed(&mut calm, frame(Kind::Other, 8, 0), false).0, 100);
    }

    #[test]
    fn who_takes_in_a_response_may_widen_windows() {
        let mut calm = calm();
        for _ in 0..10_000 {
            calm.sent(frame(Kind::Data, 16_384, 0)).unwrap();
            for _ in 0..8 {
                calm.received(frame(Kind::Window, 4, 0)).unwrap();
            }
        }
        for _ in 0..10_000 {
            calm.received(frame(Kind::Headers, 30, 0)).unwrap();
            calm.received(frame(Kind::Other, 5, 0)).unwrap();
        }
    }

    #[test]
    fn bodies_and_answers_that_came_early_cost_nothing() {
        let mut calm = calm();
        for _ in 0..10_000 {
            calm.received(frame(Kind::Data, 1, 0)).unwrap();
            calm.received(Frame { last: true, ..frame(Kind::Data, 0, 0) }).unwrap();
            calm.sent(frame(Kind::Reset, 4, 0)).unwrap();
            calm.sent(frame(Kind::Other, 8, 0)).unwrap();
        }
    }
}
