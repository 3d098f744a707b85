//! Everything that can happen to the pool, as data: sent by whoever sees it, handled by the control task alone.

use std::time::Duration;

use lb_core::Tick;
use lb_core::health::Pace;
use lb_core::membership::Refusal;
use lb_core::signal::Report;
use tokio::sync::oneshot;

use crate::config::{Address, Config, Faults};
use crate::discovery::Said;
use crate::geo::{Database, Origin};
use crate::provision::kubernetes::Scaled;
use crate::provision::{Order, Replica};
use crate::store::{Offer, exchange::Round};
use crate::telemetry::Miss;
use crate::tls::{self, Fault, Renewed};

/// Something the control task must know.
#[derive(Debug)]
pub enum Event {
    /// A health check ended.
    Checked(Verdict),
    /// A scrape ended.
    Scraped(Scraped),
    /// Somebody wants the membership changed; the answer comes once the change can be seen.
    Asked(Ask, oneshot::Sender<Answer>),
    /// What the provider found running at the start.
    Adopted(Result<Vec<Replica>, String>),
    /// Replicas that were asked for have started, or have not.
    Created(Created),
    /// A Deployment was to be scaled, because somebody asked who now waits for the answer.
    Scaled(Result<Scaled, Refused>, oneshot::Sender<Answer>),
    /// The configuration file has changed, or was read again by order.
    Reread(Occasion, Result<Box<Config>, Faults>),
    /// The file of the database of countries has changed and was read again; or why it cannot be used.
    Located(Origin, Result<Database, String>),
    /// A file of a certificate, key or authority has changed, and all of its place were read again; the number is that of who
    /// watches, so that what a stopped one read last is told apart.
    Certified(u64, tls::Place, Result<Renewed, Fault>),
    /// A source of discovery has said who is there; the number is that of its start, so that what a stopped one said last is
    /// told apart.
    Discovered(u64, Said),
    /// A round with the other balancers is due: what are they to be told?
    Telling(oneshot::Sender<Offer>),
    /// A round with the other balancers has ended.
    Shared(Round),
    /// Another process is to take this one's place.
    Upgrade(Upgrade),
}

/// What had the configuration read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The file has changed.
    File,
    /// A signal.
    Signal,
}

impl Occasion {
    /// Who that is, for the audit log.
    #[must_use]
    pub fn who(self) -> &'static str {
        match self {
            Occasion::File => "file",
            Occasion::Signal => "signal",
        }
    }
}

/// How far a successor has come.
#[derive(Debug)]
pub enum Upgrade {
    /// It is about to read what this balancer has written: nothing may change from now on. The answer comes once that is so.
    Begins(oneshot::Sender<Result<(), String>>),
    /// It does not come, for this reason: everything goes on.
    Failed(String),
    /// It serves: what outlives this process is its own.
    Done,
}

/// The result of one health check.
#[derive(Debug)]
pub struct Verdict {
    /// The backend's id.
    pub backend: u64,
    /// How long it took.
    pub took: Duration,
    /// What is wrong; `None` where it passed.
    pub fault: Option<String>,
    /// Tells the prober how soon to look again.
    pub pace: oneshot::Sender<Pace>,
}

/// The result of one scrape.
#[derive(Debug)]
pub struct Scraped {
    /// The backend's id.
    pub backend: u64,
    /// When the answer came, or was given up.
    pub at: Tick,
    /// How long it took.
    pub took: Duration,
    /// What the backend said.
    pub result: Result<Report, Miss>,
}

/// A change of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// `n` more, some of them with these names.
    Add {
        /// How many.
        n: usize,
        /// Names of the first of them.
        names: Vec<String>,
    },
    /// `n` fewer, these among them.
    Remove {
        /// How many.
        n: usize,
        /// Names of some of them.
        names: Vec<String>,
    },
    /// This one announces itself.
    Register {
        /// Its name.
        name: String,
        /// Where it listens, validated.
        address: Address,
    },
}

/// The names of the members after the change, or why nothing was changed.
pub type Answer = Result<Vec<String>, Refused>;

/// Why a change was refused. Nothing is half done then, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It does not fit the members there are.
    #[error("{0}")]
    Unfit(Refusal),
    /// Nobody here can start or stop what is asked for.
    #[error("{0}")]
    Powerless(String),
    /// Another process takes this one's place and has read the members already.
    #[error("<Error> an upgrade is under way: ask again in a moment")]
    Upgrading,
    /// It was tried and failed.
    #[error("<Error> {0}; nothing was changed")]
    Failed(String),
    /// It was tried, and the answer was lost.
    #[error("<Error> {0}; whether anything was changed is not known")]
    Unclear(String),
}

/// What became of an attempt to start replicas.
#[derive(Debug)]
pub struct Created {
    /// What was ordered, each with what came of it.
    pub results: Vec<(Order, Result<Replica, String>)>,
    /// How long it took.
    pub took: Duration,
    /// Who waits: all or nothing. `None` for replicas that the pool is short of: each that has started joins.
    pub asked: Option<Waiting>,
}

/// Somebody who asked for replicas and waits for all of them.
#[derive(Debug)]
pub struct Waiting {
    /// Where the answer goes.
    pub asker: oneshot::Sender<Answer>,
    /// Members that were draining and have been kept for it: they leave again if it fails.
    pub kept: Vec<String>,
}
