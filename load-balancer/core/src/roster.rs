//! Membership that several balancers change, without a leader: each holds the whole list, tells it, and takes in what others
//! tell. Whatever comes in whatever order and however often, all end with the same list.
//!
//! Each name has the last word that was said about it. Words are numbered by a Lamport clock ("Time, clocks, and the
//! ordering of events in a distributed system", CACM 21, 1978): one more than the highest that was heard, so no wall clock
//! matters and nothing is lost when the place they meet in is emptied. A removal is a word, too, and is remembered until
//! everybody has heard it.
//!
//! It fails where two speak about one name at the same time: the word of whose identity sorts last stands, everywhere.

use std::collections::BTreeMap;

/// The last word about a name. Compared by its number, then by who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<T> {
    /// Greater than every number its speaker had heard.
    pub number: u64,
    /// Who said it.
    pub by: String,
    /// What the member is; `None` where it was removed.
    pub member: Option<T>,
    /// A removal that its operator wanted, of a member that everybody knows without being told.
    pub retired: bool,
}

impl<T> Word<T> {
    fn rank(&self) -> (u64, &str) {
        (self.number, &self.by)
    }
}

/// One balancer's list.
#[derive(Debug, Clone)]
pub struct Roster<T> {
    own: String,
    highest: u64,
    words: BTreeMap<String, Word<T>>,
}

impl<T: Clone + PartialEq> Roster<T> {
    /// An empty list of the balancer called `own`: a name of this start only, for numbers begin anew with it.
    #[must_use]
    pub fn new(own: &str) -> Self {
        Roster { own: own.to_owned(), highest: 0, words: BTreeMap::new() }
    }

    /// Says that `name` is `member` (`None`: is no more). Saying again what is said already changes nothing.
    pub fn say(&mut self, name: &str, member: Option<T>) {
        self.speak(name, member, false);
    }

    /// Says that `name`, which everybody knows without being told, is no more.
    pub fn retire(&mut self, name: &str) {
        self.speak(name, None, true);
    }

    fn speak(&mut self, name: &str, member: Option<T>, retired: bool) {
        if self.words.get(name).is_some_and(|word| word.member == member && word.retired == retired) {
            return;
        }
        self.highest += 1;
        let word = Word { number: self.highest, by: self.own.clone(), member, retired };
        self.words.insert(name.to_owned(), word);
    }

    /// Says what was so before a restart: any word that others have heard since, or had heard before, stands against it.
    pub fn remember(&mut self, name: &str, member: Option<T>) {
        let word = Word { number: 0, by: self.own.clone(), member, retired: false };
        self.words.insert(name.to_owned(), word);
    }

    /// Takes in a word of others; true where it is news.
    pub fn hear(&mut self, name: &str, word: &Word<T>) -> bool {
        self.highest = self.highest.max(word.number);
        if self.words.get(name).is_some_and(|known| known.rank() >= word.rank()) {
            return false;
        }
        self.words.insert(name.to_owned(), word.clone());
        true
    }

    /// The last word about `name`.
    #[must_use]
    pub fn word(&self, name: &str) -> Option<&Word<T>> {
        self.words.get(name)
    }

    /// Every name with its last word.
    pub fn words(&self) -> impl Iterator<Item = (&str, &Word<T>)> {
        self.words.iter().map(|(name, word)| (name.as_str(), word))
    }

    /// Forgets the oldest removals beyond `most`: a list that is told every second cannot grow for ever. Whoever has not
    /// heard of one by then may bring the member back.
    pub fn prune(&mut self, most: usize) {
        let mut removed: Vec<(u64, String)> = self
            .words
            .iter()
            .filter(|(_, word)| word.member.is_none())
            .map(|(name, word)| (word.number, name.clone()))
            .collect();
        let excess = removed.len().saturating_sub(most);
        removed.sort_unstable();
        for (_, name) in removed.drain(..excess) {
            self.words.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn list(roster: &Roster<u32>) -> BTreeMap<String, Word<u32>> {
        roster.words().map(|(name, word)| (name.to_owned(), word.clone())).collect()
    }

    fn tell(from: &Roster<u32>, to: &mut Roster<u32>) -> usize {
        from.words().filter(|(name, word)| to.hear(name, word)).count()
    }

    fn hear_all(to: &mut Roster<u32>, from: &Roster<u32>) {
        tell(from, to);
    }

    #[test]
    fn the_last_word_stands_and_a_removal_is_one() {
        let (mut a, mut b) = (Roster::new("a"), Roster::new("b"));
        a.say("S1", Some(1));
        assert_eq!((tell(&a, &mut b), tell(&a, &mut b)), (1, 0));
        b.say("S1", None);
        assert_eq!((tell(&a, &mut b), tell(&b, &mut a)), (0, 1));
        assert_eq!((list(&a), a.word("S1").unwrap().member), (list(&b), None));
        a.say("S1", Some(2));
        tell(&a, &mut b);
        assert_eq!(
            b.word("S1"),
            Some(&Word { number: 3, by: "a".to_owned(), member: Some(2), retired: false })
        );
        b.say("S1", Some(2));
        assert_eq!(b.word("S1").unwrap().by, "a", "said already");
    }

    /// Balancers that speak and are told in any order, old news included, come to agree; and what was said last of all,
    /// after everything had been heard, stands.
    #[test]
    fn all_come_to_agree() {
        for seed in 0..200 {
            let mut rng = Rng::seeded(seed);
            let mut all: Vec<Roster<u32>> = ["a", "b", "c", "d"].map(Roster::new).into();
            let mut old = all.clone();
            for step in 0..300u32 {
                let (at, from) = (rng.below(4) as usize, rng.below(4) as usize);
                let name = format!("S{}", rng.below(6));
                match rng.below(5) {
                    0 => all[at].say(&name, Some(step)),
                    1 => all[at].say(&name, None),
                    2 => old[at] = all[at].clone(),
                    _ => {
                        let told = if rng.below(3) == 0 { old[from].clone() } else { all[from].clone() };
                        tell(&told, &mut all[at]);
                    }
                }
            }
            for _ in 0..2 {
                for at in 0..4 {
                    let told = all[at].clone();
                    all.iter_mut().for_each(|other| hear_all(other, &told));
                }
            }
            assert!(all.iter().all(|roster| list(roster) == list(&all[0])), "seed {seed}");
            let last = rng.below(4) as usize;
            all[last].say("S1", Some(1_000));
            let told = all[last].clone();
            all.iter_mut().for_each(|other| hear_all(other, &told));
            assert!(all.iter().all(|roster| roster.word("S1").unwrap().member == Some(1_000)));
        }
    }

    /// The other knows that the member was removed, and must learn that this was meant for good.
    #[test]
    fn to_retire_is_more_than_to_remove() {
        let (mut a, mut b) = (Roster::<u32>::new("a"), Roster::new("b"));
        a.say("S1", None);
        tell(&a, &mut b);
        b.retire("S1");
        b.retire("S1");
        assert_eq!((tell(&b, &mut a), a.word("S1").unwrap().number), (1, 2));
        assert!(a.word("S1").unwrap().retired);
        a.say("S1", Some(1));
        assert!(!a.word("S1").unwrap().retired);
    }

    /// Who starts again says other things under the same numbers; others must take one of the two, and all the same.
    #[test]
    fn two_starts_of_one_balancer_agree_with_the_others() {
        let (mut before, mut after, mut other) = (Roster::new("a/1"), Roster::new("a/2"), Roster::new("b/1"));
        before.say("S9", Some(1));
        tell(&before, &mut other);
        after.say("S9", Some(2));
        tell(&after, &mut other);
        tell(&other, &mut after);
        assert_eq!(list(&after), list(&other));
        assert_eq!(other.word("S9").unwrap().member, Some(2));
    }

    #[test]
    fn what_is_remembered_yields_to_what_was_said() {
        let (mut a, mut b) = (Roster::new("a"), Roster::new("b"));
        b.say("S1", None);
        a.remember("S0", Some(0));
        a.remember("S1", Some(1));
        assert_eq!((tell(&a, &mut b), tell(&b, &mut a)), (1, 1));
        assert_eq!((a.word("S1").unwrap().member, list(&a)), (None, list(&b)));
        a.say("S1", Some(2));
        assert_eq!(tell(&a, &mut b), 1);
    }

    #[test]
    fn old_removals_are_forgotten_members_never() {
        let mut roster = Roster::new("a");
        for n in 0..10u32 {
            roster.say(&format!("S{n}"), Some(n));
            if n < 7 {
                roster.say(&format!("S{n}"), None);
            }
        }
        roster.prune(2);
        let names: Vec<&str> = roster.words().map(|(name, _)| name).collect();
        assert_eq!(names, ["S5", "S6", "S7", "S8", "S9"]);
    }
}
