//! A fact in words, and as fields for JSON and logs.
//!
//! Both are matches without `..` where fields are listed, so that a new field cannot be forgotten in the output.

use super::Fact;
use crate::breaker::Reason;

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number, in the unit that the field's name says.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Value::Text(text.clone())
    }
}

impl From<&&'static str> for Value {
    fn from(text: &&'static str) -> Self {
        Value::Text((*text).to_owned())
    }
}

impl From<&bool> for Value {
    fn from(flag: &bool) -> Self {
        Value::Flag(*flag)
    }
}

impl From<&Vec<String>> for Value {
    fn from(texts: &Vec<String>) -> Self {
        Value::Text(texts.join(", "))
    }
}

impl From<&Reason> for Value {
    fn from(reason: &Reason) -> Self {
        Value::Text(reason.name().to_owned())
    }
}

/// Numbers of every kind become `f64`: exact up to 2⁵³, and JSON has no others.
macro_rules! numbers {
    ($($kind:ty),*) => {
        $(impl From<&$kind> for Value {
            #[allow(clippy::cast_lossless, reason = "not every kind has a lossless conversion")]
            fn from(number: &$kind) -> Self {
                Value::Number(*number as f64)
            }
        })*
    };
}

numbers!(u32, u64, usize, f64);

/// Bindings as fields of the same names.
macro_rules! fields {
    ($($name:ident),*) => { vec![$((stringify!($name), Value::from($name))),*] };
}

impl Fact {
    /// Its fields by name, in the order declared; a reason's own numbers come last.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        match self {
            Fact::Joined { backend, address } => fields![backend, address],
            Fact::Left { backend, in_flight } | Fact::Draining { backend, in_flight } => {
                fields![backend, in_flight]
            }
            Fact::Healthy { backend, was } => fields![backend, was],
            Fact::Unhealthy { backend, reason } => fields![backend, reason],
            Fact::Ejected { backend, reason, seconds, level, ejected, allowed } => {
                let mut fields = fields![backend, reason, seconds, level, ejected, allowed];
                fields.extend(numbers(reason));
                fields
            }
            Fact::Spared { backend, reason, allowed } => {
                let mut fields = fields![backend, reason, allowed];
                fields.extend(numbers(reason));
                fields
            }
            Fact::Trial { backend }
            | Fact::Restored { backend }
            | Fact::Warm { backend }
            | Fact::Relieved { backend }
            | Fact::SignalsBack { backend } => fields![backend],
            Fact::SignalsLost { backend, reason } => fields![backend, reason],
            Fact::Saturated { backend, seconds } => fields![backend, seconds],
            Fact::Panic { on, eligible, total, threshold } => fields![on, eligible, total, threshold],
            Fact::ReplicaDied { replica, reason } => fields![replica, reason],
            Fact::ReplicaStarted { replica, address, milliseconds } => {
                fields![replica, address, milliseconds]
            }
            Fact::ReplicaFailed { reason, next_try_seconds } => fields![reason, next_try_seconds],
            Fact::Scaled { from, to, in_flight } => fields![from, to, in_flight],
            Fact::Reloaded { changed } => fields![changed],
            Fact::Switched { from, to, reason } => fields![from, to, reason],
            Fact::ReloadRefused { faults } => fields![faults],
            Fact::StateRefused { file, kept_as, reason } => fields![file, kept_as, reason],
            Fact::Failing { on } => fields![on],
            Fact::Excused { backend } => fields![backend],
            Fact::Signals { backend, from, to, age } => fields![backend, from, to, age],
            Fact::Capacity { backend, from, to, rate, busy } => fields![backend, from, to, rate, busy],
            Fact::Doubted { backend, claimed, latency } => fields![backend, claimed, latency],
            Fact::Gated { backend, left, memory, connections } => {
                fields![backend, left, memory, connections]
            }
            Fact::GeoSwapped { database, built } => fields![database, built],
            Fact::GeoRefused { database, reason } => fields![database, reason],
            Fact::StoreLost { store, reason } => fields![store, reason],
            Fact::StoreBack { store, balancers } => fields![store, balancers],
            Fact::DiscoveryLost { source, reason, backends } => fields![source, reason, backends],
            Fact::DiscoveryBack { source, backends } => fields![source, backends],
            Fact::NameTaken { instance } => fields![instance],
            Fact::CertificatesRenewed { place, ends } => fields![place, ends],
            Fact::CertificatesRefused { place, reason } => fields![place, reason],
            Fact::Memory { on, used, limit, in_flight } => fields![on, used, limit, in_flight],
            Fact::UpgradeFailed { reason } => fields![reason],
        }
    }

    /// One sentence with the numbers, for people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Fact::Joined { backend, address } => format!("{backend} joined at {address}"),
            Fact::Left { backend, in_flight: 0 } => format!("{backend} left with nothing in flight"),
            Fact::Left { backend, in_flight } => {
                format!("{backend} left with {} in flight", requests(*in_flight))
            }
            Fact::Draining { backend, in_flight } => {
                format!("{backend} is draining with {} in flight", requests(*in_flight))
            }
            Fact::Healthy { backend, was } => format!("{backend} is healthy (was {was})"),
            Fact::Unhealthy { backend, reason } => format!("{backend} is unhealthy: {reason}"),
            Fact::Ejected { backend, reason, seconds, level: _, ejected, allowed } => format!(
                "{backend} is ejected for {seconds:.1} s because {reason} ({ejected} of at most {allowed} are out)"
            ),
            Fact::Spared { backend, reason, allowed } => format!(
                "{backend} is not ejected although {reason}: no more than {allowed} may be out at once"
            ),
            Fact::Trial { backend } => format!("{backend} may take one request on trial"),
            Fact::Restored { backend } => format!("{backend} passed its trial and takes traffic again"),
            Fact::Warm { backend } => format!("{backend} is warm and gets its whole share"),
            Fact::Saturated { backend, seconds } => {
                format!("{backend} is saturated and gets nothing for {seconds:.1} s")
            }
            Fact::Relieved { backend } => format!("{backend} is no longer saturated"),
            Fact::SignalsLost { backend, reason } => format!("{backend} no longer tells how it is: {reason}"),
            Fact::SignalsBack { backend } => format!("{backend} tells how it is again"),
            Fact::Panic { on, eligible, total, threshold } => {
                let (side, ejection) =
                    if *on { ("below", "ignored") } else { ("no longer below", "respected") };
                let percent = threshold * 100.0;
                format!(
                    "{eligible} of {total} backends are eligible, {side} the panic threshold of {percent:.0} %: \
                     ejection is {ejection}"
                )
            }
            Fact::ReplicaDied { replica, reason } => format!("replica {replica} died: {reason}"),
            Fact::ReplicaStarted { replica, address, milliseconds } => {
                format!("replica {replica} started at {address} in {milliseconds} ms")
            }
            Fact::ReplicaFailed { reason, next_try_seconds } => {
                format!("no replica could be started: {reason}; next try in {next_try_seconds:.1} s")
            }
            Fact::Scaled { from, to, in_flight } => {
                format!("scaled from {from} to {to} replicas for {in_flight:.1} requests in flight")
            }
            Fact::Reloaded { changed } if changed.is_empty() => "reloaded: nothing changed".to_owned(),
            Fact::Reloaded { changed } => format!("reloaded: changed {}", changed.join(", ")),
            Fact::Switched { from, to, reason } => {
                format!("the pool's algorithm is {to} (was {from}) because of a {reason}")
            }
            Fact::ReloadRefused { faults } => {
                format!("reload refused, the old configuration holds: {faults}")
            }
            Fact::StateRefused { file, kept_as, reason } => {
                format!("state in {file} refused: {reason}; kept as {kept_as}, starting without it")
            }
            Fact::Failing { on: true } => {
                "most of the pool fails often: answers of 500 and more eject nobody meanwhile".to_owned()
            }
            Fact::Failing { on: false } => "most of the pool answers well again".to_owned(),
            Fact::Excused { backend } => {
                format!(
                    "{backend} failed its trial, which is not held against it now, and takes traffic again"
                )
            }
            Fact::Signals { backend, from, to, age } => {
                format!("signals of {backend} are {to} (were {from}), the last {age:.1} s old")
            }
            Fact::Capacity { backend, from, to, rate, busy } => format!(
                "{backend} can do {to:.2} times the pool's median (was {from:.2}): {rate:.0} good answers a second at \
                 full use, seen at {:.0} %",
                busy * 100.0
            ),
            Fact::Doubted { backend, claimed, latency } => format!(
                "{backend} claims {claimed:.2} times the pool's capacity but takes {latency:.2} times the pool's latency: \
                 its reports are not believed"
            ),
            Fact::Gated { backend, left, .. } if *left >= 1.0 => {
                format!("{backend} has memory and connections to spare again")
            }
            Fact::Gated { backend, left, memory, connections } => format!(
                "{backend} runs out of memory ({:.0} %) or connections ({:.0} %) and keeps {:.0} % of its share",
                memory * 100.0,
                connections * 100.0,
                left * 100.0
            ),
            Fact::GeoSwapped { database, built } => {
                format!("the country database {database} is in force, built at {built} (Unix seconds)")
            }
            Fact::GeoRefused { database, reason } => {
                format!(
                    "the country database {database} {reason}; the one before it holds, or the bundled one"
                )
            }
            Fact::StoreLost { store, reason } => {
                format!("the store {store} is lost: {reason}; this balancer goes on alone")
            }
            Fact::StoreBack { store, balancers } => {
                let who = if *balancers == 1 {
                    "nobody else is in it".to_owned()
                } else {
                    format!("{balancers} balancers meet in it")
                };
                format!("the store {store} is there: {who}")
            }
            Fact::DiscoveryLost { source, reason, backends } => {
                format!("discovery by {source} fails: {reason}; its last list holds ({backends} backends)")
            }
            Fact::DiscoveryBack { source, backends } => {
                format!("discovery by {source} works: it lists {backends} backends")
            }
            Fact::CertificatesRenewed { place, ends: 0 } => {
                format!("certificates were read again for {place} and are in force")
            }
            Fact::CertificatesRenewed { place, ends } => {
                format!("new certificates are in force for {place}, the first ends at {ends} (Unix seconds)")
            }
            Fact::CertificatesRefused { place, reason } => {
                format!("new certificates for {place} refused, the old ones hold: {reason}")
            }
            Fact::NameTaken { instance } => format!(
                "another balancer is called {instance}, too, and the two do not hear each other: give each a store.instance \
                 of its own"
            ),
            Fact::Memory { on, used, limit, in_flight } => {
                let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
                let (used, limit) = (mib(used), mib(limit));
                let state = if *on { "fewer requests are let in" } else { "there is room for all again" };
                format!(
                    "{used:.0} MiB of {limit:.0} MiB are in use with {in_flight} requests in flight: {state}"
                )
            }
            Fact::UpgradeFailed { reason } => format!("the upgrade failed, this process goes on: {reason}"),
        }
    }
}

/// The numbers behind a reason.
fn numbers(reason: &Reason) -> Vec<(&'static str, Value)> {
    match reason {
        Reason::Consecutive { cause: _, run } => fields![run],
        Reason::SuccessRate { rate, others, deviation, requests } => {
            fields![rate, others, deviation, requests]
        }
        Reason::Trial => Vec::new(),
        Reason::Voted { voters } => fields![voters],
    }
}

fn requests(n: u32) -> String {
    if n == 1 { "1 request".to_owned() } else { format!("{n} requests") }
}

#[cfg(test)]
mod tests;
