//! The hash pairs of the slot-ring presets, and how a configured preset becomes a [`Hashing`].

use std::sync::Arc;

use lb_core::slots::{AssignmentPair, HashPair, Probing, Slots};
use lb_core::view::{Hashing, Member};
use md5::{Digest, Md5};
use sha2::Sha256;

/// A named way to map keys to backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// A 64-bit hash, many points, bounded loads.
    Default,
    /// 512 slots, K = 9, H(i) = i² + 2i + 17, Φ(i, j) = i² + j² + 2j + 25, quadratic probing. Poor by design.
    Assignment,
    /// 512 slots, 9 virtual servers, SHA-256, linear probing.
    Sha256x512x9,
    /// 1,024 slots, 100 virtual servers, MD5, collisions step by 2v + 1.
    Md5x1024x100,
}

impl Preset {
    /// All of them with their names in the configuration.
    pub const ALL: [(&'static str, Preset); 4] = [
        ("default", Preset::Default),
        ("assignment", Preset::Assignment),
        ("sha256-512-9", Preset::Sha256x512x9),
        ("md5-1024-100", Preset::Md5x1024x100),
    ];

    /// The hashing of this preset over `members`; `bound` matters to the default only. Slots that followed this preset
    /// `before` are changed as the originals change theirs, so they may differ from freshly filled ones. Slots belong to
    /// eligible members only.
    #[must_use]
    pub fn build(self, members: &[Member], bound: Option<f32>, before: Option<&Hashing>) -> Hashing {
        let (slots, replicas, pair, probing): (_, _, Arc<dyn HashPair + Send + Sync>, _) = match self {
            Preset::Default => return Hashing::Ring { bound },
            Preset::Assignment => (512, 9, Arc::new(AssignmentPair), Probing::Quadratic),
            Preset::Sha256x512x9 => (512, 9, Arc::new(DigestPair::<Sha256>::default()), Probing::Linear),
            Preset::Md5x1024x100 => (1_024, 100, Arc::new(DigestPair::<Md5>::default()), Probing::OddStep),
        };
        let ordinals = (0..).zip(members).filter(|(_, m)| m.eligible).map(|(i, m)| (i, m.ordinal));
        let table = match before {
            Some(Hashing::Slots { table, .. }) => table.changed(ordinals, &*pair),
            _ => Slots::new(ordinals, slots, replicas, &*pair, probing),
        };
        Hashing::Slots { table: Arc::new(table), pair }
    }
}

/// A digest of the key's bytes, and of `<ordinal>-<replica>`, read as a big-endian integer. Only its low 64 bits are kept:
/// every table size here divides 2⁶⁴, so the remainder is that of the whole digest.
struct DigestPair<D>(std::marker::PhantomData<fn() -> D>);

impl<D> Default for DigestPair<D> {
    fn default() -> Self {
        DigestPair(std::marker::PhantomData)
    }
}

impl<D: Digest> HashPair for DigestPair<D> {
    fn request(&self, key: &[u8]) -> u64 {
        D::digest(key).iter().rev().take(8).rev().fold(0, |n, &b| n << 8 | u64::from(b))
    }
    fn server(&self, ordinal: u32, replica: u32) -> u64 {
        self.request(format!("{ordinal}-{replica}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lb_core::{Load, View};

    fn counts(preset: Preset, servers: &[u32], ids: u32) -> Vec<u32> {
        let members: Vec<Member> = servers
            .iter()
            .map(|&ordinal| Member {
                name_hash: u64::from(ordinal),
                ordinal,
                weight: 1,
                warmth: 1.0,
                region: 0,
                eligible: true,
                load: Arc::new(Load::new()),
            })
            .collect();
        let hashing = preset.build(&members, None, None);
        let view = View::new(members, Arc::default(), Arc::default(), hashing);
        let Hashing::Slots { table, pair } = view.hashing() else { panic!("a slot preset") };
        let mut seen = vec![0; servers.len()];
        for id in 1..=ids {
            let first = table.walk(pair.request(id.to_string().as_bytes())).next().unwrap();
            seen[first as usize] += 1;
        }
        seen
    }

    #[test]
    fn md5_reproduces_the_published_counts() {
        assert_eq!(counts(Preset::Md5x1024x100, &[1, 2], 10_000), [5412, 4588]);
        assert_eq!(counts(Preset::Md5x1024x100, &[1, 2, 3], 10_000), [3650, 3412, 2938]);
        assert_eq!(counts(Preset::Md5x1024x100, &[1, 2, 3, 4], 10_000), [2605, 2588, 2171, 2636]);
    }

    #[test]
    fn sha256_gives_everyone_a_share() {
        assert!(counts(Preset::Sha256x512x9, &[1, 2, 3], 10_000).iter().all(|&n| n > 1_000));
    }
}
