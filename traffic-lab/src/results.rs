//! What a run leaves: one JSON file with how it was sent, every record, and a summary; written here and read here, so that
//! tester, experiments, dashboard and replay mean the same by it.
//!
//! A bare array of records is read as well: that is what other tools of this kind write.
//! How it fails: a file that is no run is refused with its name, the place and what was expected; a file is written beside
//! its place and moved there, so that nobody reads half of it.

mod store;
mod summary;

pub(crate) use store::{files, id, named, read, write};
pub(crate) use summary::{Quantiles, Summary};

use serde::{Deserialize, Serialize};

/// What `version` of a file this program writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;

/// A run: how it was sent, and what became of each request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`VERSION`] of the program that wrote it.
    pub(crate) version: u32,
    /// Its name, which is the file's without `.json`: letters, digits, `-`, `_` and `.`.
    pub(crate) id: String,
    /// What a person called it; shown in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    /// Where requests went.
    #[serde(default)]
    pub(crate) target: String,
    /// When it began, Unix seconds.
    #[serde(default)]
    pub(crate) started: f64,
    /// How it was sent.
    #[serde(default)]
    pub(crate) sending: Sending,
    /// By how much the server's clock is ahead; absent where nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock: Option<ClockDifference>,
    /// Figures over all records.
    #[serde(default)]
    pub(crate) summary: Summary,
    /// One for each request, in the order in which they were due.
    pub(crate) records: Vec<Record>,
}

/// How a run was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sending {
    /// Requests that wait for each other's answers, or requests at times of their own.
    #[serde(rename = "loop")]
    pub(crate) kind: Loop,
    /// GET and its like.
    pub(crate) method: String,
    /// Requests at once in a closed loop; the most connections in an open one.
    pub(crate) concurrency: usize,
    /// Requests a second; open loop only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<f64>,
    /// What arrivals and choices were drawn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    /// Whether connections were used again.
    pub(crate) keep_alive: bool,
    /// The algorithm that requests asked for, where they did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<String>,
}

/// Who decides when the next request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loop {
    /// The answer to an earlier one.
    #[default]
    Closed,
    /// A clock, with exponential gaps.
    OpenPoisson,
    /// A clock, with equal gaps.
    OpenConstant,
}

/// By how much the server's clock is ahead of ours, from the fastest exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClockDifference {
    /// Seconds to take away from the server's times; they are kept as it told them.
    pub(crate) ahead_s: f64,
    /// The difference is within this of it.
    pub(crate) within_s: f64,
}

/// What became of a request. Times are Unix seconds; those of the server are by its own clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Who answered; absent where nobody did, or where the answer does not say.
    #[serde(default)]
    pub(crate) instance: Option<String>,
    /// When it was to be sent. The wait from here to `req_snd_time` is the client's own queue, not the server's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) req_due_time: Option<f64>,
    /// When it was sent.
    pub(crate) req_snd_time: f64,
    /// When the server had it, if the answer says so.
    #[serde(default)]
    pub(crate) req_rcv_time: Option<f64>,
    /// When the server answered, if the answer says so.
    #[serde(default)]
    pub(crate) resp_snd_time: Option<f64>,
    /// When the answer, or the failure, was there in full.
    pub(crate) resp_rcv_time: f64,
    /// The status code; absent where there was no whole answer.
    #[serde(default)]
    pub(crate) status: Option<u16>,
    /// Why there is no status: `refused`, `reset`, `timeout`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// What `consistent_hash` and its like choose by, where one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Where the client said it is, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
}

impl Record {
    /// When it was to be sent, or was.
    pub(crate) fn due(&self) -> f64 {
        self.req_due_time.unwrap_or(self.req_snd_time)
    }

    /// Seconds from when it was due to its end: what a user waits.
    pub(crate) fn latency(&self) -> f64 {
        (self.resp_rcv_time - self.due()).max(0.0)
    }

    /// Seconds from sending to its end: what server and network took.
    pub(crate) fn service(&self) -> f64 {
        (self.resp_rcv_time - self.req_snd_time).max(0.0)
    }

    /// Seconds in the client's own queue.
    pub(crate) fn queued(&self) -> f64 {
        (self.req_snd_time - self.due()).max(0.0)
    }

    /// Seconds at the server, by its own clock, where it says.
    pub(crate) fn processing(&self) -> Option<f64> {
        Some((self.resp_snd_time? - self.req_rcv_time?).max(0.0))
    }

    /// Whether a whole answer came with a status below 400.
    pub(crate) fn good(&self) -> bool {
        self.status.is_some_and(|status| status < 400)
    }
}
