//! Is n prime? Two ways, one answer.
//!
//! `is_prime` is deterministic Miller–Rabin: with the first twelve primes as bases it is exact for every n below
//! 3.3e24, so for all of u64 (Sorenson and Webster, 2015), and costs microseconds. `is_prime_naive` divides by every
//! d below n, as the original prime balancer did: its published rates (32.4/s at 524287, 2.73/s at 6700417) fall in
//! proportion to n, so this is the load its users know. How it fails: the naive way takes time in proportion to n;
//! callers bound n by [`NAIVE_MAX`] and can call it off.

/// Bases that make Miller–Rabin exact for all of u64; also the primes tried first by division.
const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];

/// Largest n that the naive mode takes: a few seconds of one core, still bearable as one request.
pub const NAIVE_MAX: u64 = 1_000_000_000;

/// Divisions between two looks at the stop signal: about 0.1 ms, so that calling off is prompt and looking is free.
const DIVISIONS_PER_LOOK: u64 = 1 << 16;

/// Exact for every u64, in at most twelve modular powers.
#[must_use]
pub fn is_prime(n: u64) -> bool {
    for p in BASES {
        if n.is_multiple_of(p) {
            return n == p;
        }
    }
    if n < 2 {
        return false;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    BASES.iter().all(|&base| passes(n, base, odd, twos))
}

/// One Miller–Rabin round: `n - 1 = odd * 2^twos`, `n` odd and not divisible by `base`.
fn passes(n: u64, base: u64, odd: u64, twos: u32) -> bool {
    let mut x = pow_mod(base, odd, n);
    if x == 1 || x == n - 1 {
        return true;
    }
    for _ in 1..twos {
        x = mul_mod(x, x, n);
        if x == n - 1 {
            return true;
        }
    }
    false
}

fn pow_mod(mut base: u64, mut exponent: u64, modulus: u64) -> u64 {
    let mut result = 1;
    base %= modulus;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul_mod(result, base, modulus);
        }
        base = mul_mod(base, base, modulus);
        exponent >>= 1;
    }
    result
}

/// The product is taken in 128 bits: in 64 it would overflow for n above 2^32.
#[expect(clippy::cast_possible_truncation, reason = "a remainder of a u64 modulus fits u64")]
fn mul_mod(a: u64, b: u64, modulus: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(modulus)) as u64
}

/// Division by every number below n. `None` when `stop` said so before the answer was known.
pub fn is_prime_naive(n: u64, stop: impl Fn() -> bool) -> Option<bool> {
    if n < 2 {
        return Some(false);
    }
    let mut d = 2;
    while d < n {
        let end = n.min(d.saturating_add(DIVISIONS_PER_LOOK));
        // `black_box` keeps the divisor opaque, so that the compiler cannot replace the work it is here to do.
        if (d..end).any(|d| n.is_multiple_of(std::hint::black_box(d))) {
            return Some(false);
        }
        d = end;
        if stop() {
            return None;
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sieve of Eratosthenes up to and including `limit`.
    fn sieve(limit: usize) -> Vec<bool> {
        let mut prime = vec![true; limit + 1];
        prime[0] = false;
        prime[1] = false;
        for i in 2..=limit {
            if prime[i] {
                (i * i..=limit).step_by(i).for_each(|multiple| prime[multiple] = false);
            }
        }
        prime
    }

    #[test]
    fn agrees_with_the_sieve_up_to_100_000() {
        for (n, expected) in sieve(100_000).into_iter().enumerate() {
            assert_eq!(is_prime(n as u64), expected, "{n}");
        }
    }

    #[test]
    fn naive_agrees_with_the_sieve_up_to_3_000() {
        for (n, expected) in sieve(3_000).into_iter().enumerate() {
            assert_eq!(is_prime_naive(n as u64, || false), Some(expected), "{n}");
        }
    }

    #[test]
    fn knows_large_primes() {
        // Row P's two, Mersenne primes, the first prime above 2^32, and the three largest below 2^64.
        let primes = [524_287, 6_700_417, 2_147_483_647, 2_305_843_009_213_693_951, 4_294_967_311];
        let largest = [18_446_744_073_709_551_557, 18_446_744_073_709_551_533, 18_446_744_073_709_551_521];
        for n in primes.into_iter().chain(largest) {
            assert!(is_prime(n), "{n}");
        }
    }

    #[test]
    fn is_not_fooled_by_strong_pseudoprimes() {
        // Each is composite yet passes Miller–Rabin for the first k prime bases (OEIS A014233, k = 1..=11),
        // then Carmichael numbers, then squares of primes and a product of two primes near 2^32.
        let pseudoprimes = [
            2_047,
            1_373_653,
            25_326_001,
            3_215_031_751,
            2_152_302_898_747,
            3_474_749_660_383,
            341_550_071_728_321,
            3_825_123_056_546_413_051,
            561,
            1_105,
            1_729,
            9_746_347_772_161,
            4_611_686_014_132_420_609,
            18_446_743_979_220_271_189,
        ];
        for n in pseudoprimes {
            assert!(!is_prime(n), "{n}");
        }
        assert_eq!(2_147_483_647_u64 * 2_147_483_647, 4_611_686_014_132_420_609);
        assert_eq!(4_294_967_279_u64 * 4_294_967_291, 18_446_743_979_220_271_189);
    }

    #[test]
    fn the_ends_of_u64() {
        assert!(!is_prime(0));
        assert!(!is_prime(1));
        assert!(is_prime(2));
        assert!(!is_prime(u64::MAX));
        assert!(!is_prime(u64::MAX - 1));
        assert!(is_prime(u64::MAX - 58));
    }

    #[test]
    fn naive_can_be_called_off() {
        assert_eq!(is_prime_naive(999_999_937, || true), None);
    }
}
