//! Flags and environment to a checked [`Config`]; a flag always wins over the environment.
//!
//! An empty environment variable counts as absent for every text, since compose files hand on `${NAME:-}` as an empty
//! one. The name has three variables, by history: `SERVER_ID`, then `NAME`, then `HOST`. `HOST` comes last, and not
//! at all when it is an address: some shells export it as the machine's name, and many habits as an address to bind.
//! How it fails: one line that names the setting, its value and a right one; the process ends with 2, as clap does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand};
use reqwest::Url;

/// Used when nothing names the server.
const DEFAULT_NAME: &str = "backend";

/// Shown for a region that nobody set.
const NO_REGION: &str = "-";

/// Longest name and region, bytes: they become metric labels and part of every answer.
const TEXT_MAX: usize = 128;

/// The replica service that Ballast is shown and tested with.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
The name is taken from --name, else SERVER_ID, NAME, HOST (the first that is set; HOST not when it is an address).
TOKIO_WORKER_THREADS sets the number of network threads (default: one for each core).
Exit: 0 after SIGTERM or SIGINT, 1 when it cannot listen, 2 for bad settings; of health, 1 when it is not."
)]
pub struct Args {
    /// Name of this server, in answers and metrics [env: SERVER_ID, NAME, HOST]
    #[arg(long, visible_alias = "server-id")]
    name: Option<String>,
    /// Address to listen on; 0.0.0.0 in a container
    #[arg(long, env = "BIND", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Port to listen on; 0 takes a free one and prints it
    #[arg(long, env = "PORT", default_value_t = 5000)]
    port: u16,
    /// Region shown in answers and metrics
    #[arg(long, env = "REGION")]
    region: Option<String>,
    /// Static weight shown in metrics, for balancers that want to be told
    #[arg(long, env = "WEIGHT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    weight: u32,
    /// Where to announce this server by POST once it listens, such as http://127.0.0.1:5000/server_up
    #[arg(long, env = "REGISTER_URL")]
    register_url: Option<String>,
    /// Bearer token for the announcement; better set in the environment, since arguments are visible to others
    #[arg(long, env = "REGISTER_TOKEN", hide_env_values = true)]
    register_token: Option<String>,
    /// URL to announce instead of the address listened on
    #[arg(long, env = "ADVERTISE_URL")]
    advertise_url: Option<String>,
    /// Stop when standard input ends, so that a server never outlives whoever started it
    #[arg(long)]
    until_eof: bool,
    /// Open /fault, which breaks this server on demand; for the lab only
    #[arg(long, env = "FAULT", value_parser = FalseyValueParser::new())]
    fault: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Ask the server with these settings whether it is healthy: exit code 0 if so. For health checks of containers
    Health,
}

/// Settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name in answers and metrics.
    pub name: String,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    pub port: u16,
    /// Region, or `-`.
    pub region: String,
    /// Static weight, shown only.
    pub weight: u32,
    /// Whether `/fault` is open.
    pub fault: bool,
    /// Whom to tell that this server is there.
    pub register: Option<Register>,
}

/// How to announce this server.
#[derive(Clone, Debug)]
pub struct Register {
    /// Where to post.
    pub to: Url,
    /// Bearer token, if the other side wants one.
    pub token: Option<String>,
    /// What to announce; `None`: the address listened on.
    pub advertise: Option<Url>,
}

impl Default for Config {
    /// What tests want: a free port on loopback, nothing announced, no faults.
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            region: NO_REGION.to_owned(),
            weight: 1,
            fault: false,
            register: None,
        }
    }
}

impl Args {
    /// Whether to stop when standard input ends.
    #[must_use]
    pub fn until_eof(&self) -> bool {
        self.until_eof
    }

    /// Where to ask for the health of the server with these settings, if that is wanted instead of serving.
    #[must_use]
    pub fn asks(&self) -> Option<String> {
        let Command::Health = self.command?;
        let host = match self.bind {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Some(format!("http://{}/health", SocketAddr::new(host, self.port)))
    }

    /// Checks what clap cannot; `env` looks up a variable. The error is one line for people.
    pub fn config(self, env: impl Fn(&str) -> Option<String>) -> Result<Config, String> {
        let register = match filled(self.register_url) {
            Some(to) => Some(Register {
                to: http_url("REGISTER_URL (--register-url)", &to)?,
                token: filled(self.register_token),
                advertise: filled(self.advertise_url)
                    .map(|own| http_url("ADVERTISE_URL (--advertise-url)", &own))
                    .transpose()?,
            }),
            None => None,
        };
        Ok(Config {
            name: short("the name", name(self.name, env))?,
            bind: self.bind,
            port: self.port,
            region: short("the region", filled(self.region).unwrap_or_else(|| NO_REGION.to_owned()))?,
            weight: self.weight,
            fault: self.fault,
            register,
        })
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

fn name(flag: Option<String>, env: impl Fn(&str) -> Option<String>) -> String {
    let host = || filled(env("HOST")).filter(|host| host.parse::<IpAddr>().is_err());
    filled(flag)
        .or_else(|| filled(env("SERVER_ID")))
        .or_else(|| filled(env("NAME")))
        .or_else(host)
        .unwrap_or_else(|| DEFAULT_NAME.to_owned())
}

fn short(what: &str, text: String) -> Result<String, String> {
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(format!("{what} must be at most {TEXT_MAX} bytes without control characters"));
    }
    Ok(text)
}

fn http_url(what: &str, text: &str) -> Result<Url, String> {
    let fix = "give one such as http://127.0.0.1:5000/";
    let url = Url::parse(text).map_err(|error| format!("{what} is {text:?}: {error}; {fix}"))?;
    if url.scheme() != "http" {
        return Err(format!("{what} is {text:?}: only http is spoken here; {fix}"));
    }
    Ok(url)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
