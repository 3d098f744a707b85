//! What a run of the bench may be told, and what follows from it: the works to be done.

use std::path::PathBuf;

use clap::Args;

use super::group::{Group, Windows};
use super::peer::Peer;
use super::scenario::{Scenario, Way};

/// The windows of `--quick`.
const QUICK: Windows = Windows { rounds: 2, seconds: 2, warm_up: 1 };
/// Those of a run without a named scenario.
const USUAL: Windows = Windows { rounds: 5, seconds: 5, warm_up: 2 };

/// Options of `cargo xtask bench`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Questions by name; without one, every combination of connections, body, way, backends and rate
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Group>,
    /// Rounds; every proxy is measured once in each [default: 5, quick: 2, or the scenario's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds of each measurement [default: 5, quick: 2, or the scenario's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: Option<u32>,
    /// Seconds of load before each measurement, discarded [default: 2, quick: 1, or the scenario's]
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=600))]
    warm_up: Option<u32>,
    /// Numbers of client connections
    #[arg(long, value_delimiter = ',', default_value = "64")]
    connections: Vec<usize>,
    /// Sizes of the answer's body, in bytes
    #[arg(long, value_delimiter = ',', default_value = "100")]
    body: Vec<usize>,
    /// How clients reach the proxies
    #[arg(long, value_delimiter = ',', default_value = "http1")]
    way: Vec<Way>,
    /// Numbers of backends
    #[arg(long, value_delimiter = ',', default_value = "6", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    backends: Vec<u16>,
    /// Rates in requests/s for latency in an open loop, beside the closed loop
    #[arg(long, value_delimiter = ',')]
    rate: Vec<u32>,
    /// Whom to measure [default: haproxy,nginx,ours,relay, or the scenario's]
    #[arg(long, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Short windows: shows that the bench works, not what a proxy costs
    #[arg(long)]
    quick: bool,
    /// Start the proxies anew for each round: for differences of a percent
    #[arg(long)]
    fresh: bool,
    /// Name of the results in `benches/runs/<date>-<cpu>/` [default: side-by-side, or the scenario's; quick: quick-…]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Which programs, on which cores.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Our binary, instead of building target/release/load-balancer
    #[arg(long, value_name = "PATH")]
    pub(crate) ours: Option<PathBuf>,
    /// Build nothing: this very program carries load and backends, and ours is what is there
    #[arg(long)]
    pub(crate) no_build: bool,
    /// The core of the proxies
    #[arg(long, default_value_t = 0)]
    pub(crate) proxy_core: usize,
    /// The core of the load generator and the backends
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}

/// One measurement with a report of its own.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) idle: bool,
    pub(crate) peers: Vec<Peer>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) windows: Windows,
    pub(crate) fresh: bool,
}

impl Options {
    /// What is to be done, in its order.
    pub(crate) fn works(&self) -> Vec<Work> {
        if self.scenario.is_empty() {
            let peers = [Peer::Haproxy, Peer::Nginx, Peer::Ours, Peer::Relay];
            return vec![self.work("side-by-side", false, &peers, self.combinations(), USUAL, true)];
        }
        let groups: Vec<Group> = if self.scenario.contains(&Group::All) {
            Group::every().collect()
        } else {
            self.scenario.clone()
        };
        let alone = groups.len() == 1;
        let work = |group: Group| {
            let idle = group == Group::Idle;
            self.work(group.name(), idle, group.peers(), group.scenarios(), group.windows(), alone)
        };
        groups.into_iter().map(work).collect()
    }

    fn work(
        &self,
        name: &str,
        idle: bool,
        peers: &[Peer],
        scenarios: Vec<Scenario>,
        windows: Windows,
        alone: bool,
    ) -> Work {
        let usual = if self.quick { QUICK } else { windows };
        let name = match &self.name {
            Some(given) if alone => given.clone(),
            Some(given) => format!("{given}-{name}"),
            None if self.quick => format!("quick-{name}"),
            None => name.to_owned(),
        };
        let mut chosen = Vec::new();
        for peer in if self.peers.is_empty() { peers } else { &self.peers } {
            if !chosen.contains(peer) {
                chosen.push(*peer);
            }
        }
        Work {
            name: name.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'), "-"),
            idle,
            peers: chosen,
            scenarios,
            windows: Windows {
                rounds: self.rounds.unwrap_or(usual.rounds),
                seconds: self.seconds.unwrap_or(usual.seconds),
                warm_up: self.warm_up.unwrap_or(usual.warm_up),
            },
            fresh: self.fresh,
        }
    }

    /// Every combination; for each, the closed loop, then the rates.
    fn combinations(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for &backends in &self.backends {
            for &way in &self.way {
                for &connections in &self.connections {
                    for &body in &self.body {
                        let closed =
                            Scenario { connections, body, rate: None, way, backends: usize::from(backends) };
                        scenarios.push(closed);
                        let open = |&rate| Scenario { rate: Some(rate), ..closed };
                        scenarios.extend(self.rate.iter().map(open).filter(|_| way == Way::Http1));
                    }
                }
            }
        }
        scenarios
    }

    /// The method, for the report.
    pub(crate) fn method(&self, work: &Work) -> Vec<String> {
        let Windows { rounds, seconds, warm_up } = work.windows;
        let mut method = vec![
            format!(
                "Proxies on core {}, one worker each; load generator and backends on core {}.",
                self.place.proxy_core, self.place.load_core
            ),
            "Configurations: benches/peers/.".to_owned(),
        ];
        if work.idle {
            method.push("Each proxy alone, started anew: resident memory after its first answer, and again once every connection has had one answer and is kept.".to_owned());
            method.push("Resident memory of the process and its children, where pages they share count in each; the kernel's memory for sockets is in none.".to_owned());
            return method;
        }
        method.extend([
            format!("All proxies run {}; one at a time is under load, the others wait.", if work.fresh { "for one round, and are started anew for the next" } else { "throughout" }),
            format!("{rounds} rounds, interleaved, every second one in the other direction; per proxy and round {warm_up} s of warm-up (discarded), then {seconds} s measured."),
            "CPU per request: CPU time of the proxy and its children over the window (schedstat; stat beside it in the JSON) / requests the generator counted.".to_owned(),
            "Closed loop: wrk, one thread, or h2load for HTTP/2; its latencies are those under full load and omit what a stall would have kept waiting.".to_owned(),
            "Open loop: requests fall due at the rate, latency counts from when they were due.".to_owned(),
            "A figure marked ≤ is an upper bound: over 2 % of its requests may have been cut off at the window's end, and their CPU is in it; use longer windows.".to_owned(),
        ]);
        if work.fresh {
            method.push("Ratios of a variant: the interval holds the true median 95 times in a hundred (order statistics of the rounds' ratios; no assumption but that rounds are independent).".to_owned());
        }
        method
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

    fn works(args: &[&str]) -> Vec<Work> {
        Cli::try_parse_from(std::iter::once(&"bench").chain(args)).unwrap().options.works()
    }

    #[test]
    fn quick_changes_only_what_is_not_given() {
        let quick = &works(&["--quick", "--rounds", "7"])[0];
        let Windows { rounds, seconds, warm_up } = quick.windows;
        assert_eq!((rounds, seconds, warm_up), (7, 2, 1));
        assert_eq!(quick.name, "quick-side-by-side");
        assert_eq!(works(&["--name", "../x y"])[0].name, "..-x-y");
    }

    #[test]
    fn scenarios_are_every_combination() {
        let many = works(&["--connections", "1,64", "--body", "100,1024", "--rate", "5000"]);
        assert_eq!((many.len(), many[0].scenarios.len()), (1, 8));
        assert_eq!(works(&["--way", "h2c,http1", "--rate", "5000"])[0].scenarios.len(), 3);
        assert_eq!(works(&["--peers", "relay,relay,ours"])[0].peers, [Peer::Relay, Peer::Ours]);
    }

    #[test]
    fn named_scenarios_bring_their_peers_and_windows() {
        let two = works(&["--scenario", "churn,idle", "--name", "x", "--seconds", "9"]);
        assert_eq!((two[0].name.as_str(), two[1].name.as_str()), ("x-churn", "x-idle"));
        assert_eq!((two[0].windows.seconds, two[0].windows.rounds, two[1].idle), (9, 3, true));
        assert!(two[0].peers.contains(&Peer::Caddy));
        assert_eq!(works(&["--scenario", "all"]).len(), Group::every().count());
        assert_eq!(works(&["--scenario", "tls", "--peers", "ours"])[0].peers, [Peer::Ours]);
    }
}
