//! From the configuration to a provider.

use std::rc::Rc;

use tokio::sync::mpsc;

use super::{Death, Docker, DockerSettings, Process, ProcessSettings, Provider};
use crate::config::{self, Config};

/// The provider that the configuration names; `None` for backends that are somebody else's. `succeeds` is
/// the process of the balancer that this one takes over from, and that still serves.
///
/// # Errors
/// Where it cannot be had: a program or a daemon is missing.
pub fn configured(
    config: &Config,
    succeeds: Option<u32>,
    deaths: mpsc::UnboundedSender<Death>,
) -> Result<Option<Rc<dyn Provider>>, String> {
    Ok(match &config.replicas.provider {
        // Whoever runs the pods starts and heals them: only their number is asked for, in `kubernetes`.
        config::Provider::Static | config::Provider::Kubernetes(_) => None,
        config::Provider::Process(process) => {
            let settings = ProcessSettings {
                program: process.program.clone(),
                args: process.args.clone(),
                ports: process.ports.clone(),
                record: config.state.as_ref().map(|state| state.with_extension("replicas")),
                succeeds,
                ..ProcessSettings::default()
            };
            Some(Rc::new(Process::new(settings, deaths)?))
        }
        config::Provider::Docker(docker) => {
            let settings = DockerSettings {
                host: docker.host.clone(),
                image: docker.image.clone(),
                network: docker.network.clone(),
                port: docker.port,
                env: docker.env.clone(),
                command: docker.command.clone(),
                pool: config.pool.name.clone(),
            };
            Some(Rc::new(Docker::new(settings, deaths)?))
        }
    })
}
