//! Configurations: every fault names a field and what to write instead and shows no secret; what is taken is within the bounds
//! that the rest of the program relies on.

use std::collections::BTreeSet;

use load_balancer::config::{Config, Faults};

/// The text of a secret in corpora and dictionary: no fault may quote it.
const SECRET: &str = "s3cr3t";
/// Between the file and the environment.
const BREAK: char = '\0';

/// The input is a file, and behind a NUL lines `NAME=value` of the environment.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files that secrets are read from: devices would never end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let (file, environment) = text.split_once(BREAK).unwrap_or((text, ""));
    let variables = || {
        let pairs = environment.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (format!("BALLAST_{name}"), value.to_owned()))
    };
    match Config::parse(file, variables()) {
        Ok(config) => {
            sound(&config);
            assert_eq!(Config::parse(file, variables()), Ok(config), "the same text means the same");
        }
        Err(faults) => told(&faults, text),
    }
}

/// Faults that help.
pub fn told(faults: &Faults, text: &str) {
    assert!(!faults.0.is_empty());
    for fault in &faults.0 {
        assert!(!fault.field.is_empty() && !fault.remedy.is_empty(), "{fault:?}");
    }
    // A secret that stands where secrets stand, and nowhere else, is never quoted.
    let secret = format!("[control]\ntoken = \"{SECRET}");
    if text.matches(SECRET).count() == 1 && text.contains(&secret) {
        assert!(!faults.to_string().contains(SECRET), "{faults}");
    }
    assert!(!faults.without_values().is_empty());
}

fn sound(config: &Config) {
    assert!((1..=1_024).contains(&config.workers));
    let mut names = BTreeSet::new();
    for backend in &config.pool.backends {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        assert!((1..=63).contains(&backend.name.len()) && backend.name.bytes().all(plain), "{backend:?}");
        assert!((1..=1_000).contains(&backend.weight) && names.insert(&backend.name), "{backend:?}");
    }
    assert!(
        config.retry.attempts <= 7 && config.retry.statuses.iter().all(|status| (500..600).contains(status))
    );
    assert!(config.retry.budget_ratio.is_finite() && config.retry.budget_per_second.is_finite());
    assert!(config.retry.budget_ratio >= 0.0 && config.retry.budget_per_second >= 0.0);
    assert!(config.hash.bound.is_none_or(|bound| bound.is_finite() && bound >= 1.0), "{:?}", config.hash);
    assert!(config.limits.connections > 0 && config.limits.headers > 0);
    if let Some(scrape) = &config.signals.scrape {
        assert!(scrape.timeout < scrape.interval && scrape.max_bytes > 0, "{scrape:?}");
    }
}
