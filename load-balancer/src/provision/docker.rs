//! The provider `docker`: replicas are containers of one image, on one Docker daemon.
//!
//! Containers outlive the balancer, so the next one takes them over: the label `ballast.pool` says whose they are, and
//! nothing without it is ever touched. Each replica is watched by a task that waits at the daemon for its end and then
//! inspects it: only what inspection says counts, so a broken connection can neither lose a death nor invent one, which a
//! stream of events could. A dead container is removed. How it fails: errors name the container and what Docker said;
//! while the daemon is away, deaths are told once it is back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::{Death, Order, Provider, Replica, Task};

mod container;
mod end;
mod watching;

/// Where the daemon listens unless it was told otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// For the daemon to answer one request, seconds: starting a container takes some on a busy machine.
const ANSWER_WITHIN_S: u64 = 60;
/// The label with the pool's name: what carries it is ours.
const POOL_LABEL: &str = "ballast.pool";
/// The label with the replica's name.
const REPLICA_LABEL: &str = "ballast.replica";

/// How to run replicas as containers.
#[derive(Clone, Debug, Default)]
pub struct DockerSettings {
    /// The daemon, `unix:///PATH` or `tcp://HOST:PORT` (unencrypted); `None` is its usual socket.
    pub host: Option<String>,
    /// The image, which must be there already: nothing is pulled.
    pub image: String,
    /// The network on which the balancer reaches replicas; `None` is Docker's own bridge.
    pub network: Option<String>,
    /// The port that the service listens on inside, on all addresses.
    pub port: u16,
    /// Environment, beside `SERVER_ID` and `NAME` (the replica's name), `PORT`, `REGION` and `WEIGHT`, which win.
    pub env: BTreeMap<String, String>,
    /// Command instead of the image's; empty keeps that.
    pub command: Vec<String>,
    /// The pool's name: the start of container names, and the label that tells ours. One balancer for each.
    pub pool: String,
}

/// Replicas as containers. Works on a local runtime only; dropping it leaves its containers to the next balancer.
pub struct Docker {
    state: Rc<State>,
}

/// What the provider and its tasks share.
struct State {
    client: bollard::Docker,
    settings: DockerSettings,
    replicas: RefCell<BTreeMap<String, Slot>>,
    deaths: mpsc::UnboundedSender<Death>,
    /// Creations under way; a shutdown waits for them.
    creating: watch::Sender<usize>,
    closed: Cell<bool>,
    /// The containers are another balancer's.
    released: Cell<bool>,
}

/// A name in use: the task that watches its container, or none while that is only being created.
struct Slot(Option<AbortHandle>);

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.abort();
        }
    }
}

impl Docker {
    /// A provider without replicas; [`Provider::adopt`] connects. Unasked ends go to `deaths`.
    ///
    /// # Errors
    /// Where the daemon's address makes no sense, or its socket is not there.
    pub fn new(settings: DockerSettings, deaths: mpsc::UnboundedSender<Death>) -> Result<Self, String> {
        let host = settings.host.as_deref().unwrap_or(DEFAULT_HOST);
        let version = bollard::API_DEFAULT_VERSION;
        let client = if host.starts_with("unix://") {
            bollard::Docker::connect_with_unix(host, ANSWER_WITHIN_S, version)
        } else if host.starts_with("tcp://") {
            bollard::Docker::connect_with_http(host, ANSWER_WITHIN_S, version)
        } else {
            return Err(format!("{host:?} is no Docker host: give unix:///PATH or tcp://HOST:PORT"));
        };
        let client = client.map_err(|e| format!("Docker at {host}: {}; is it running?", plain(&e)))?;
        let (replicas, closed, released) = (RefCell::default(), Cell::new(false), Cell::new(false));
        let creating = watch::Sender::new(0);
        let state = State { client, settings, replicas, deaths, creating, closed, released };
        Ok(Docker { state: Rc::new(state) })
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // The watching tasks share the state, and would keep it.
        self.state.replicas.borrow_mut().clear();
    }
}

impl Provider for Docker {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn adopt(&self) -> Task<'_, Result<Vec<Replica>, String>> {
        Box::pin(self.state.adopt())
    }

    fn create(&self, order: Order) -> Task<'_, Result<Replica, String>> {
        Box::pin(async {
            let (done, result) = oneshot::channel();
            let name = order.name.clone();
            self.state.reserve(&name)?;
            // A task of its own: it brings to an end what was begun, whether or not somebody still waits.
            tokio::task::spawn_local(Rc::clone(&self.state).create(order, done));
            result.await.unwrap_or_else(|_| Err(format!("{name}: its creation was broken off")))
        })
    }

    fn remove<'a>(&'a self, name: &'a str) -> Task<'a, Result<(), String>> {
        Box::pin(async {
            // From here on its end is asked for.
            self.state.replicas.borrow_mut().remove(name);
            self.state.remove(name).await
        })
    }

    fn release(&self) {
        self.state.released.set(true);
    }

    fn shutdown(&self) -> Task<'_, ()> {
        Box::pin(async {
            self.state.closed.set(true);
            // The sender is ours: this cannot fail.
            let _ = self.state.creating.subscribe().wait_for(|&n| n == 0).await;
            let replicas = std::mem::take(&mut *self.state.replicas.borrow_mut());
            if self.state.released.get() {
                return;
            }
            // Without the slots, whose end is that of the watching: these ends are asked for.
            let names: Vec<String> = replicas.into_keys().collect();
            let removals = join_all(names.iter().map(|name| self.state.remove(name))).await;
            for error in removals.into_iter().filter_map(Result::err) {
                tracing::warn!(%error, "a replica may still be running");
            }
        })
    }
}

impl State {
    async fn adopt(self: &Rc<Self>) -> Result<Vec<Replica>, String> {
        // Older daemons refuse requests of a newer version. All clones of the client share what is agreed.
        self.answer("version", self.client.clone().negotiate_version()).await?;
        let filter = [("label", vec![format!("{POOL_LABEL}={}", self.settings.pool)])].into();
        let all = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
        let mut replicas = Vec::new();
        for found in self.answer("list", self.client.list_containers(Some(all))).await? {
            let Some((name, id)) = identify(&found) else { continue };
            let running = found.state == Some(ContainerSummaryStateEnum::RUNNING);
            let address = if running { self.address(&id).await } else { Err("it has ended".to_owned()) };
            match address {
                Ok(address) => {
                    self.watch(&name, &id);
                    replicas.push(Replica { name, address });
                }
                Err(why) => {
                    tracing::info!(replica = name, why, "left behind by another balancer: removed");
                    // One that cannot be removed now must not keep the others from their work.
                    if let Err(error) = self.end(&id).await {
                        tracing::error!(replica = name, error, "a container of ours stays behind");
                    }
                }
            }
        }
        Ok(replicas)
    }

    /// Takes a name for a creation, which [`State::create`] must follow.
    fn reserve(&self, name: &str) -> Result<(), String> {
        if self.closed.get() {
            return Err(format!("{name} is not started: everything is being stopped"));
        }
        if self.replicas.borrow().contains_key(name) {
            return Err(format!("a replica named {name} runs already"));
        }
        self.replicas.borrow_mut().insert(name.to_owned(), Slot(None));
        self.creating.send_modify(|n| *n += 1);
        Ok(())
    }

    /// The name of a replica's container.
    fn container(&self, name: &str) -> String {
        format!("{}-{name}", self.settings.pool)
    }

    /// What the daemon says to one request; `what` begins the error.
    async fn answer<T>(
        &self,
        what: &str,
        request: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, String> {
        request.await.map_err(|e| format!("Docker, {what}: {}", plain(&e)))
    }
}

/// The replica's name and the container's id.
fn identify(found: &ContainerSummary) -> Option<(String, String)> {
    Some((found.labels.as_ref()?.get(REPLICA_LABEL)?.clone(), found.id.clone()?))
}

/// An error with its causes, which Docker's client does not tell by itself.
fn plain(error: &bollard::errors::Error) -> String {
    if let bollard::errors::Error::DockerResponseServerError { message, .. } = error {
        return message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

/// The HTTP status of a refusal by the daemon.
fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}
