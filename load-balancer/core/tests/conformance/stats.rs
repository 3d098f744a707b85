//! The little statistics the properties need.

use crate::promises::Share;
use crate::world::Server;

/// One-in-ten-thousand quantile of the standard normal distribution.
const Z: f64 = 3.719;

/// The shares a policy owes to these servers.
pub(crate) fn expected(share: Share, servers: &[Server]) -> Vec<f64> {
    let weight = |s: &Server| if share == Share::Equal { 1.0 } else { f64::from(s.weight) };
    let sum: f64 = servers.iter().map(weight).sum();
    servers.iter().map(|s| weight(s) / sum).collect()
}

/// Whether counts could be draws with these probabilities (Pearson's χ², Wilson and Hilferty's quantile, p = 10⁻⁴).
pub(crate) fn chi_square(counts: &[u64], shares: &[f64]) -> Result<(), String> {
    let sum = counts.iter().sum::<u64>() as f64;
    let term = |(&n, &p): (&u64, &f64)| (n as f64 - sum * p).powi(2) / (sum * p);
    let chi: f64 = counts.iter().zip(shares).map(term).sum();
    let df = counts.len() as f64 - 1.0;
    let limit = df * (1.0 - 2.0 / (9.0 * df) + Z * (2.0 / (9.0 * df)).sqrt()).powi(3);
    if chi <= limit { Ok(()) } else { Err(format!("χ² {chi:.0} over {limit:.0}: {counts:?}")) }
}

/// Whether each share is within `tolerance` of its due, relative to that due.
pub(crate) fn near(got: &[f64], due: &[f64], tolerance: f64) -> Result<(), String> {
    let fits = got.iter().zip(due).all(|(g, d)| (g / d - 1.0).abs() <= tolerance);
    if fits { Ok(()) } else { Err(format!("shares {got:.3?}, due {due:.3?} ± {:.0} %", tolerance * 100.0)) }
}

#[test]
fn chi_square_tells_fair_from_unfair() {
    assert!(chi_square(&[1_030, 980, 990], &[1.0 / 3.0; 3]).is_ok());
    assert!(chi_square(&[1_200, 900, 900], &[1.0 / 3.0; 3]).is_err());
}
