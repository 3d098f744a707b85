//! Doors for the fuzz targets (`load-balancer/fuzz`) into rooms that are private otherwise: what reads others' bytes and does
//! nothing yet. No logic of its own and no promise: nothing else may call it.
//!
//! Plain functions and no feature, so that what is fuzzed is what everybody runs; the linker leaves out what nobody calls.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use lb_core::roster::Word;
use lb_core::signal::Report;

use crate::admin::{membership, registration};
use crate::config::{Labels, Port};
use crate::control::shared::message::Message;
use crate::discovery::Found;
use crate::discovery::kubernetes::slices;
use crate::observe::access::escape;

/// What `/add` and `/rm` read in a body: how many backends, and their names.
///
/// # Errors
/// What whoever asked is answered.
pub fn numbered(body: &[u8]) -> Result<(usize, Vec<String>), String> {
    membership::numbered(body).map_err(|(_, message)| message)
}

/// What `/server_up` reads in a body: the backend's name, its host, its port, and whether it speaks TLS.
///
/// # Errors
/// What whoever asked is answered.
pub fn announced(body: &[u8]) -> Result<(String, String, u16, bool), String> {
    let announced = registration::announced(body).map_err(|(_, message)| message)?;
    Ok((announced.name, announced.host, announced.port, announced.secure))
}

/// What a balancer reads in another's message.
pub struct Heard {
    /// The message as this balancer would write it.
    pub again: Vec<u8>,
    /// Words about members, a member in words for people.
    pub words: Vec<(String, Word<String>)>,
    /// What scrapes have brought.
    pub reports: Vec<Report>,
    /// Measured rates, and how often each was measured.
    pub rates: Vec<(f64, u32)>,
}

/// Reads another balancer's message; `None` where it is none.
#[must_use]
pub fn message(bytes: &[u8]) -> Option<Heard> {
    let message: Message = serde_json::from_slice(bytes).ok()?;
    let again = serde_json::to_vec(&message).ok()?;
    let reports = message.backends.values().filter_map(|about| Some(about.report?.report())).collect();
    let rates = message.backends.values().filter_map(|about| about.rate).collect();
    let word = |(name, word): (String, Word<_>)| {
        let Word { number, by, member, retired } = word;
        (name, Word { number, by, member: member.map(|member| format!("{member:?}")), retired })
    };
    let words = message.members.into_iter().map(|told| word(told.word())).collect();
    Some(Heard { again, words, reports, rates })
}

/// EndpointSlices as an API server lists them.
pub struct Slices(Vec<EndpointSlice>);

impl Slices {
    /// Reads a JSON array; `None` where it is none, or not of EndpointSlices.
    #[must_use]
    pub fn read(json: &[u8]) -> Option<Slices> {
        serde_json::from_slice(json).ok().map(Slices)
    }

    /// Turns their order round.
    pub fn turn(&mut self) {
        self.0.reverse();
    }

    /// The backends that they name.
    ///
    /// # Errors
    /// Where it is not clear which port is meant.
    pub fn found(&self, port: &Port, labels: &Labels) -> Result<Vec<Found>, String> {
        slices::found(self.0.iter(), port, labels)
    }
}

/// Bytes of a client's as the access log writes them.
#[must_use]
pub fn escaped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    escape::escaped(&mut out, bytes);
    out
}
