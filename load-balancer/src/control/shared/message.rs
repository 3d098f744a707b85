//! The form of what balancers tell each other: JSON, so that it can be read in Redis by people, too.
//!
//! Fields that are missing say nothing and unknown ones are passed over, so balancers of different versions understand
//! each other as far as they can. What is in a message is a claim: values are checked where they are used.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::roster::Word;
use lb_core::signal::Report;
use serde::{Deserialize, Serialize};

use crate::limiter::usage::Round;

/// All that one balancer tells.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Message {
    /// Who says it: a balancer's name and the number of its start.
    pub(crate) speaker: String,
    /// What was said last about members that are not as configured.
    pub(crate) members: Vec<Told>,
    /// By name and address: there may be several of a name where each balancer starts its own.
    pub(crate) backends: BTreeMap<String, About>,
    /// Who used shared rate limits of late, by the limit's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) rates: BTreeMap<String, Vec<Round>>,
}

/// A word about a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    name: String,
    number: u64,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<Place>,
    /// Of a removal: of a configured backend. Any other concerns none, whatever it is called.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    retired: bool,
}

/// What a member is, for those who did not bring it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(super) kind: Kind,
    pub(super) address: String,
    pub(super) weight: u32,
    #[serde(default)]
    pub(super) region: String,
    /// Its number in the order of members.
    #[serde(default)]
    pub(super) ordinal: u32,
    /// Whoever runs it has ended: not there now, but not removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) away: bool,
}

/// How a member came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// It is in the configuration, and was removed at some time.
    Configured,
    /// It announced itself.
    Registered,
    /// Whoever says so runs it.
    Replica,
}

/// What one balancer knows of a backend. Times are milliseconds as of the moment it was said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct About {
    /// It has ejected the backend by its own traffic, for so much longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ejected_ms: Option<u64>,
    /// It has been warming up for so long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warming_ms: Option<u64>,
    /// Good answers a second at full use, and measurements of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<(f64, u32)>,
    /// What its last scrape brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<Reported>,
    /// Whether the checks pass of one that could be forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) up: Option<bool>,
}

/// A scrape's report.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reported {
    /// Grows by one with each, so that none is taken twice.
    pub(super) count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    good: Option<f64>,
}

impl Told {
    pub(super) fn new(name: &str, word: &Word<Place>) -> Self {
        let Word { number, by, member, retired } = word.clone();
        Told { name: name.to_owned(), number, by, member, retired }
    }

    pub(super) fn numbered(&self) -> (String, u64) {
        (self.name.clone(), self.number)
    }

    pub(crate) fn word(self) -> (String, Word<Place>) {
        let Told { name, number, by, member, retired } = self;
        (name, Word { number, by, member, retired })
    }
}

impl About {
    pub(super) fn says_something(&self) -> bool {
        let About { ejected_ms, warming_ms, rate, report, up } = self;
        ejected_ms.is_some() || warming_ms.is_some() || rate.is_some() || report.is_some() || up.is_some()
    }
}

impl Reported {
    pub(super) fn new(count: u64, report: &Report) -> Self {
        let Report { utilization, cpu, memory, connections, in_flight, good } = report.credible();
        Reported { count, utilization, cpu, memory, connections, in_flight, good }
    }

    pub(crate) fn report(&self) -> Report {
        let Reported { count: _, utilization, cpu, memory, connections, in_flight, good } = *self;
        Report { utilization, cpu, memory, connections, in_flight, good }.credible()
    }
}

/// A duration as it is told.
pub(super) fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_it_was_written_and_passes_over_what_it_does_not_know() {
        let report = Report { cpu: Some(0.5), good: Some(7.0), ..Report::default() };
        let about =
            About { report: Some(Reported::new(3, &report)), rate: Some((4.5, 2)), ..About::default() };
        let place = Place {
            kind: Kind::Registered,
            address: "10.0.0.7:80".into(),
            weight: 1,
            region: String::new(),
            ordinal: 7,
            away: false,
        };
        let word = Word { number: 4, by: "a".into(), member: Some(place), retired: false };
        let backends = BTreeMap::from([("b1 10.0.0.1:80".to_owned(), about)]);
        let written = serde_json::to_string(&Message {
            speaker: "a/1".into(),
            members: vec![Told::new("S5", &word)],
            backends,
            rates: BTreeMap::new(),
        })
        .unwrap();
        let read: Message = serde_json::from_str(&written).unwrap();
        assert_eq!(read.members[0].clone().word(), ("S5".to_owned(), word));
        assert_eq!(read.backends["b1 10.0.0.1:80"].report.unwrap().report(), report);
        assert!(!written.contains("away") && !written.contains("warming"), "{written}");
        let later = r#"{"news":1,"members":[{"name":"S5","number":5,"by":"a"}],
            "backends":{"b1":{"mood":"fine","ejected_ms":5}}}"#;
        let read: Message = serde_json::from_str(later).unwrap();
        assert_eq!(read.backends["b1"].ejected_ms, Some(5));
        let removal = Word { number: 5, by: "a".into(), member: None, retired: false };
        assert_eq!(read.members[0].clone().word().1, removal);
        let retired = serde_json::to_string(&Told::new("b1", &Word { retired: true, ..removal })).unwrap();
        assert!(serde_json::from_str::<Told>(&retired).unwrap().retired, "{retired}");
    }
}
