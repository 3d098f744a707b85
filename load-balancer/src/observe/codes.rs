//! The label `code`: statuses that have a meaning stay exact, all others are one label.
//!
//! A backend can answer with any three digits. Each would be a series of its own, for each method and algorithm that
//! clients choose, and what one cannot name one cannot act on.

/// Whether a status is registered with IANA, or is the balancer's own 499 (the client left first).
#[must_use]
pub const fn known(code: u16) -> bool {
    matches!(
        code,
        100..=104 | 200..=208 | 226 | 300..=308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451 | 499 | 500..=508 | 510 | 511
    )
}

/// The key of all statuses that are not [`known`].
pub const OTHER: u16 = 0;

/// A status as a key of counters.
#[must_use]
pub const fn key(code: u16) -> u16 {
    if known(code) { code } else { OTHER }
}

/// A key as a label.
#[must_use]
pub fn label(key: u16) -> String {
    if key == OTHER { "other".to_owned() } else { key.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_statuses_few_have_a_name() {
        let labels: std::collections::BTreeSet<String> = (0..=999).map(|code| label(key(code))).collect();
        assert_eq!(labels.len(), 66);
        for code in ["100", "200", "301", "404", "418", "499", "503", "other"] {
            assert!(labels.contains(code), "{code}");
        }
        assert_eq!((label(key(999)), label(key(430))), ("other".to_owned(), "other".to_owned()));
    }
}
