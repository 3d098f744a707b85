//! The database of countries, in MaxMind's format: the one inside this program, or a file.
//!
//! Two layouts of records are read, told apart record by record: `{"country": {"iso_code": "DE"}}` (GeoLite2 and its kin)
//! and `{"country_code": "DE"}` (the bundled one and its kin). How it fails: a file that is no database of countries, or is
//! damaged, is refused as a whole when it is opened; a look-up into one that rots later is an error, never a panic.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{MaxMindDbError, Reader, WithinOptions};
use serde::Deserialize;

/// Origin and licence: geo/README.md.
static BUNDLED: &[u8] = include_bytes!("../../geo/countries.mmdb");
/// Words in the type of databases that know countries; `country` alone is in most.
const KINDS: [&str; 3] = ["country", "city", "enterprise"];
/// Largest file: the largest databases with countries in them are below half of it, and it is held in memory.
const LARGEST_BYTES: u64 = 1 << 30;
/// Networks per node of the search tree: two leaves at most, and one to spare. A tree with more runs in circles.
const MOST_PER_NODE: usize = 3;

/// Where a database comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This program.
    Bundled,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Bundled => f.write_str("bundled"),
            Origin::File(path) => path.display().fmt(f),
        }
    }
}

/// An opened database, whole and in memory.
pub struct Database {
    reader: Reader<Cow<'static, [u8]>>,
}

/// The part of a record that says where.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country_code: Option<&'a str>,
    #[serde(borrow)]
    country: Option<Country<'a>>,
    /// Where the network is registered; says something where nobody knows where it is used.
    #[serde(borrow)]
    registered_country: Option<Country<'a>>,
}

#[derive(Deserialize)]
struct Country<'a> {
    iso_code: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn code(&self) -> Option<&'a str> {
        let of = |country: &Option<Country<'a>>| country.as_ref().and_then(|c| c.iso_code);
        self.country_code.or_else(|| of(&self.country)).or_else(|| of(&self.registered_country))
    }
}

impl Database {
    /// Opens and judges it.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn open(origin: &Origin) -> Result<Self, String> {
        match origin {
            Origin::Bundled => Database::parse(BUNDLED),
            Origin::File(path) => Database::verified(read(path)?),
        }
    }

    /// The same for what is in memory, for files: every byte that a look-up can come by is looked at once.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn verified(bytes: Vec<u8>) -> Result<Self, String> {
        let database = Database::parse(bytes)?;
        match database.walk() {
            Ok(true) => Ok(database),
            Ok(false) => Err("has no country in its records".to_owned()),
            Err(error) => Err(format!("is damaged: {error}")),
        }
    }

    /// Goes through the whole tree and every record once; true where one has a country. The reader's own `verify` would
    /// refuse databases without a description, which are in use.
    fn walk(&self) -> Result<bool, MaxMindDbError> {
        let most = MOST_PER_NODE * self.reader.metadata().node_count as usize;
        let (mut seen, mut known) = (HashSet::new(), false);
        for (i, found) in self.reader.networks(WithinOptions::default())?.enumerate() {
            let found = found?;
            if i > most {
                return Err(MaxMindDbError::invalid_database("its search tree runs in circles"));
            }
            if found.offset().is_some_and(|at| seen.insert(at)) {
                known |= found.decode::<Record<'_>>()?.is_some_and(|record| record.code().is_some());
            }
        }
        Ok(known)
    }

    /// Its head alone is judged.
    pub(super) fn parse(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, String> {
        let reader = Reader::from_source(bytes.into()).map_err(|e| format!("is no MaxMind database: {e}"))?;
        let kind = &reader.metadata().database_type;
        if !KINDS.iter().any(|word| kind.to_ascii_lowercase().contains(word)) {
            return Err(format!("is a database of type {kind:?}, not of countries"));
        }
        Ok(Database { reader })
    }

    /// When it was built, in seconds since the Unix epoch.
    #[must_use]
    pub fn built(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// What it calls itself.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }

    /// The country of a canonical address, as the database writes it; `None` where it has none.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn country(&self, ip: IpAddr) -> Result<Option<&str>, MaxMindDbError> {
        if ip.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(None);
        }
        let record: Option<Record<'_>> = self.reader.lookup(ip)?.decode()?;
        Ok(record.and_then(|record| record.code()))
    }
}

impl fmt::Debug for Database {
    /// Without its megabytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("kind", &self.kind())
            .field("built", &self.built())
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() || found.len() > LARGEST_BYTES {
        return Err(format!("must be a file of at most {LARGEST_BYTES} bytes"));
    }
    std::fs::read(path).map_err(unreadable)
}
