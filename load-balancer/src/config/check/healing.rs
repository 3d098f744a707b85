//! Ejection, replicas and state; and what only shows when sections are seen together.

use std::path::{Path, PathBuf};

use lb_core::breaker::Rules;
use lb_core::scale::Scaling;
use toml::Value;

use super::super::faults::HIDDEN;
use super::super::{
    Asked, Cluster, Config, Docker, Ejection, HealthChecks, Process, Provider, Replicas, Spoken, raw,
};
use super::{Checker, quoted};

/// The value of `state.file` that keeps no state.
const OFF: &str = "off";

impl Checker {
    pub(super) fn ejection(&mut self, raw: &raw::Ejection) -> Ejection {
        self.unknown("ejection", &raw.unknown, raw::Ejection::KEYS);
        let rules = Rules {
            consecutive: self.int("ejection.consecutive", raw.consecutive.as_ref(), 5, 1, 10_000) as u32,
            connects: self.int("ejection.connects", raw.connects.as_ref(), 3, 1, 10_000) as u32,
            base: self.time("ejection.base", raw.base.as_ref(), "1s"),
            longest: self.time("ejection.longest", raw.longest.as_ref(), "60s"),
            decay: self.time("ejection.decay", raw.decay.as_ref(), "30s"),
            requests: self.int("ejection.requests", raw.requests.as_ref(), 20, 1, 1_000_000) as u32,
            success: self.float("ejection.success", raw.success.as_ref(), 0.85, 0.0, 1.0),
            deviations: self.float("ejection.deviations", raw.deviations.as_ref(), 1.9, 0.0, 10.0),
        };
        if rules.longest < rules.base {
            self.faults.add(
                "ejection.longest",
                &quoted(&format!("{:?}", rules.longest)),
                "must not be shorter than ejection.base",
            );
        }
        Ejection {
            enabled: self.flag("ejection.enabled", raw.enabled.as_ref(), true),
            rules,
            max_share: self.float("ejection.max_share", raw.max_share.as_ref(), 0.33, 0.0, 1.0),
            panic: self.float("ejection.panic", raw.panic.as_ref(), 0.5, 0.0, 1.0),
        }
    }

    pub(super) fn replicas(&mut self, raw: &raw::Replicas, cluster: &Cluster) -> Replicas {
        self.unknown("replicas", &raw.unknown, raw::Replicas::KEYS);
        let process = self.process(&raw.process);
        let docker = self.docker(&raw.docker);
        let scaling = self.scaling(&raw.scaling);
        let provider = ["static", "process", "docker", "kubernetes"];
        let deployment = self.deployment(&raw.kubernetes, cluster);
        Replicas {
            provider: match self.one_of("replicas.provider", raw.provider.as_ref(), &provider) {
                1 => Provider::Process(process),
                2 => Provider::Docker(docker),
                3 => Provider::Kubernetes(deployment),
                _ => Provider::Static,
            },
            weight: self.int("replicas.weight", raw.weight.as_ref(), 1, 1, crate::config::WEIGHT_MOST.into())
                as u32,
            region: self.text("replicas.region", raw.region.as_ref(), ""),
            replace_after: self.time("replicas.replace_after", raw.replace_after.as_ref(), "10s"),
            scaling,
        }
    }

    fn scaling(&mut self, raw: &raw::Scaling) -> Option<Scaling> {
        self.unknown("replicas.scaling", &raw.unknown, raw::Scaling::KEYS);
        let least = self.int("replicas.scaling.least", raw.least.as_ref(), 1, 1, 1_000) as u32;
        let most = self.int("replicas.scaling.most", raw.most.as_ref(), 0, 0, 1_000) as u32;
        let target = self.float("replicas.scaling.target", raw.target.as_ref(), 10.0, 0.1, 1e6);
        let cool_down = self.time("replicas.scaling.cool_down", raw.cool_down.as_ref(), "60s");
        if most > 0 && most < least {
            let remedy = "must be 0 (no scaling) or at least replicas.scaling.least";
            self.faults.add("replicas.scaling.most", &most.to_string(), remedy);
        }
        (most > 0).then_some(Scaling { least, most, target, cool_down })
    }

    fn process(&mut self, raw: &raw::Process) -> Process {
        self.unknown("replicas.process", &raw.unknown, raw::Process::KEYS);
        let program = self.text("replicas.process.program", raw.program.as_ref(), "");
        let ports = self.text("replicas.process.ports", raw.ports.as_ref(), "");
        let range = ports.split_once('-').and_then(|(from, to)| {
            let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            (0 < from && from <= to).then_some(from..=to)
        });
        if range.is_none() && !ports.is_empty() {
            let remedy = "must be a range like \"5001-5099\", or \"\" to leave it to the system";
            self.faults.add("replicas.process.ports", &quoted(&ports), remedy);
        }
        Process {
            program: (!program.is_empty()).then(|| PathBuf::from(program)),
            args: self.texts("replicas.process.args", raw.args.as_ref(), &[]),
            ports: range,
        }
    }

    fn docker(&mut self, raw: &raw::Docker) -> Docker {
        self.unknown("replicas.docker", &raw.unknown, raw::Docker::KEYS);
        let optional = |text: String| (!text.is_empty()).then_some(text);
        let mut env = std::collections::BTreeMap::new();
        match &raw.env {
            None => {}
            Some(Value::Table(table)) => {
                for (key, value) in table {
                    match value.as_str() {
                        Some(text) => {
                            env.insert(key.clone(), text.to_owned());
                        }
                        None => {
                            let field = format!("replicas.docker.env.{key}");
                            self.faults.add(&field, HIDDEN, "must be a string in quotes");
                        }
                    }
                }
            }
            Some(other) => {
                self.faults.add(
                    "replicas.docker.env",
                    &other.to_string(),
                    "must be a table: { NAME = \"value\" }",
                );
            }
        }
        Docker {
            host: optional(self.text("replicas.docker.host", raw.host.as_ref(), "")),
            image: self.text("replicas.docker.image", raw.image.as_ref(), ""),
            network: optional(self.text("replicas.docker.network", raw.network.as_ref(), "")),
            port: self.int("replicas.docker.port", raw.port.as_ref(), 5000, 1, 65_535) as u16,
            command: self.texts("replicas.docker.command", raw.command.as_ref(), &[]),
            env,
        }
    }

    /// Beside the configuration file unless told otherwise: `ballast.toml` keeps its state in `ballast.state.json`.
    pub(super) fn state(&mut self, raw: &raw::State, file: Option<&Path>) -> Option<PathBuf> {
        self.unknown("state", &raw.unknown, raw::State::KEYS);
        match self.text("state.file", raw.file.as_ref(), "").as_str() {
            "" => file.map(|file| file.with_extension("state.json")),
            OFF => None,
            named => Some(PathBuf::from(named)),
        }
    }

    /// Faults between sections.
    pub(super) fn fits_together(&mut self, config: &Config) {
        let backends = &config.pool.backends;
        let provided = config.replicas.provider.starts();
        let come = provided || config.control.registration || config.discovery.finder.is_some();
        if backends.is_empty() && !come {
            let remedy = "no backend: add [[pool.backend]] with name = \"…\" and address = \"host:port\"; \
                          or let them come by discovery.source, control.registration or a replicas.provider";
            self.faults.add("pool.backend", "", remedy);
        }
        for (i, backend) in backends.iter().enumerate().filter(|(_, b)| b.address.is_none()) {
            let field = format!("pool.backend[{i}]");
            if !provided {
                let remedy = "is missing: write address = \"host:port\" (without one it is a replica, \
                              which needs a replicas.provider)";
                self.faults.add(&format!("{field}.address"), "", remedy);
            } else if !lb_core::membership::valid_name(&backend.name) {
                let remedy = "a replica's name must be a DNS label: letters, digits and hyphens";
                self.faults.add(&format!("{field}.name"), &quoted(&backend.name), remedy);
            }
        }
        let grpc = |health: &HealthChecks| matches!(health.asked, Asked::Grpc(_));
        if config.health.as_ref().is_some_and(grpc) && config.pool.protocol == Spoken::Http1 {
            let remedy = "is spoken over HTTP/2: write pool.protocol = \"http2\", or health.kind = \"http\"";
            self.faults.add("health.kind", &quoted("grpc"), remedy);
        }
        if let Provider::Docker(docker) = &config.replicas.provider
            && docker.image.is_empty()
        {
            self.faults.add("replicas.docker.image", "", "is missing: name the image of the replicas");
        }
        if let Provider::Kubernetes(deployment) = &config.replicas.provider {
            self.scalable(deployment, config.replicas.scaling.is_some());
        } else if config.replicas.scaling.is_some() && !provided {
            let remedy = "needs a replicas.provider that can start replicas";
            self.faults.add("replicas.scaling.most", "", remedy);
        }
    }
}
