//! The provider `process`: replicas are child processes on this machine.
//!
//! Each child is tended by one task for all its life (see [`child`]), which alone signals and reaps it: no process id is
//! used after its process was reaped. Children cannot be taken over by the next balancer, since their standard input,
//! which ends them with this one, goes with it; those that would not end by that are found by the [`record`] and ended. A
//! successor that starts while this one serves has children of its own beside these, under the same names.
//! How it fails: a child that does not listen is killed, and `create` says how it ended.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::{Death, Order, Provider, Replica, Task};
use record::{Identity, Record};

mod child;
mod record;

/// How to run replicas as processes.
#[derive(Clone, Debug)]
pub struct ProcessSettings {
    /// What to run; `None` is the program `backend` beside this one. It is given `--bind IP --port N --name NAME
    /// --region REGION --weight N --until-eof`, and must print a line with `listening on IP:PORT`.
    pub program: Option<PathBuf>,
    /// Arguments that go before those.
    pub args: Vec<String>,
    /// Ports to listen on, the lowest free one for each; `None` lets the system choose, and the printed line tells.
    pub ports: Option<RangeInclusive<u16>>,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Where to keep the record of children, so that the next balancer can end those that outlived this one; `None`
    /// keeps none. Each balancer needs a file of its own.
    pub record: Option<PathBuf>,
    /// The process of the balancer that this one takes over from: its children are its own until it ends.
    pub succeeds: Option<u32>,
}

impl Default for ProcessSettings {
    /// `backend` beside this program, on loopback, on ports that the system chooses, with no record.
    fn default() -> Self {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        ProcessSettings { program: None, args: Vec::new(), ports: None, bind, record: None, succeeds: None }
    }
}

/// Replicas as child processes. Works on a local runtime only; dropping it kills its children.
pub struct Process {
    state: Rc<State>,
}

/// What the provider and the tasks of its children share.
struct State {
    program: PathBuf,
    settings: ProcessSettings,
    record: Option<Record>,
    children: RefCell<BTreeMap<String, Slot>>,
    deaths: mpsc::UnboundedSender<Death>,
    closed: Cell<bool>,
    /// The record is another balancer's.
    released: Cell<bool>,
}

/// A child that has not been reaped.
struct Slot {
    identity: Identity,
    /// Nought where the system chose.
    port: u16,
    /// Set to true to have it stopped.
    stop: watch::Sender<bool>,
    /// Closed once it has ended.
    ended: watch::Receiver<()>,
    task: AbortHandle,
}

impl Process {
    /// A provider without children. Unasked ends go to `deaths`.
    ///
    /// # Errors
    /// Where there is no program to run, or the range of ports is empty.
    pub fn new(settings: ProcessSettings, deaths: mpsc::UnboundedSender<Death>) -> Result<Self, String> {
        let program = settings.program.clone().map_or_else(beside, Ok)?;
        if let Some(ports) = settings.ports.as_ref().filter(|ports| ports.is_empty() || *ports.start() == 0) {
            return Err(format!(
                "no ports to use from {} to {}: give the lower one first, above 0",
                ports.start(),
                ports.end()
            ));
        }
        let record = settings.record.clone().map(|path| Record::new(path, settings.succeeds));
        let (children, closed, released) = (RefCell::default(), Cell::new(false), Cell::new(false));
        let state = State { program, settings, record, children, deaths, closed, released };
        Ok(Process { state: Rc::new(state) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child is killed when its task is gone.
        self.state.children.borrow().values().for_each(|slot| slot.task.abort());
    }
}

/// The program `backend`, where cargo and the packages put it.
fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    let program = own.with_file_name("backend");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "no backend program at {}: build it with `cargo build -p backend`, or name another program",
        program.display()
    ))
}

impl Provider for Process {
    fn kind(&self) -> &'static str {
        "process"
    }

    fn adopt(&self) -> Task<'_, Result<Vec<Replica>, String>> {
        Box::pin(async {
            if let Some(record) = &self.state.record {
                record.end_orphans().await?;
            }
            Ok(Vec::new())
        })
    }

    fn create(&self, order: Order) -> Task<'_, Result<Replica, String>> {
        Box::pin(async {
            let name = order.name.clone();
            // Nothing waits between the choice of a port and the slot that holds it.
            let port = self.state.port_for(&name)?;
            let (ready, listens) = oneshot::channel();
            let unclaimed = Unclaimed(Some(self.state.launch(order, port, ready)?));
            let address = listens.await.unwrap_or_else(|_| Err(format!("{name} was killed")))?;
            unclaimed.claim();
            Ok(Replica { name, address })
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> Task<'a, Result<(), String>> {
        Box::pin(async {
            let ended = self.state.children.borrow().get(name).map(Slot::stop);
            if let Some(mut ended) = ended {
                // Nothing is ever sent: the error is the end.
                let _ = ended.changed().await;
            }
            Ok(())
        })
    }

    /// Children end with this process, whoever serves afterwards; the record is the successor's.
    fn release(&self) {
        self.state.released.set(true);
    }

    fn shutdown(&self) -> Task<'_, ()> {
        Box::pin(async {
            self.state.closed.set(true);
            let ending: Vec<_> = self.state.children.borrow().values().map(Slot::stop).collect();
            for mut ended in ending {
                let _ = ended.changed().await;
            }
        })
    }
}

impl Slot {
    /// Has the child stopped; what is returned closes once it has ended.
    fn stop(&self) -> watch::Receiver<()> {
        self.stop.send_replace(true);
        self.ended.clone()
    }
}

/// A child that `create` has not handed out yet: stopped when dropped.
struct Unclaimed(Option<watch::Sender<bool>>);

impl Unclaimed {
    fn claim(mut self) {
        self.0 = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(stop) = self.0.take() {
            stop.send_replace(true);
        }
    }
}

impl State {
    /// The port for a new replica, nought for any; an error where it may not be started.
    fn port_for(&self, name: &str) -> Result<u16, String> {
        if self.closed.get() {
            return Err(format!("{name} is not started: everything is being stopped"));
        }
        let children = self.children.borrow();
        if children.contains_key(name) {
            return Err(format!("a replica named {name} runs already"));
        }
        let Some(ports) = &self.settings.ports else { return Ok(0) };
        let free = |port: &u16| {
            // A child that is only starting does not listen yet, and holds its port nevertheless.
            !children.values().any(|slot| slot.port == *port)
                && TcpListener::bind(SocketAddr::new(self.settings.bind, *port)).is_ok()
        };
        ports.clone().find(free).ok_or_else(|| {
            format!(
                "no port from {} to {} is free for {name} on {}: widen the range, or see `ss -ltnp`",
                ports.start(),
                ports.end(),
                self.settings.bind
            )
        })
    }

    /// Brings the record up to date. It is a safety net: without it the children run as well.
    fn write_record(&self) {
        let Some(record) = self.record.as_ref().filter(|_| !self.released.get()) else { return };
        let children = self.children.borrow();
        if let Err(error) = record.write(children.iter().map(|(name, slot)| (name.as_str(), slot.identity))) {
            tracing::warn!(%error, "children are not recorded: they may outlive a crash");
        }
    }
}
