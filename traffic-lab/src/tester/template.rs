//! Text in which a request's number and random numbers stand where `{n}`, `{random}` and `{random:N}` are.
//!
//! A request's numbers follow from the seed and its own number alone, so that the same request has them whatever became
//! of the others. The last number put in is the request's key: what `consistent_hash` and its like choose by.
//! How it fails: other text in braces stays as it is.

use std::ops::Range;

use lb_core::Rng;

/// Spreads requests over the seeds; any large odd number.
const SPREAD: u64 = 0xd6e8_feb8_6659_fd93;
/// What `{random}` is drawn from: six digits, as request ids of the originals have.
const SIX_DIGITS: Range<u64> = 100_000..1_000_000;

/// Text with holes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number,
    Random(Range<u64>),
}

impl Template {
    /// Finds the holes of `text`.
    pub(crate) fn new(mut text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        while let Some(open) = text.find('{') {
            let (before, rest) = text.split_at(open);
            plain.push_str(before);
            let end = rest.find('}').map_or(1, |close| close + 1);
            match rest.get(..end).and_then(hole) {
                Some(piece) => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(piece);
                    text = &rest[end..];
                }
                // What follows the brace may have holes.
                None => {
                    plain.push('{');
                    text = &rest[1..];
                }
            }
        }
        plain.push_str(text);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        Self(pieces)
    }

    /// The text of request `number`, and its key if there is a hole.
    pub(crate) fn fill(&self, seed: u64, number: u64) -> (String, Option<String>) {
        let mut rng = Rng::seeded(Rng::seeded(seed).next_u64() ^ number.wrapping_mul(SPREAD));
        let mut text = String::with_capacity(256);
        let mut key = None;
        for piece in &self.0 {
            let value = match piece {
                Piece::Text(plain) => {
                    text.push_str(plain);
                    continue;
                }
                Piece::Number => number,
                Piece::Random(range) => range.start + rng.next_u64() % (range.end - range.start),
            };
            let value = value.to_string();
            text.push_str(&value);
            key = Some(value);
        }
        (text, key)
    }
}

fn hole(text: &str) -> Option<Piece> {
    match text {
        "{n}" => Some(Piece::Number),
        "{random}" => Some(Piece::Random(SIX_DIGITS)),
        _ => {
            let end = text.strip_prefix("{random:")?.strip_suffix('}')?.parse().ok()?;
            (end > 0).then_some(Piece::Random(0..end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_the_last_is_the_key() {
        let filled = |text: &str, number| Template::new(text).fill(7, number);
        assert_eq!(filled("/home", 3), ("/home".to_owned(), None));
        assert_eq!(filled("/{n}/{x}{/{n}", 3), ("/3/{x}{/3".to_owned(), Some("3".to_owned())));
        assert_eq!(filled("{random:0}{", 3), ("{random:0}{".to_owned(), None));
        let (text, key) = filled("{n}?id={random}", 12);
        let drawn: u64 = key.clone().unwrap().parse().unwrap();
        assert!(SIX_DIGITS.contains(&drawn) && text == format!("12?id={drawn}"));
    }

    #[test]
    fn a_seed_and_a_number_give_one_key_and_keys_cover_their_range() {
        let template = Template::new("{random:10}");
        let drawn = |seed| (0..200).map(|n| template.fill(seed, n).0).collect::<Vec<_>>();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let different: std::collections::BTreeSet<String> = drawn(1).into_iter().collect();
        assert_eq!(different.len(), 10);
    }
}
