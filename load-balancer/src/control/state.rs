//! Membership over restarts: one JSON file, replaced whole or not at all.
//!
//! It is written when something changed that the configuration does not say: replicas and their names, registered
//! backends, backends that were removed. A file that cannot be understood is never overwritten: it is moved aside, and the
//! balancer starts from its configuration and says so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lb_core::fact::Fact;
use serde::{Deserialize, Serialize};

use super::Control;
use super::entry::Origin;
use crate::clock;
use crate::config::{Address, WEIGHT_MOST};
use crate::provision::Order;

/// The layout below. A file of a later one is refused, not guessed at.
const VERSION: u32 = 1;
/// Largest ordinal that a file may hold: a pool that has replaced a replica a second has come so far after 34 years.
const ORDINAL_MOST: u32 = 1 << 30;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    version: u32,
    pool: String,
    /// In pool order.
    members: Vec<SavedMember>,
    /// Configured backends that were removed.
    removed: Vec<String>,
    /// Configured replicas that have been started once: from then on the members above say which there are.
    seeded: Vec<String>,
    next_ordinal: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedMember {
    name: String,
    origin: SavedOrigin,
    /// `None` for replicas: they get a new one.
    address: Option<String>,
    weight: u32,
    region: String,
    /// Which number it had in the pool's history; `None` for replicas that have not started yet.
    ordinal: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedOrigin {
    Configured,
    Registered,
    Replica,
}

impl Control {
    /// Members from the state file and the configuration; what neither names is not there.
    pub(super) fn restore(&mut self) {
        let saved = self.config.state.clone().and_then(|file| self.read(&file));
        let config = Arc::clone(&self.config);
        let mut known: Vec<String> = Vec::new();
        if let Some(saved) = saved {
            self.next_ordinal = self.next_ordinal.max(saved.next_ordinal);
            let numbered = |member: &SavedMember| Some((member.name.clone(), member.ordinal?));
            self.remembered = saved.members.iter().filter_map(numbered).collect();
            for member in saved.members {
                let dismissed = saved.seeded.contains(&member.name)
                    && !config.pool.backends.iter().any(|b| b.name == member.name);
                // A replica that the configuration ordered and has taken back meanwhile is no member any more.
                if !dismissed {
                    self.restore_member(&member);
                }
                known.push(member.name);
            }
            known.extend(saved.seeded);
            known.extend(saved.removed.iter().cloned());
            // Only what the configuration still names can ever be brought back.
            let named = |name: &String| config.pool.backends.iter().any(|b| b.name == *name);
            self.retired = saved.removed.into_iter().filter(named).collect();
        }
        for backend in config.pool.backends.iter().filter(|b| !known.contains(&b.name)) {
            self.join_new(backend);
        }
    }

    /// A backend of the configuration that nothing is known about yet.
    pub(super) fn join_new(&mut self, backend: &crate::config::Backend) {
        match &backend.address {
            Some(address) => {
                let (name, region) = (&backend.name, &backend.region);
                let at = self.join(Origin::Configured, name, address.clone(), backend.weight, region);
                self.count_joined(at);
            }
            None => self.supply.missing.push_back(Order {
                name: backend.name.clone(),
                weight: backend.weight,
                region: backend.region.clone(),
            }),
        }
    }

    fn restore_member(&mut self, member: &SavedMember) {
        let configured = self.config.pool.backends.iter().find(|b| b.name == member.name).cloned();
        let address = member.address.as_deref().and_then(Address::parse);
        match (member.origin, configured, address) {
            // The configuration has the last word about its own backends.
            (_, Some(backend), _) => self.join_new(&backend),
            (SavedOrigin::Registered, None, Some(address)) if self.may_register(&address) => {
                let (name, region) = (&member.name, &member.region);
                let at = self.join(Origin::Registered, name, address, member.weight, region);
                self.count_joined(at);
            }
            (SavedOrigin::Replica, None, _) if self.config.replicas.provider.starts() => {
                self.supply.missing.push_back(Order {
                    name: member.name.clone(),
                    weight: member.weight,
                    region: member.region.clone(),
                });
            }
            _ => {}
        }
    }

    /// Whether a backend at this address could register today.
    fn may_register(&self, address: &Address) -> bool {
        let control = &self.config.control;
        // Registered backends are saved with the address that was looked up.
        let Address::Ip(address) = address else { return false };
        control.registration && control.networks.iter().any(|net| net.contains(&address.ip()))
    }

    /// Keeps what would be lost. A disk that refuses is told and never stops the pool.
    pub(super) fn save(&self) {
        let Some(file) = &self.config.state else { return };
        let saved = match write(file, &self.saved()) {
            Ok(()) => 1,
            Err(error) => {
                tracing::error!(file = %file.display(), %error, "membership cannot be saved");
                0
            }
        };
        self.metrics.state_saved.with_label_values::<&str>(&[]).set(saved);
    }

    fn saved(&self) -> Saved {
        // What other balancers run is learned from them again, and what is discovered from its source.
        let own = |e: &super::Entry| match e.origin {
            Origin::Configured => Some(SavedOrigin::Configured),
            Origin::Registered => Some(SavedOrigin::Registered),
            Origin::Replica => Some(SavedOrigin::Replica),
            Origin::Shared | Origin::Discovered(_) => None,
        };
        let staying = self.entries.iter().filter(|e| e.leaving.is_none());
        let members =
            staying.filter_map(|e| own(e).map(|origin| (e, origin))).map(|(e, origin)| SavedMember {
                name: e.backend.name.clone(),
                origin,
                address: (e.origin != Origin::Replica).then(|| e.backend.address.to_string()),
                weight: e.backend.weight,
                region: e.backend.region.clone(),
                ordinal: Some(e.ordinal),
            });
        let coming = self.supply.orders().map(|order| SavedMember {
            name: order.name.clone(),
            origin: SavedOrigin::Replica,
            address: None,
            weight: order.weight,
            region: order.region.clone(),
            ordinal: self.remembered.get(&order.name).copied(),
        });
        let backends = &self.config.pool.backends;
        Saved {
            version: VERSION,
            pool: self.config.pool.name.clone(),
            members: members.chain(coming).collect(),
            removed: self.retired.clone(),
            seeded: backends.iter().filter(|b| b.address.is_none()).map(|b| b.name.clone()).collect(),
            next_ordinal: self.next_ordinal,
        }
    }

    /// What the file says. One that says nothing understandable is moved aside.
    fn read(&self, file: &Path) -> Option<Saved> {
        let reason = match fs::read_to_string(file) {
            Ok(text) => match understand(&text, &self.config.pool.name) {
                Ok(saved) => return Some(saved),
                Err(reason) => reason,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => error.to_string(),
        };
        let aside = aside(file);
        let kept_as = match fs::rename(file, &aside) {
            Ok(()) => aside.display().to_string(),
            Err(error) => format!("nothing: it cannot be moved to {}: {error}", aside.display()),
        };
        self.tell(Fact::StateRefused { file: file.display().to_string(), kept_as, reason });
        None
    }
}

fn understand(text: &str, pool: &str) -> Result<Saved, String> {
    let saved: Saved = serde_json::from_str(text).map_err(|error| format!("is no state of ours: {error}"))?;
    if saved.version != VERSION {
        return Err(format!("has version {}, this program writes {VERSION}", saved.version));
    }
    if saved.pool != pool {
        return Err(format!("belongs to the pool {:?}, this one is {pool:?}", saved.pool));
    }
    let mut seen = BTreeSet::new();
    for member in &saved.members {
        if !seen.insert(&member.name) {
            return Err(format!("names {:?} twice", member.name));
        }
        if !(1..=WEIGHT_MOST).contains(&member.weight) {
            return Err(format!("gives {:?} the weight {}", member.name, member.weight));
        }
    }
    let numbers = saved.members.iter().filter_map(|member| member.ordinal).chain([saved.next_ordinal]);
    if numbers.max().is_some_and(|most| most > ORDINAL_MOST) {
        return Err(format!("has an ordinal above {ORDINAL_MOST}"));
    }
    Ok(saved)
}

/// A name beside the file that nothing has yet.
fn aside(file: &Path) -> PathBuf {
    let stem = format!("{}.refused-{}", file.display(), clock::unix_millis());
    PathBuf::from(stem)
}

/// Writes beside the file, makes it durable, then puts it in its place: a crash leaves the old or the new one.
fn write(file: &Path, saved: &Saved) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut out = File::create(&beside)?;
    out.write_all(&serde_json::to_vec_pretty(saved)?)?;
    out.write_all(b"\n")?;
    out.sync_all()?;
    fs::rename(&beside, file)?;
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
