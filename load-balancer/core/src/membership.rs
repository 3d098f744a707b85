//! What a change of membership does, decided before anything is done: a plan is granted whole or refused whole.
//!
//! The caller asks for a number of backends and may name some of them; the rest is chosen here. A refusal says which
//! field is wrong and what would help, and is made before the first replica is started or drained, so there is nothing
//! to undo. It fails if the membership changes between planning and doing: plan and act within one step of the control
//! side.

use std::collections::BTreeSet;
use std::fmt;

use crate::rng::Rng;

/// Longest DNS label, in bytes (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;
/// Random characters in a fresh name: 36⁶, two thousand million, so that the first draw is nearly always free.
const FRESH_CHARS: usize = 6;
/// Lower case only: DNS does not tell cases apart.
const BASE36: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Why a plan is refused. Its text is what the user is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// More names are given than backends asked for.
    TooManyNames {
        /// Whether they were to be removed (or added).
        removable: bool,
    },
    /// `n` is zero.
    NotPositive,
    /// This is no DNS label.
    Invalid(String),
    /// This name is given twice.
    Repeated(String),
    /// A backend of this name exists or is being created.
    Present(String),
    /// No removable backend has this name.
    Unknown(String),
    /// More are to be removed than there are.
    TooMany {
        /// How many were asked for.
        n: usize,
        /// How many are removable.
        have: usize,
    },
    /// There would be more backends than the limit.
    Full {
        /// The limit.
        most: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Error> ")?;
        match self {
            Refusal::TooManyNames { removable: false } => {
                f.write_str("Length of hostname list is more than newly added instances")
            }
            Refusal::TooManyNames { removable: true } => {
                f.write_str("Length of hostname list is more than removable instances")
            }
            Refusal::NotPositive => f.write_str("n: must be a positive number: ask for 1 or more"),
            Refusal::Invalid(name) => write!(
                f,
                "hostnames: '{}' is not a valid name: use 1 to 63 letters, digits and hyphens, with no hyphen at \
                 either end",
                Shown(name)
            ),
            Refusal::Repeated(name) => {
                write!(f, "hostnames: '{}' is given twice: give each name once", Shown(name))
            }
            Refusal::Present(name) => {
                write!(f, "hostnames: '{}' is already present: choose another name", Shown(name))
            }
            Refusal::Unknown(name) => {
                write!(f, "hostnames: '{}' is not a removable replica: choose one that is", Shown(name))
            }
            Refusal::TooMany { n, have: 0 } => write!(f, "n: {n} are to be removed and there is none"),
            Refusal::TooMany { n, have } => {
                write!(f, "n: {n} are to be removed and only {have} can be: ask for {have} or fewer")
            }
            Refusal::Full { most } => {
                write!(f, "n: there would be more than {most} replicas: ask for fewer or remove some first")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// What a stranger sent, fit to be repeated: cut to the length of a label and without control characters.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(MAX_LABEL).try_for_each(|c| write!(f, "{}", c.escape_debug()))?;
        f.write_str(if self.0.chars().nth(MAX_LABEL).is_some() { "…" } else { "" })
    }
}

/// Whether `name` is a DNS label: 1 to 63 ASCII letters, digits and hyphens, no hyphen at either end (RFC 1123, 2.1).
#[must_use]
pub fn valid_name(name: &str) -> bool {
    (1..=MAX_LABEL).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A valid random name that is not `taken`: "s-" and six letters or digits. `taken` must leave some such name free.
#[must_use]
pub fn fresh_name(taken: impl Fn(&str) -> bool, rng: &mut Rng) -> String {
    loop {
        let mut name = String::from("s-");
        name.extend((0..FRESH_CHARS).map(|_| char::from(BASE36[rng.below(36) as usize])));
        if !taken(&name) {
            return name;
        }
    }
}

/// The names of the `n` backends to add: those given, in their order, then fresh ones. `present` are the members and
/// those being created; there may be `most` in all. Names are compared to the letter, capitals included.
pub fn plan_add(
    n: usize,
    names: &[String],
    present: &[&str],
    most: usize,
    rng: &mut Rng,
) -> Result<Vec<String>, Refusal> {
    check(n, names, false)?;
    if let Some(name) = names.iter().find(|name| present.contains(&name.as_str())) {
        return Err(Refusal::Present(name.clone()));
    }
    if present.len().saturating_add(n) > most {
        return Err(Refusal::Full { most });
    }
    let mut plan = names.to_vec();
    while plan.len() < n {
        let taken = |name: &str| present.contains(&name) || plan.iter().any(|planned| planned == name);
        let name = fresh_name(taken, rng);
        plan.push(name);
    }
    Ok(plan)
}

/// The names of the `n` backends to remove: those given, in their order, then others of the (distinct) `removable`,
/// each equally likely.
pub fn plan_remove(
    n: usize,
    names: &[String],
    removable: &[&str],
    rng: &mut Rng,
) -> Result<Vec<String>, Refusal> {
    check(n, names, true)?;
    if let Some(name) = names.iter().find(|name| !removable.contains(&name.as_str())) {
        return Err(Refusal::Unknown(name.clone()));
    }
    if n > removable.len() {
        return Err(Refusal::TooMany { n, have: removable.len() });
    }
    let mut plan = names.to_vec();
    let mut rest: Vec<&str> = removable.iter().copied().filter(|&r| !names.iter().any(|n| n == r)).collect();
    while plan.len() < n && !rest.is_empty() {
        plan.push(rest.swap_remove(rng.below(rest.len() as u32) as usize).to_owned());
    }
    Ok(plan)
}

/// What adding and removing ask of `n` and the names alike.
fn check(n: usize, names: &[String], removable: bool) -> Result<(), Refusal> {
    if n == 0 {
        return Err(Refusal::NotPositive);
    }
    if names.len() > n {
        return Err(Refusal::TooManyNames { removable });
    }
    // Who is to be removed only has to be known: members that came otherwise may have other names.
    if let Some(name) = names.iter().find(|name| !removable && !valid_name(name)) {
        return Err(Refusal::Invalid(name.clone()));
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Refusal::Repeated(name.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the first reason to refuse is, said once more in another manner.
    fn refusal(
        add: bool,
        n: usize,
        names: &[String],
        members: &BTreeSet<String>,
        most: usize,
    ) -> Option<Refusal> {
        let first = |wrong: &dyn Fn(&String) -> bool| names.iter().find(|n| wrong(n)).cloned();
        let twice = (1..names.len()).find(|&at| names[..at].contains(&names[at])).map(|at| names[at].clone());
        let known = |name: &String| members.contains(name) == add;
        match () {
            () if n == 0 => Some(Refusal::NotPositive),
            () if names.len() > n => Some(Refusal::TooManyNames { removable: !add }),
            () if add && first(&|n| n.contains('_')).is_some() => {
                first(&|n| n.contains('_')).map(Refusal::Invalid)
            }
            () if twice.is_some() => twice.map(Refusal::Repeated),
            () if first(&known).is_some() => {
                first(&known).map(if add { Refusal::Present } else { Refusal::Unknown })
            }
            () if add && members.len() + n > most => Some(Refusal::Full { most }),
            () if !add && n > members.len() => Some(Refusal::TooMany { n, have: members.len() }),
            () => None,
        }
    }

    #[test]
    fn follows_the_model() {
        let (mut rng, mut granted, mut refused) = (Rng::seeded(51), 0, 0);
        for _ in 0..200 {
            let mut members: BTreeSet<String> = BTreeSet::new();
            let most = 3 + rng.below(10) as usize;
            for _ in 0..100 {
                let add = rng.below(2) == 0;
                let n = rng.below(5) as usize;
                let mut name = || match rng.below(40) {
                    0 => "not_valid".to_owned(),
                    _ => format!("S{}", rng.below(12)),
                };
                let mut names: Vec<String> = (0..n + 1).map(|_| name()).collect();
                names.truncate(rng.below(n as u32 + 2) as usize);
                let present: Vec<&str> = members.iter().map(String::as_str).collect();
                let plan = if add {
                    plan_add(n, &names, &present, most, &mut rng)
                } else {
                    plan_remove(n, &names, &present, &mut rng)
                };
                let expected = refusal(add, n, &names, &members, most);
                assert_eq!(plan.as_ref().err(), expected.as_ref(), "{names:?} {members:?}");
                let Ok(plan) = plan else {
                    refused += 1;
                    continue;
                };
                granted += 1;
                assert!(plan.starts_with(&names) && plan.len() == n);
                for name in plan {
                    assert!(valid_name(&name));
                    assert!(if add { members.insert(name) } else { members.remove(&name) });
                }
                assert!(members.len() <= most);
            }
        }
        assert!(granted > 2_000 && refused > 2_000, "{granted} {refused}");
    }

    #[test]
    fn names_are_dns_labels() {
        let longest = "x".repeat(63);
        for name in ["a", "S1", "0", "a-b", "a--b", "s-0a1b2c", &longest] {
            assert!(valid_name(name), "{name}");
        }
        for name in ["", "-", "-a", "a-", "a_b", "a.b", "a b", "ä", "a\n", &"x".repeat(64)] {
            assert!(!valid_name(name), "{name}");
        }
        let mut rng = Rng::seeded(52);
        let first = fresh_name(|_| false, &mut Rng::seeded(52));
        let other = fresh_name(|name| name == first, &mut rng);
        assert!(valid_name(&first) && first.len() == 8 && other != first);
    }

    #[test]
    fn removal_is_even() {
        let (mut rng, mut seen) = (Rng::seeded(53), [0; 5]);
        for _ in 0..20_000 {
            for name in plan_remove(2, &[], &["0", "1", "2", "3", "4"], &mut rng).unwrap() {
                seen[name.parse::<usize>().unwrap()] += 1;
            }
        }
        assert!(seen.iter().all(|n| (7_700..8_300).contains(n)), "{seen:?}");
    }

    #[test]
    fn refusals_name_the_field_and_the_fix() {
        let add = |n, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            plan_add(n, &names, &["S5"], 3, &mut Rng::seeded(1)).unwrap_err().to_string()
        };
        let texts = [
            (add(1, &["a", "b"]), "<Error> Length of hostname list is more than newly added instances"),
            (add(1, &["S5"]), "<Error> hostnames: 'S5' is already present: choose another name"),
            (add(2, &["a", "a"]), "<Error> hostnames: 'a' is given twice: give each name once"),
            (add(0, &["a"]), "<Error> n: must be a positive number: ask for 1 or more"),
            (
                add(usize::MAX, &[]),
                "<Error> n: there would be more than 3 replicas: ask for fewer or remove some first",
            ),
        ];
        for (text, expected) in texts {
            assert_eq!(text, expected);
        }
        let remove = |n, names: &[String]| {
            plan_remove(n, names, &["S5"], &mut Rng::seeded(1)).unwrap_err().to_string()
        };
        assert_eq!(
            remove(1, &["a".into(), "b".into()]),
            "<Error> Length of hostname list is more than removable instances"
        );
        assert_eq!(
            remove(1, &["a".into()]),
            "<Error> hostnames: 'a' is not a removable replica: choose one that is"
        );
        assert_eq!(remove(2, &[]), "<Error> n: 2 are to be removed and only 1 can be: ask for 1 or fewer");
        let text = add(1, &[&"\u{1b}".repeat(1_000)]);
        assert!(text.len() < 600 && !text.contains('\u{1b}') && text.contains('…'), "{text}");
    }
}
