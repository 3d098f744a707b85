//! Where backends are found by looking: a source says who is there, and the control task joins, drains and recalls them
//! (`control/discovered`).
//!
//! A source says the whole list each time, never a difference: what was missed once is made good by the next list, and two
//! lists compare whatever happened in between. A source that cannot be asked says why; nobody leaves for that. Each source
//! is a task on the control thread that goes on until it is aborted, with back-off of its own. News that comes together is
//! passed on at once: `discovery.settle` after the first of it, so that a burst is one change, and a stream of news no delay
//! without end.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::{self, Address, Finder, NAME_MOST};
use crate::event::Event;

mod dns;
pub mod file;
pub(crate) mod kubernetes;

/// A backend that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its identity, unique in its list and the same in the next one: 1 to 63 letters, digits, `-`, `_` and `.`
    /// ([`name_of`] makes one of an address).
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// Its share, 1..=1000.
    pub weight: u32,
    /// Where it is, as the source says it (a zone, too): `discovery.regions` translates. Empty where it is not known.
    pub region: String,
    /// It is on its way out: nothing new, but what is in flight may end.
    pub draining: bool,
}

/// All that there is now, or why that cannot be found out.
pub type Said = Result<Vec<Found>, String>;

/// Where a source says what it finds.
#[derive(Debug, Clone)]
pub struct Outlet(mpsc::UnboundedSender<Said>);

impl Outlet {
    /// Says it. What was said before, and has not been passed on, no longer counts.
    pub fn say(&self, said: Said) {
        // Where nobody listens, the source is about to be aborted.
        let _ = self.0.send(said);
    }
}

/// A backend's name where its source has none: its address, as `/server_up` does it (`10.0.0.7-5000`).
#[must_use]
pub fn name_of(address: &Address) -> String {
    let (host, port) = match address {
        Address::Ip(ip) => (ip.ip().to_string(), ip.port()),
        Address::Name(host, port) => (host.clone(), *port),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name = format!("{}-{port}", host.chars().map(plain).collect::<String>());
    // What is too long is told apart by its end, which has the port.
    let cut = name.len().saturating_sub(NAME_MOST);
    name[cut..].to_owned()
}

/// Asks a source from now on; what it says arrives in `events` under `number`.
pub(crate) fn start(
    finder: Finder,
    settings: &config::Discovery,
    number: u64,
    events: mpsc::UnboundedSender<Event>,
) -> AbortHandle {
    let (news, inbox) = mpsc::unbounded_channel();
    let (settle, regions) = (settings.settle, settings.regions.clone());
    let send = move |said: Said| {
        let said = said.map(|mut all| {
            for found in &mut all {
                if let Some(region) = regions.get(&found.region) {
                    found.region.clone_from(region);
                }
            }
            all
        });
        events.send(Event::Discovered(number, said)).is_ok()
    };
    let task = tokio::task::spawn_local(async move {
        tokio::select! {
            () = ask(finder, Outlet(news)) => {}
            () = pass_on(inbox, settle, send) => {}
        }
    });
    task.abort_handle()
}

async fn ask(finder: Finder, outlet: Outlet) {
    match finder {
        Finder::File(path) => file::watch(&path, &outlet).await,
        Finder::Kubernetes(settings) => kubernetes::watch(&settings, &outlet).await,
        Finder::Dns(settings) => dns::watch(&settings, &outlet).await,
    }
}

/// Passes on the last list, and behind it the error if that came later, [`config::Discovery::settle`] after the first.
async fn pass_on(mut inbox: mpsc::UnboundedReceiver<Said>, settle: Duration, send: impl Fn(Said) -> bool) {
    while let Some(first) = inbox.recv().await {
        tokio::time::sleep(settle).await;
        let (mut list, mut error) = (None, None);
        let mut next = Some(first);
        while let Some(said) = next {
            match said {
                Ok(all) => (list, error) = (Some(all), None),
                Err(reason) => error = Some(reason),
            }
            next = inbox.try_recv().ok();
        }
        let said = list.map(Ok).into_iter().chain(error.map(Err));
        for said in said {
            if !send(said) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
