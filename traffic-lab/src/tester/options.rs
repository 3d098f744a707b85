//! The command line, made into a plan.
//!
//! How it fails: clap names what it cannot read; the rest is refused by [`Plan`] itself, or here where it is about files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::arrivals::Arrivals;
use super::plan::{Pace, Plan};

/// Options of `tester`.
#[derive(Debug, Args)]
#[command(after_help = "\
In the URL and in headers, {n} is the request's number, {random} six random digits and {random:N} a number below N;
the last of them is kept as the request's key.
Exit: 0 if every request was answered with a status below 400, 1 if not, 2 if nothing could be sent or kept.")]
pub(crate) struct Arguments {
    /// Where to, such as http://127.0.0.1:5000/home
    url: String,
    /// How many requests; may be left out where --duration says when to end
    #[arg(value_name = "N")]
    requests: Option<u64>,
    /// Requests at once [default: 50]; with --rate the most connections [default: 2000]
    #[arg(short, long, value_name = "N")]
    concurrency: Option<usize>,
    /// Requests a second, sent by the clock whether or not earlier ones are answered; latency counts from when due
    #[arg(short, long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Gaps between requests
    #[arg(long, value_enum, default_value_t, requires = "rate")]
    arrivals: Arrivals,
    /// Send nothing after this time: 500ms, 10s, 2m
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// GET, or POST where there is a body, unless told otherwise
    #[arg(short = 'X', long)]
    method: Option<String>,
    /// A header such as "x-name: value"; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// What to send as body
    #[arg(long, value_name = "TEXT", conflicts_with = "body_file")]
    body: Option<String>,
    /// A file to send as body
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// A new connection for each request
    #[arg(long)]
    no_keep_alive: bool,
    /// How long a request may take, from when it is due or sent [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// What gaps and {random} are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ask the balancer for this algorithm (header x-lb-algo)
    #[arg(long, value_name = "NAME")]
    algo: Option<String>,
    /// Where these clients are: kept with each record, for replay. Nothing is sent; add the header that the balancer
    /// takes for it, such as -H "x-forwarded-for: 203.0.113.7"
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Where to keep the run
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// The run's id, which is its file's name [default: drawn from the time]
    #[arg(long)]
    id: Option<String>,
    /// What to call the run in lists
    #[arg(long)]
    title: Option<String>,
}

impl Arguments {
    /// Where to keep the run, if that can be done.
    pub(super) fn directory(&self) -> Result<&Path> {
        writable(&self.out)?;
        Ok(&self.out)
    }

    /// What they ask for.
    pub(super) fn plan(&self) -> Result<Plan> {
        let body = match (&self.body, &self.body_file) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(file)) => {
                Some(std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
            }
            (None, None) => None,
        };
        if let Some(id) = &self.id {
            let taken = self.out.join(format!("{id}.json"));
            ensure!(!taken.exists(), "{} is there already: choose another --id", taken.display());
        }
        let usual = if body.is_some() { "POST" } else { "GET" };
        let plan = Plan::new(&self.url, 0);
        Ok(Plan {
            id: self.id.clone(),
            title: self.title.clone(),
            method: self.method.clone().unwrap_or_else(|| usual.to_owned()),
            headers: self.headers.clone(),
            body: body.unwrap_or_default(),
            requests: self.requests,
            duration: self.duration,
            pace: self.rate.map_or(Pace::Closed, |rate| Pace::Open { rate, arrivals: self.arrivals }),
            concurrency: self.concurrency,
            keep_alive: !self.no_keep_alive,
            timeout: self.timeout.unwrap_or(plan.timeout),
            seed: self.seed,
            algorithm: self.algo.clone(),
            region: self.region.clone(),
            ..plan
        })
    }
}

/// Whether files can be kept there: said before hours of requests rather than after.
fn writable(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let probe = directory.join(format!(".tester-{}", std::process::id()));
    std::fs::write(&probe, "").with_context(|| format!("cannot write into {}", directory.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("cannot remove {}", probe.display()))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let fix = "write a time such as 500ms, 10s or 2m";
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (number, unit) =
        units.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit))).ok_or(fix)?;
    let seconds = number.parse::<f64>().map_err(|_| fix)? * unit;
    Duration::try_from_secs_f64(seconds).map_err(|_| fix.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan(line: &str) -> Result<Plan> {
        let out = std::env::temp_dir().display().to_string();
        let words = ["tester"].into_iter().chain(line.split(' ')).chain(["--out", &out]);
        Command::try_parse_from(words)?.arguments.plan()
    }

    #[test]
    fn every_option_reaches_the_plan() {
        let plan = plan(
            "http://x/ 9 -c 3 -r 2.5 --arrivals constant -d 1.5s -X PUT -H a:b -H c:d:e --body hi --no-keep-alive \
             --timeout 250ms --seed 4 --algo random --region EU --id i --title t",
        )
        .unwrap();
        assert_eq!((plan.url.as_str(), plan.requests, plan.concurrency), ("http://x/", Some(9), Some(3)));
        assert_eq!(plan.pace, Pace::Open { rate: 2.5, arrivals: Arrivals::Constant });
        let times = (plan.duration, plan.timeout);
        assert_eq!(times, (Some(Duration::from_millis(1500)), Duration::from_millis(250)));
        assert_eq!((plan.method.as_str(), plan.body.as_slice()), ("PUT", &b"hi"[..]));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(plan.headers, [pair("a", "b"), pair("c", "d:e")]);
        assert!(!plan.keep_alive && plan.seed == 4);
        assert_eq!(plan.region.as_deref(), Some("EU"));
        let texts = (plan.algorithm.as_deref(), plan.id.as_deref(), plan.title.as_deref());
        assert_eq!(texts, (Some("random"), Some("i"), Some("t")));
    }

    #[test]
    fn the_usual_and_what_is_refused() {
        let usual = plan("http://x/ 9").unwrap();
        assert_eq!((usual.method.as_str(), usual.pace, usual.keep_alive), ("GET", Pace::Closed, true));
        assert_eq!(plan("http://x/ 9 --body hi").unwrap().method, "POST");
        assert!(plan("http://x/ -d 2m").unwrap().requests.is_none());
        for (line, says) in [
            ("http://x/ -1", "-1"),
            ("http://x/ 9 -d 10", "500ms"),
            ("http://x/ 9 -d -1s", "-1"),
            ("http://x/ 9 --duration=-1s", "500ms"),
            ("http://x/ 9 -H nothing", "NAME: VALUE"),
            ("http://x/ 9 --arrivals constant", "--rate"),
            ("http://x/ 9 --body-file /nowhere/x", "cannot read /nowhere/x"),
            ("http://x/ 9 --body a --body-file b", "cannot be used with"),
        ] {
            let error = format!("{:#}", plan(line).unwrap_err());
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
