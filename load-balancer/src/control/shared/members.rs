//! Membership that all balancers change: what is added or removed at one is added or drained at all.
//!
//! Backends of the configuration are everybody's already; only that one was removed, or brought back, is told. Those that
//! registered, and replicas that `/add`, scaling or a replacement started, are told with their addresses: for the others a
//! replica is a backend that whoever runs it heals. Replicas that the configuration names are each balancer's own.

use std::collections::BTreeSet;

use lb_core::roster::Word;

use super::super::Control;
use super::super::entry::{Entry, Origin};
use super::message::{Kind, Place, Told};
use crate::config::{Address, WEIGHT_MOST, is_name};

/// The largest number of a word that is believed: far above what a fleet can say, far below where counting ends.
const NUMBER_MOST: u64 = 1 << 53;

impl Control {
    /// What is told about members.
    pub(super) fn told_members(&self) -> Vec<Told> {
        self.sharing.roster.words().map(|(name, word)| Told::new(name, word)).collect()
    }

    /// Says that a member is there, where others would not know.
    pub(in super::super) fn say_joined(&mut self, at: usize) {
        let entry = &self.entries[at];
        let kind = match entry.origin {
            Origin::Registered => Kind::Registered,
            Origin::Replica if !self.is_configured(&entry.backend.name) => Kind::Replica,
            _ => return,
        };
        let place = Place {
            kind,
            address: entry.backend.address.to_string(),
            weight: entry.backend.weight,
            region: entry.backend.region.clone(),
            ordinal: entry.ordinal,
            away: false,
        };
        self.say(&entry.backend.name.clone(), Some(place));
    }

    /// Says that a member is gone for good, where others would go on sending to it.
    pub(in super::super) fn say_left(&mut self, name: &str, origin: Origin, retired: bool) {
        if matches!(origin, Origin::Discovered(_)) {
            // Each balancer sees for itself.
        } else if origin != Origin::Configured && !self.is_configured(name) {
            self.say(name, None);
        } else if origin == Origin::Configured && retired && self.speaks() {
            self.sharing.roster.retire(name);
            self.sharing.urgent.notify_one();
        }
    }

    /// Says that configured backends which were removed are back.
    pub(in super::super) fn say_recalled(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| self.is_configured(name)).cloned().collect::<Vec<_>>() {
            let place = Place {
                kind: Kind::Configured,
                address: String::new(),
                weight: 1,
                region: String::new(),
                ordinal: 0,
                away: false,
            };
            self.say(&name, Some(place));
        }
    }

    /// Says that a backend is back which the configuration names anew: a removal from when it was named before holds no more.
    pub(in super::super) fn say_named_anew(&mut self, name: &str) {
        if self.sharing.roster.word(name).is_some_and(|word| word.retired) {
            self.say_recalled(&[name.to_owned()]);
        }
    }

    /// Whether what changes now is this balancer's to tell.
    fn speaks(&self) -> bool {
        self.shares() && !self.sharing.hearing
    }

    fn say(&mut self, name: &str, member: Option<Place>) {
        if !self.speaks() {
            return;
        }
        if self.events.is_none() {
            // From before a restart: whatever others have heard since holds.
            return self.sharing.roster.remember(name, member);
        }
        self.sharing.roster.say(name, member);
        self.sharing.urgent.notify_one();
    }

    fn is_configured(&self, name: &str) -> bool {
        self.config.pool.backends.iter().any(|b| b.name == name)
    }

    /// Does what the others have done; true where there was anything.
    pub(super) fn follow_members(&mut self, words: Vec<Told>) -> bool {
        let mut news = BTreeSet::new();
        for (name, word) in words.into_iter().map(Told::word) {
            let sensible = is_name(&name) && word.number <= NUMBER_MOST;
            if sensible && self.sharing.roster.hear(&name, &word) {
                news.insert(name);
            }
        }
        for name in &news {
            self.follow_member(name);
        }
        // Numbers may have moved even where nobody came or went.
        self.reshaped |= !news.is_empty();
        !news.is_empty()
    }

    /// Takes in members there was no room for when they were told.
    pub(super) fn follow_missing(&mut self) {
        if self.taken().len() >= self.config.control.max_backends {
            return;
        }
        // Once a second for every word there is: each is looked up, not held against every member.
        let here = || self.entries.iter().filter(|e| e.leaving.is_none());
        let names: BTreeSet<&str> = here().map(|e| e.backend.name.as_str()).collect();
        let addresses: BTreeSet<String> = here().map(|e| e.backend.address.to_string()).collect();
        let missing = |(name, word): &(&str, &Word<Place>)| {
            let brought = |place: &&Place| place.kind != Kind::Configured && !place.away;
            let fits = |place: &Place| {
                !addresses.contains(&place.address)
                    && Address::parse(&place.address).is_some_and(|address| self.may_be_shared(&address))
            };
            !names.contains(name)
                && word.by != self.sharing.speaker
                && word.member.as_ref().filter(brought).is_some_and(fits)
                && !self.is_configured(name)
                && !self.supply.spoken_for().any(|spoken| spoken == *name)
        };
        let names: Vec<String> =
            self.sharing.roster.words().filter(missing).map(|(name, _)| name.to_owned()).collect();
        names.iter().for_each(|name| self.follow_member(name));
    }

    fn follow_member(&mut self, name: &str) {
        let Some(word) = self.sharing.roster.word(name).cloned() else { return };
        let at = self.entries.iter().position(|e| e.leaving.is_none() && e.backend.name == name);
        let origin = at.map(|at| self.entries[at].origin);
        if origin == Some(Origin::Replica) && (word.member.is_some() || self.is_configured(name)) {
            // It runs here, whatever is said of it: only its removal is heeded.
            return;
        }
        self.sharing.hearing = true;
        match &word.member {
            Some(place) if place.kind == Kind::Configured => {
                if self.retired.iter().any(|retired| retired == name) {
                    self.recall(vec![name.to_owned()]);
                }
            }
            Some(place) if !place.away => self.follow_place(name, place, at),
            gone => match origin {
                Some(Origin::Configured) if word.retired => self.leave(name, true),
                Some(Origin::Registered | Origin::Shared | Origin::Replica) => self.leave(name, false),
                // One that was to be started again.
                None if gone.is_none() && !self.is_configured(name) => self.supply.cancel(name),
                _ => {}
            },
        }
        self.sharing.hearing = false;
    }

    /// Says again that replicas run here of which others say something else, once these others are gone: what they said is
    /// from before a restart. While they live, both run one of that name.
    pub(super) fn reclaim(&mut self) {
        let here = |e: &&Entry| e.origin == Origin::Replica && e.leaving.is_none();
        let stale = |e: &Entry| {
            self.sharing.roster.word(&e.backend.name).is_some_and(|word| {
                let differs = word
                    .member
                    .as_ref()
                    .is_some_and(|place| place.away || place.address != e.backend.address.to_string());
                differs && word.by != self.sharing.speaker && self.sharing.speaks_still(&word.by).is_none()
            })
        };
        let ours: Vec<usize> =
            self.entries.iter().enumerate().filter(|(_, e)| here(e) && stale(e)).map(|(at, _)| at).collect();
        ours.into_iter().for_each(|at| self.say_joined(at));
    }

    /// Gives up replicas whose name another balancer's has, which was added there in the same second and has the last word;
    /// each is replaced under a fresh name. It must be of now: whoever spoke before ours was born may have been this
    /// balancer itself, before a crash.
    pub(super) fn yield_names(&mut self) {
        let lost = |e: &&Entry| {
            let others = |word: &&Word<Place>| word.by != self.sharing.speaker;
            let word = self.sharing.roster.word(&e.backend.name).filter(others);
            let elsewhere = |place: &Place| !place.away && place.address != e.backend.address.to_string();
            let spoke = |by: &str| self.sharing.speaks_still(by).is_some_and(|heard| heard.at > e.born);
            e.origin == Origin::Replica
                && e.leaving.is_none()
                && !self.is_configured(&e.backend.name)
                && word.is_some_and(|word| word.member.as_ref().is_some_and(elsewhere) && spoke(&word.by))
        };
        let of = |e: &Entry| (e.backend.name.clone(), e.backend.weight, e.backend.region.clone());
        let given_up: Vec<_> = self.entries.iter().filter(lost).map(of).collect();
        for (name, weight, region) in given_up {
            tracing::warn!(
                name,
                "another balancer runs a replica of this name: ours is replaced by a fresh one"
            );
            self.sharing.hearing = true;
            self.leave(&name, false);
            self.sharing.hearing = false;
            self.call_for(weight, region);
            self.follow_member(&name);
        }
    }

    /// A member is at `place`, somebody says; `at` is the entry of its name.
    fn follow_place(&mut self, name: &str, place: &Place, at: Option<usize>) {
        let Some(address) = Address::parse(&place.address).filter(|address| self.may_be_shared(address))
        else {
            tracing::warn!(
                name,
                address = place.address,
                "another balancer's backend is outside control.networks"
            );
            return;
        };
        match at.map(|at| (at, self.entries[at].origin)) {
            Some((at, _)) if self.entries[at].backend.address == address => return,
            Some((_, Origin::Configured | Origin::Replica | Origin::Discovered(_))) => return,
            Some((at, Origin::Registered | Origin::Shared)) => self.drop_entry(at),
            None if self.is_configured(name) => return,
            None => {}
        }
        // One that registered here as well, under another name.
        let same = |e: &Entry| e.leaving.is_none() && e.backend.address == address;
        if self.entries.iter().any(same) {
            return;
        }
        if self.taken().len() >= self.config.control.max_backends {
            tracing::warn!(name, "another balancer's backend is one more than control.max_backends");
            return;
        }
        let origin = if place.kind == Kind::Replica { Origin::Shared } else { Origin::Registered };
        let weight = place.weight.clamp(1, WEIGHT_MOST);
        let at = self.join(origin, name, address, weight, &place.region);
        self.count_joined(at);
    }

    /// Whether a backend at this address may be brought in by others: where one could register.
    fn may_be_shared(&self, address: &Address) -> bool {
        let Address::Ip(address) = address else { return false };
        self.config.control.networks.iter().any(|net| net.contains(&address.ip()))
    }

    /// Whether a backend that is down here may be forgotten: nobody who could know says that it is up, or runs it.
    pub(in super::super) fn may_forget(&self, entry: &Entry) -> bool {
        let runs = self.sharing.roster.word(&entry.backend.name).map(|word| word.by.as_str());
        let cared_for =
            entry.origin == Origin::Shared && runs.is_some_and(|by| self.sharing.speaks_still(by).is_some());
        self.sharing.up != Some(false) && !cared_for && !self.others_find_it_up(entry)
    }

    /// The end of this balancer: replicas that end with it are away. True where there are any.
    pub(in super::super) fn say_away(&mut self) -> bool {
        let ours = |e: &&Entry| e.origin == Origin::Replica && e.leaving.is_none();
        let names: Vec<String> = self.entries.iter().filter(ours).map(|e| e.backend.name.clone()).collect();
        let mut told = false;
        for name in names {
            let place = self.sharing.roster.word(&name).and_then(|word| word.member.clone());
            if let Some(place) = place {
                self.say(&name, Some(Place { away: true, ..place }));
                told = true;
            }
        }
        told
    }

    /// Whether all live others know what this balancer has said.
    pub(in super::super) fn all_know(&self) -> bool {
        let ours = self.sharing.roster.words().filter(|(_, word)| word.by == self.sharing.speaker);
        let said: Vec<(&str, u64)> = ours.map(|(name, word)| (name, word.number)).collect();
        let knows = |heard: &super::Heard| {
            said.iter().all(|(name, number)| heard.known.get(*name).is_some_and(|known| known >= number))
        };
        self.sharing.others.values().all(knows)
    }
}
