//! What a run of the bench may be told, and how it says what it did.

use std::path::PathBuf;

use clap::Args;

use super::Scenario;
use super::peer::Peer;

/// Options of `cargo xtask bench`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Rounds; every proxy is measured once in each [default: 5, quick: 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds of each measurement [default: 5, quick: 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// Seconds of load before each measurement, discarded [default: 2, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=600))]
    warm_up: Option<u32>,
    /// Numbers of keep-alive client connections
    #[arg(long, value_delimiter = ',', default_value = "64")]
    connections: Vec<usize>,
    /// Sizes of the answer's body, in bytes
    #[arg(long, value_delimiter = ',', default_value = "100")]
    body: Vec<usize>,
    /// Rates in requests/s for latency in an open loop, beside the closed loop
    #[arg(long, value_delimiter = ',')]
    rate: Vec<u32>,
    /// Whom to measure
    #[arg(long, value_delimiter = ',', default_value = "haproxy,nginx,ours,relay")]
    peers: Vec<Peer>,
    /// Our binary, instead of building target/release/load-balancer
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Option<PathBuf>,
    /// Short windows: shows that the bench works, not what a proxy costs
    #[arg(long)]
    quick: bool,
    /// Start the proxies anew for each round: for differences of a percent
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Name of the results in `benches/runs/<date>-<cpu>/` [default: side-by-side, quick: quick-side-by-side]
    #[arg(long)]
    name: Option<String>,
    /// The core of the proxies
    #[arg(long, default_value_t = 0)]
    pub(crate) proxy_core: usize,
    /// The core of the load generator and the backends
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}

impl Options {
    fn choose(&self, given: Option<u32>, usual: u32, quick: u32) -> u32 {
        given.unwrap_or(if self.quick { quick } else { usual })
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.choose(self.rounds, 5, 2)
    }

    pub(crate) fn seconds(&self) -> u32 {
        self.choose(self.seconds, 5, 2)
    }

    pub(crate) fn warm_up(&self) -> u32 {
        self.choose(self.warm_up, 2, 1)
    }

    /// The proxies, each once, in the order given.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let mut peers = Vec::new();
        for peer in &self.peers {
            if !peers.contains(peer) {
                peers.push(*peer);
            }
        }
        peers
    }

    pub(crate) fn name(&self) -> String {
        let usual = if self.quick { "quick-side-by-side" } else { "side-by-side" };
        let name = self.name.as_deref().unwrap_or(usual);
        name.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'), "-")
    }

    /// Every combination; for each, the closed loop, then the rates.
    pub(crate) fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for &connections in &self.connections {
            for &body in &self.body {
                scenarios.push(Scenario { connections, body, rate: None });
                scenarios.extend(self.rate.iter().map(|&rate| Scenario {
                    connections,
                    body,
                    rate: Some(rate),
                }));
            }
        }
        scenarios
    }

    /// The method, for the report.
    pub(crate) fn method(&self) -> Vec<String> {
        let (rounds, seconds, warm_up) = (self.rounds(), self.seconds(), self.warm_up());
        vec![
            format!("Proxies on core {}, one worker each; load generator and six backends on core {}.", self.proxy_core, self.load_core),
            format!("All proxies run {}; one at a time is under load, the others wait.", if self.fresh { "for one round, and are started anew for the next" } else { "throughout" }),
            format!("{rounds} rounds, interleaved, every second one in the other direction; per proxy and round {warm_up} s of warm-up (discarded), then {seconds} s measured."),
            "CPU per request: CPU time of the proxy and its children over the window (schedstat; stat beside it in the JSON) / requests the generator counted.".to_owned(),
            "Closed loop: wrk, one thread; its latencies are those under full load and omit what a stall would have kept waiting.".to_owned(),
            "Open loop: requests fall due at the rate, latency counts from when they were due.".to_owned(),
            "Ratios of a variant: the interval holds the true median 95 times in a hundred (order statistics of the rounds' ratios; no assumption but that rounds are independent).".to_owned(),
            "A figure marked ≤ is an upper bound: over 2 % of its requests may have been cut off at the window's end, and their CPU is in it; use longer windows.".to_owned(),
            "Configurations: benches/peers/.".to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(args: &[&str]) -> Options {
        Cli::try_parse_from(std::iter::once(&"bench").chain(args)).unwrap().options
    }

    #[test]
    fn quick_changes_only_what_is_not_given() {
        let quick = options(&["--quick", "--rounds", "7"]);
        assert_eq!((quick.rounds(), quick.seconds(), quick.warm_up()), (7, 2, 1));
        assert_eq!(quick.name(), "quick-side-by-side");
        assert_eq!(options(&["--name", "../x y"]).name(), "..-x-y");
    }

    #[test]
    fn scenarios_are_every_combination() {
        let many = options(&["--connections", "1,64", "--body", "100,1024", "--rate", "5000"]);
        assert_eq!(many.scenarios().len(), 8);
        assert_eq!(options(&["--peers", "relay,relay,ours"]).peers(), [Peer::Relay, Peer::Ours]);
    }
}
