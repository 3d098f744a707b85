//! The one hash for keys: fixed for ever, because every balancer of a fleet must agree on it.

/// FNV-1a over the bytes, then the 64-bit finaliser of MurmurHash3 so that near-equal keys ("10.0.0.1", "10.0.0.2")
/// land far apart. Not keyed: a client that chooses its own key can choose its backend; bounded loads limit the harm.
#[must_use]
pub fn hash64(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    mix64(bytes.iter().fold(OFFSET, |h, &b| (h ^ u64::from(b)).wrapping_mul(PRIME)))
}

/// MurmurHash3's 64-bit finaliser (Appleby, public domain): every input bit flips about half of the output bits.
#[must_use]
pub const fn mix64(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_stable_and_spreads() {
        assert_eq!(hash64(b""), mix64(0xcbf2_9ce4_8422_2325));
        assert_eq!(hash64(b"a"), mix64(0xaf63_dc4c_8601_ec8c), "FNV-1a test vector for \"a\"");
        let mut buckets = [0u32; 64];
        for i in 0..64_000u32 {
            buckets[(hash64(format!("10.0.{}.{}", i >> 8, i & 255).as_bytes()) >> 58) as usize] += 1;
        }
        assert!(buckets.iter().all(|&n| (850..1150).contains(&n)), "{buckets:?}");
    }
}
