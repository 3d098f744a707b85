//! The slot rings of the original systems, number for number.
//!
//! `md5-1024-100`, as these counts pin it down: a request's slot is the MD5 of its id in decimal, read as a 128-bit
//! big-endian integer, modulo 1,024; servers are numbered from 1 in order of joining, and virtual servers from 0 to 99;
//! server i puts its virtual server v at the MD5 of the text `i-v` modulo 1,024, and if that slot is taken steps on by
//! 2v + 1 until one is free; a request goes to the first owned slot at or after its own, wrapping round. Servers are put
//! in one after the other, each with all its virtual servers.
//!
//! The count for servers 2, 3, 4 needs one thing more: it was taken after server 1 of three had died and a fourth had
//! joined, and a table is changed, not filled again. Virtual servers that 1 had displaced stay where they are.
//!
//! Only 10 bits of the integer matter, since 1,024 divides 2⁶⁴, so the last eight bytes of the digest are enough. The
//! same holds for `sha256-512-9`, which has no published counts and is defined likewise with SHA-256, 9 virtual servers
//! and linear probing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should stop")]

use lb_core::slots::{HashPair, Probing, Slots};
use md5::Md5;
use sha2::{Digest, Sha256};

struct Md5Pair;

impl HashPair for Md5Pair {
    fn request(&self, key: &[u8]) -> u64 {
        low_word(&Md5::digest(key))
    }
    fn server(&self, ordinal: u32, replica: u32) -> u64 {
        self.request(format!("{ordinal}-{replica}").as_bytes())
    }
}

struct Sha256Pair;

impl HashPair for Sha256Pair {
    fn request(&self, key: &[u8]) -> u64 {
        low_word(&Sha256::digest(key))
    }
    fn server(&self, ordinal: u32, replica: u32) -> u64 {
        self.request(format!("{ordinal}-{replica}").as_bytes())
    }
}

/// The digest as a big-endian integer, modulo 2⁶⁴.
fn low_word(digest: &[u8]) -> u64 {
    u64::from_be_bytes(*digest.last_chunk().expect("a digest of at least eight bytes"))
}

fn md5_table(servers: u32) -> Slots {
    Slots::new((0..servers).map(|m| (m, m + 1)), 1_024, 100, &Md5Pair, Probing::OddStep)
}

/// Requests 1..=`ids` by member.
fn counts(table: &Slots, pair: &dyn HashPair, ids: u32, members: usize) -> Vec<u32> {
    let mut counts = vec![0; members];
    for id in 1..=ids {
        counts[table.walk(pair.request(id.to_string().as_bytes())).next().unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn md5_1024_100_gives_the_published_counts() {
    let published: [&[u32]; 5] = [
        &[5412, 4588],
        &[3650, 3412, 2938],
        &[2605, 2588, 2171, 2636],
        &[2148, 2104, 1773, 1976, 1999],
        &[1616, 1793, 1538, 1627, 1760, 1666],
    ];
    for expected in published {
        let servers = expected.len();
        assert_eq!(counts(&md5_table(servers as u32), &Md5Pair, 10_000, servers), expected);
    }
}

#[test]
fn md5_1024_100_after_the_first_of_three_was_replaced() {
    let three = md5_table(3);
    let without_1 = three.changed([(0, 2), (1, 3)].into_iter(), &Md5Pair);
    let with_4 = without_1.changed([(0, 2), (1, 3), (2, 4)].into_iter(), &Md5Pair);
    assert_eq!(counts(&with_4, &Md5Pair, 1_000, 3), [333, 306, 361]);
    let at_once = three.changed([(0, 2), (1, 3), (2, 4)].into_iter(), &Md5Pair);
    assert_eq!(counts(&at_once, &Md5Pair, 1_000, 3), [333, 306, 361], "one change or two, the same table");
    let afresh = Slots::new([(0, 2), (1, 3), (2, 4)].into_iter(), 1_024, 100, &Md5Pair, Probing::OddStep);
    assert_eq!(counts(&afresh, &Md5Pair, 1_000, 3), [323, 308, 369], "the history is in the numbers");
}

#[test]
fn sha256_512_9_gives_everyone_a_share_and_moves_few_keys() {
    let table =
        |servers: u32| Slots::new((0..servers).map(|m| (m, m + 1)), 512, 9, &Sha256Pair, Probing::Linear);
    let owner =
        |table: &Slots, id: u32| table.walk(Sha256Pair.request(id.to_string().as_bytes())).next().unwrap();
    for servers in 2..=6 {
        let counts = counts(&table(servers), &Sha256Pair, 10_000, servers as usize);
        let fair = 10_000 / servers;
        assert!(counts.iter().all(|&n| n > fair / 3 && n < fair * 3), "{servers}: {counts:?}");
    }
    let (three, four) = (table(3), table(4));
    let moved = (1..=10_000).filter(|&id| owner(&three, id) != owner(&four, id));
    assert!(moved.clone().all(|id| owner(&four, id) == 3), "keys move to the newcomer only");
    assert!((1_000..4_500).contains(&moved.count()));
}
