//! Messages of other balancers in the shared store: read the same after being written again, believed within bounds, and words
//! about members that come to one list whatever comes first.

use std::collections::BTreeMap;

use lb_core::Tick;
use lb_core::capacity::{Candidate, Meter, Rules, stand};
use lb_core::roster::{Roster, Word};
use load_balancer::fuzzing::message;

use super::orca::believable;

/// The input is a message.
pub fn run(data: &[u8]) {
    let Some(heard) = message(data) else { return };
    let again = message(&heard.again).unwrap_or_else(|| panic!("we cannot read what we write"));
    assert_eq!(heard.words, again.words);
    assert_eq!((heard.reports.len(), heard.rates.len()), (again.reports.len(), again.rates.len()));
    heard.reports.iter().for_each(believable);

    seeded(&heard.rates);

    let mut ranks = BTreeMap::new();
    for (name, word) in &heard.words {
        // Two words of one rank are no honest balancer's: its numbers are its own.
        if ranks.insert((name, word.number, &word.by), word).is_some_and(|other| other != word) {
            return;
        }
    }
    let list = |words: &mut dyn Iterator<Item = &(String, Word<String>)>| -> BTreeMap<String, Word<String>> {
        let mut roster = Roster::new("own/1");
        words.for_each(|(name, word)| {
            roster.hear(name, word);
        });
        roster.words().map(|(name, word)| (name.to_owned(), word.clone())).collect()
    };
    let told = list(&mut heard.words.iter());
    assert_eq!(told, list(&mut heard.words.iter().rev()), "another order, another list");
    assert_eq!(told, list(&mut heard.words.iter().chain(&heard.words)), "twice is once");
}

/// A backend of which others say these rates can do something, and so can one that nobody has spoken of.
fn seeded(rates: &[(f64, u32)]) {
    let mut meters = [Meter::default(), Meter::default()];
    meters[0].seed(Tick::ZERO, rates.iter().copied());
    let candidate = |meter| Candidate { meter, latency: 1.0, good: 0, ready: true };
    let mut pool: Vec<Candidate<'_>> = meters.iter_mut().map(candidate).collect();
    for standing in stand(Tick::ZERO, &Rules::default(), &mut pool) {
        assert!(standing.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0), "{rates:?}: {standing:?}");
        assert!(standing.capacity.is_finite() && standing.capacity > 0.0, "{rates:?}: {standing:?}");
    }
}
