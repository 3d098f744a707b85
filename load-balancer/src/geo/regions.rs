//! The regions there are, each under a small number, and which country is in which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::countries;

/// Most regions: a set of them fits a word, and the metrics by client and backend region stay readable.
pub const MOST: usize = 64;

/// Two letters, 26 each.
const CODES: usize = 26 * 26;
/// In the table: in no region. More than [`MOST`].
const NOWHERE: u8 = u8::MAX;

/// The default table, which every configuration without regions of its own has.
static DEFAULT: LazyLock<Regions> = LazyLock::new(|| Regions::laid_over(&BTreeMap::new()));

/// Names in alphabetical order, and a region for each country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regions {
    names: Vec<String>,
    of: Box<[u8; CODES]>,
}

impl Regions {
    /// The default table with `own` laid over it: country → region. Regions that are left without a country are none.
    #[must_use]
    pub fn new(own: &BTreeMap<String, String>) -> Self {
        if own.is_empty() { DEFAULT.clone() } else { Regions::laid_over(own) }
    }

    fn laid_over(own: &BTreeMap<String, String>) -> Self {
        let mut all: BTreeMap<&str, &str> = countries::all().collect();
        all.extend(own.iter().map(|(country, region)| (country.as_str(), region.as_str())));
        let named: BTreeSet<&str> = all.values().copied().collect();
        let names: Vec<String> = named.into_iter().take(MOST).map(str::to_owned).collect();
        let mut of = Box::new([NOWHERE; CODES]);
        for (country, region) in all {
            let at = names.iter().position(|name| name == region);
            if let (Some(cell), Some(at)) = (index(country).and_then(|i| of.get_mut(i)), at) {
                *cell = at as u8;
            }
        }
        Regions { names, of }
    }

    /// In the order of their numbers.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of a region.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u8> {
        self.names.iter().position(|known| known == name).map(|at| at as u8)
    }

    /// The region of a country (ISO 3166-1 alpha-2, in capitals).
    #[must_use]
    pub fn of(&self, country: &str) -> Option<u8> {
        let region = *self.of.get(index(country)?)?;
        (region != NOWHERE).then_some(region)
    }
}

impl Default for Regions {
    fn default() -> Self {
        Regions::new(&BTreeMap::new())
    }
}

fn index(country: &str) -> Option<usize> {
    let letter = |byte: u8| byte.is_ascii_uppercase().then(|| usize::from(byte - b'A'));
    match *country.as_bytes() {
        [a, b] => Some(letter(a)? * 26 + letter(b)?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(own: &[(&str, &str)]) -> Regions {
        Regions::new(&own.iter().map(|(c, r)| ((*c).to_owned(), (*r).to_owned())).collect())
    }

    #[test]
    fn every_country_has_the_region_of_the_table() {
        let regions = Regions::default();
        assert_eq!(regions.names(), ["APAC", "EU", "US"]);
        for (country, region) in countries::all() {
            assert_eq!(regions.of(country), regions.number(region), "{country}");
        }
        for nothing in ["", "D", "de", "DEU", "ZZ", "Ä", "1A", "\0\0", "🇩"] {
            assert_eq!(regions.of(nothing), None, "{nothing:?}");
        }
    }

    #[test]
    fn own_regions_are_laid_over_it() {
        let regions = over(&[("DE", "europe-west3"), ("CH", "europe-west3"), ("BR", "EU")]);
        assert_eq!(regions.names(), ["APAC", "EU", "US", "europe-west3"]);
        let name = |country: &str| regions.of(country).map(|at| regions.names()[usize::from(at)].as_str());
        assert_eq!(
            (name("DE"), name("CH"), name("FR")),
            (Some("europe-west3"), Some("europe-west3"), Some("EU"))
        );
        assert_eq!((name("BR"), name("AR"), name("JP")), (Some("EU"), Some("US"), Some("APAC")));
    }

    #[test]
    fn a_region_without_countries_is_gone() {
        let all: Vec<(&str, &str)> = countries::all().map(|(country, _)| (country, "world")).collect();
        assert_eq!(over(&all).names(), ["world"]);
    }
}
