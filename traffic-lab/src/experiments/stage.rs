//! What an experiment runs on: one balancer of ours and the replicas it starts, gone with it.
//!
//! How it fails: what is not ready in time ends the experiment with the end of the balancer's log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use super::{Lab, control};
use crate::clock;
use crate::exposition::{Sample, samples};
use crate::sockets::process::{Process, Signal, signal};

/// How long the pool may take to become what is waited for.
const WITHIN: Duration = Duration::from_secs(30);
/// How often that is looked at.
const POLL: Duration = Duration::from_millis(10);

/// What is particular about a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// The pool's algorithm.
    pub(crate) algorithm: &'static str,
    /// The ring of `consistent_hash`; empty for the default one.
    pub(crate) preset: &'static str,
    /// Replicas to begin with.
    pub(crate) replicas: Vec<String>,
    /// Settings of `[pool]` beside those.
    pub(crate) pool: &'static str,
    /// Further tables.
    pub(crate) more: &'static str,
}

/// A balancer and its replicas.
#[derive(Debug)]
pub(crate) struct Stage {
    balancer: Process,
    traffic: String,
    admin: String,
}

/// Something that happened to the pool.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fact {
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    pub(crate) at: f64,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) backend: String,
    #[serde(default)]
    pub(crate) address: String,
}

/// `server1` and so on.
pub(crate) fn servers(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("server{number}")).collect()
}

impl Stage {
    /// Starts a balancer, and waits until all its replicas may be picked.
    pub(crate) async fn start(lab: &Lab, setup: &Setup) -> Result<Self> {
        let config = lab.scratch.join("balancer.toml");
        std::fs::write(&config, text(lab, setup)).context("writing a configuration")?;
        let arguments = ["serve".to_owned(), "--config".to_owned(), config.display().to_string()];
        let mut balancer = Process::start("balancer", None, &lab.ours, &arguments, &lab.scratch)?;
        let line = balancer.says("listening").await?;
        let word = |name: &str| {
            let found = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.map(str::to_owned).with_context(|| format!("the balancer said {line:?}"))
        };
        let stage = Self { traffic: word("traffic=")?, admin: word("admin=")?, balancer };
        if !setup.replicas.is_empty() {
            stage.eligible(setup.replicas.len()).await?;
        }
        Ok(stage)
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.traffic)
    }

    /// Asks on the traffic port.
    pub(crate) async fn ask(&self, method: &str, target: &str, body: &str) -> Result<(u16, String)> {
        control::call(&self.traffic, method, target, body).await
    }

    /// The members' names in the order of joining.
    pub(crate) async fn members(&self) -> Result<Vec<String>> {
        members(&control::call(&self.admin, "GET", "/rep", "").await?)
    }

    /// Adds a replica, and waits until it may be picked.
    pub(crate) async fn add(&self, name: &str) -> Result<()> {
        let wish = json!({"n": 1, "hostnames": [name]}).to_string();
        let now = members(&control::call(&self.admin, "POST", "/add", &wish).await?)?;
        self.eligible(now.len()).await
    }

    /// Removes a replica.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let wish = json!({"n": 1, "hostnames": [name]}).to_string();
        members(&control::call(&self.admin, "DELETE", "/rm", &wish).await?).map(|_| ())
    }

    /// Waits until so many members may be picked.
    pub(crate) async fn eligible(&self, count: usize) -> Result<()> {
        let what = format!("{count} eligible backends");
        self.until(&what, async || Ok((self.ready().await? == count).then_some(()))).await
    }

    /// How many may be picked.
    pub(crate) async fn ready(&self) -> Result<usize> {
        let (_, text) = control::call(&self.admin, "GET", "/ready", "").await?;
        let number = text.strip_prefix("ready: ").and_then(|rest| rest.split(' ').next());
        Ok(number.and_then(|number| number.parse().ok()).unwrap_or(0))
    }

    /// What happened to the pool after fact `seen`.
    pub(crate) async fn facts(&self, seen: u64) -> Result<Vec<Fact>> {
        #[derive(Deserialize)]
        struct Told {
            facts: Vec<Fact>,
        }
        let (code, text) = control::call(&self.admin, "GET", "/decisions?format=json&last=1000", "").await?;
        ensure!(code == 200, "/decisions: {code} {text}");
        let told: Told = serde_json::from_str(&text).context("/decisions")?;
        Ok(told.facts.into_iter().filter(|fact| fact.number > seen).collect())
    }

    /// Waits for something to happen to the pool after fact `seen`.
    pub(crate) async fn fact(&self, seen: u64, what: &str, which: impl Fn(&Fact) -> bool) -> Result<Fact> {
        self.until(what, async || Ok(self.facts(seen).await?.into_iter().find(&which))).await
    }

    /// Where each replica listens.
    pub(crate) async fn addresses(&self) -> Result<BTreeMap<String, String>> {
        let joined = self.facts(0).await?.into_iter().filter(|fact| fact.kind == "joined");
        Ok(joined.map(|fact| (fact.backend, fact.address)).collect())
    }

    /// Has a replica go wrong.
    pub(crate) async fn fault(&self, name: &str, fault: &serde_json::Value) -> Result<()> {
        let addresses = self.addresses().await?;
        let address = addresses.get(name).with_context(|| format!("{name} has not joined"))?;
        let (code, text) = control::call(address, "POST", "/fault", &fault.to_string()).await?;
        ensure!(code == 200, "/fault of {name}: {code} {text}");
        Ok(())
    }

    /// Who was picked most.
    pub(crate) async fn busiest(&self) -> Result<String> {
        let (_, text) = control::call(&self.admin, "GET", "/metrics", "").await?;
        let members = self.members().await?;
        let picked = |name: &String| sum(&text, "lb_decisions_total", |one| one.label("backend") == name);
        let most = members.into_iter().max_by(|a, b| picked(a).total_cmp(&picked(b)));
        most.context("the pool is empty")
    }

    /// The sum of a counter's series.
    pub(crate) async fn counter(&self, family: &str) -> Result<f64> {
        let (_, text) = control::call(&self.admin, "GET", "/metrics", "").await?;
        Ok(sum(&text, family, |_| true))
    }

    /// Kills a replica as a crash would: `kill -9`.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let pid = self.processes().remove(name).with_context(|| format!("{name} does not run"))?;
        signal(pid, Signal::KILL)
    }

    /// The replicas' processes by name, from the kernel's table.
    fn processes(&self) -> BTreeMap<String, u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.balancer.pid())).into_iter().flatten();
        let children =
            tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let pids: Vec<u32> = children
            .flat_map(|line| line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        let named = |pid: u32| {
            let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let mut words = words.split('\0').skip_while(|word| *word != "--name").skip(1);
            Some((words.next()?.to_owned(), pid))
        };
        pids.into_iter().filter_map(named).collect()
    }

    /// Waits until `look` finds something.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
        let begun = clock::now();
        let mut polls = tokio::time::interval(POLL);
        loop {
            polls.tick().await;
            if let Some(found) = look().await? {
                return Ok(found);
            }
            ensure!(
                clock::now() - begun < WITHIN,
                "not within {WITHIN:?}: {what}; the balancer's log ends:\n{}",
                self.balancer.log_end()
            );
        }
    }

    /// Ends it all, in order: what is left is the balancer's fault and an error.
    pub(crate) async fn stop(self) -> Result<()> {
        let replicas = self.processes();
        self.balancer.stop().await?;
        for (name, pid) in replicas {
            let left = std::path::Path::new(&format!("/proc/{pid}")).exists();
            ensure!(!left, "{name} (process {pid}) outlived its balancer");
        }
        Ok(())
    }
}

fn text(lab: &Lab, setup: &Setup) -> String {
    let Setup { algorithm, preset, pool, more, .. } = setup;
    let preset = if preset.is_empty() { "default" } else { preset };
    let replicas: String =
        setup.replicas.iter().map(|name| format!("[[pool.backend]]\nname = \"{name}\"\n")).collect();
    let provider = if replicas.is_empty() { "static" } else { "process" };
    format!(
        "[listen]\ntraffic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [control]\non_traffic_port = true\nregistration = true\n\
         [algo]\nchoosers = \"anyone\"\n\
         [pool]\nalgorithm = \"{algorithm}\"\nslow_start = \"0\"\n{pool}\n\
         [hash]\npreset = \"{preset}\"\nkey = [\"query:request_id\", \"client_addr\"]\n\
         [replicas]\nprovider = \"{provider}\"\n\
         [replicas.process]\nprogram = {:?}\nargs = [\"--fault\"]\n\
         [state]\nfile = \"off\"\n{more}\n{replicas}",
        lab.backend.display().to_string()
    )
}

/// The names in what `/rep`, `/add` and `/rm` answer.
fn members((code, answer): &(u16, String)) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Told {
        message: Replicas,
    }
    #[derive(Deserialize)]
    struct Replicas {
        replicas: Vec<String>,
    }
    ensure!(*code == 200, "the balancer refused: {code} {answer}");
    let told: Told = serde_json::from_str(answer).context("what the balancer answered")?;
    Ok(told.message.replicas)
}

/// The sum of a family's samples that are wanted.
fn sum(text: &str, family: &str, wanted: impl Fn(&Sample<'_>) -> bool) -> f64 {
    samples(text).filter(|one| one.name == family && wanted(one)).map(|one| one.value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_configured_as_it_is_set_up() {
        let setup = Setup { algorithm: "consistent_hash", replicas: servers(2), ..Setup::default() };
        let text = text(&Lab::nowhere(), &setup);
        for part in
            ["preset = \"default\"", "algorithm = \"consistent_hash\"", "\"process\"", "name = \"server2\""]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(super::text(&Lab::nowhere(), &Setup::default()).contains("provider = \"static\""));
    }

    #[test]
    fn answers_and_counters_are_read() {
        let rep = r#"{"message":{"N":2,"replicas":["S1","S2"]},"status":"successful"}"#;
        assert_eq!(members(&(200, rep.to_owned())).unwrap(), ["S1", "S2"]);
        let refused = members(&(400, "<Error> no".to_owned())).unwrap_err().to_string();
        assert!(refused.contains("400 <Error> no"), "{refused}");
        let metrics = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 9\n";
        assert!((sum(metrics, "a_total", |_| true) - 5.0).abs() < 1e-9);
        assert!((sum(metrics, "a_total", |one| one.label("x") == "2") - 3.0).abs() < 1e-9);
    }
}
