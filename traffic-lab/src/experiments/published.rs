//! What the originals published or fix, as data.

/// Row H: how many of request ids 1 to 10,000 each of N = 2 to 6 servers gets under `md5-1024-100`, in the order of joining.
pub(crate) const MD5_COUNTS: [&[u64]; 5] = [
    &[5412, 4588],
    &[3650, 3412, 2938],
    &[2605, 2588, 2171, 2636],
    &[2148, 2104, 1773, 1976, 1999],
    &[1616, 1793, 1538, 1627, 1760, 1666],
];
/// Row H: ids 1 to 1,000 on servers 2, 3 and 4.
pub(crate) const MD5_WITHOUT_FIRST: [u64; 3] = [333, 306, 361];
/// Row H's Test 1: what three servers answered of 10,000 requests.
pub(crate) const HASH_TEST_1: [u64; 3] = [3596, 3362, 2893];
/// Slots of the assignment's 512 that its H reaches.
pub(crate) const ASSIGNMENT_SLOTS: u64 = 87;
/// Row P: a number and the requests a second in its three phases: two servers, one, two again.
pub(crate) const PRIMES: [(u64, [f64; 3]); 2] =
    [(524_287, [32.4, 20.2, 32.4]), (6_700_417, [2.73, 1.74, 3.01])];
/// Row P: how many of a phase's requests succeeded, which is all.
pub(crate) const PRIMES_GOOD: u64 = 500;
