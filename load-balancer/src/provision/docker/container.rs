//! One container's beginning: what it is made of, and what is done when it does not come up.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HostConfig, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;
use tokio::sync::oneshot;

use super::end::how;
use super::{DockerSettings, POOL_LABEL, REPLICA_LABEL, State, plain, status};
use crate::provision::{Order, Replica};

/// Docker's own networks, on which containers have no further names.
const BUILT_IN: [&str; 4] = ["default", "bridge", "host", "none"];

impl State {
    /// Creates what was ordered and tells `done`; nothing is left where that fails or nobody wants it any more.
    pub(super) async fn create(self: Rc<Self>, order: Order, done: oneshot::Sender<Result<Replica, String>>) {
        let made = self.make(&order, || done.is_closed() || self.unwanted(&order.name)).await;
        match &made {
            Ok((id, _)) => self.watch(&order.name, id),
            Err(_) => drop(self.replicas.borrow_mut().remove(&order.name)),
        }
        self.creating.send_modify(|n| *n -= 1);
        // Whoever left in this very moment finds the replica under its name.
        let _ = done.send(made.map(|(_, replica)| replica));
    }

    /// Whether a removal or a shutdown came while it was being created.
    fn unwanted(&self, name: &str) -> bool {
        self.closed.get() || !self.replicas.borrow().contains_key(name)
    }

    /// A running container's id, and the replica in it; or no container.
    async fn make(&self, order: &Order, unwanted: impl Fn() -> bool) -> Result<(String, Replica), String> {
        let container = self.container(&order.name);
        self.clear(&container).await?;
        let options = CreateContainerOptionsBuilder::new().name(&container).build();
        let created = self.client.create_container(Some(options), body(&self.settings, order)).await;
        let id = created.map_err(|e| self.refused(&container, &e))?.id;
        let running = async {
            self.answer(&container, self.client.start_container(&id, None)).await?;
            let address =
                self.address(&id).await.map_err(|why| format!("{container} does not run: {why}"))?;
            if unwanted() {
                return Err(format!("{} was stopped while it started", order.name));
            }
            Ok(Replica { name: order.name.clone(), address })
        };
        match running.await {
            Ok(replica) => Ok((id, replica)),
            Err(why) => {
                if let Err(error) = self.end(&id).await {
                    tracing::warn!(container, error, "a container is left behind");
                }
                Err(why)
            }
        }
    }

    /// Makes way for a container of this name: a dead one of ours goes, anything else is an error.
    async fn clear(&self, container: &str) -> Result<(), String> {
        let Some(holder) = self.inspect(container).await? else { return Ok(()) };
        if !self.owns(&holder) {
            return Err(format!(
                "the name {container} is taken by a container that is not of pool {}: rename or remove that one",
                self.settings.pool
            ));
        }
        if holder.state.and_then(|s| s.running) == Some(true) {
            return Err(format!(
                "a container {container} of this pool runs already: does another balancer use it?"
            ));
        }
        self.end(&holder.id.unwrap_or_default()).await
    }

    fn refused(&self, container: &str, error: &bollard::errors::Error) -> String {
        let said = plain(error);
        if status(error) == Some(404) && said.to_lowercase().contains("no such image") {
            return format!("image {} is not here: pull or build it", self.settings.image);
        }
        format!("Docker, {container}: {said}")
    }

    /// Where a running container is reached; the error says why it is not.
    pub(super) async fn address(&self, id: &str) -> Result<SocketAddr, String> {
        let found = self.inspect(id).await?.ok_or("it is gone")?;
        let state = found.state.unwrap_or_default();
        if state.running != Some(true) {
            return Err(how(&state));
        }
        let network = self.settings.network.as_deref().unwrap_or("bridge");
        let networks = found.network_settings.and_then(|s| s.networks).unwrap_or_default();
        let ip = networks.get(network).and_then(|n| n.ip_address.as_deref()?.parse::<IpAddr>().ok());
        ip.map(|ip| SocketAddr::new(ip, self.settings.port))
            .ok_or_else(|| format!("it has no address on the network {network}"))
    }
}

/// What the daemon is asked for: no more rights than a network service needs.
fn body(settings: &DockerSettings, order: &Order) -> ContainerCreateBody {
    let mut env = settings.env.clone();
    for key in ["SERVER_ID", "NAME"] {
        env.insert(key.to_owned(), order.name.clone());
    }
    env.insert("PORT".to_owned(), settings.port.to_string());
    env.insert("REGION".to_owned(), order.region.clone());
    env.insert("WEIGHT".to_owned(), order.weight.to_string());
    let alias = |network: &String| {
        let named = EndpointSettings { aliases: Some(vec![order.name.clone()]), ..Default::default() };
        NetworkingConfig { endpoints_config: Some(HashMap::from([(network.clone(), named)])) }
    };
    ContainerCreateBody {
        hostname: Some(order.name.clone()),
        image: Some(settings.image.clone()),
        env: Some(env.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        cmd: Some(settings.command.clone()).filter(|command| !command.is_empty()),
        labels: Some(HashMap::from([
            (POOL_LABEL.to_owned(), settings.pool.clone()),
            (REPLICA_LABEL.to_owned(), order.name.clone()),
        ])),
        host_config: Some(HostConfig {
            network_mode: settings.network.clone(),
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            auto_remove: Some(false),
            privileged: Some(false),
            // Reaps what the service leaves behind, and hands signals on.
            init: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            ..Default::default()
        }),
        networking_config: settings
            .network
            .as_ref()
            .filter(|network| !BUILT_IN.contains(&network.as_str()))
            .map(alias),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{DockerSettings, Order, body};

    #[test]
    fn a_container_is_labelled_and_has_few_rights() {
        let env = [("NAME", "theirs"), ("BIND", "0.0.0.0")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let settings = DockerSettings {
            image: "backend".to_owned(),
            network: Some("lab".to_owned()),
            port: 80,
            env: env.into(),
            pool: "web".to_owned(),
            ..Default::default()
        };
        let order = Order { name: "r1".to_owned(), weight: 3, region: "eu".to_owned() };
        let made = serde_json::to_value(body(&settings, &order)).unwrap();
        let env = ["BIND=0.0.0.0", "NAME=r1", "PORT=80", "REGION=eu", "SERVER_ID=r1", "WEIGHT=3"];
        assert_eq!(made["Env"], serde_json::json!(env));
        assert_eq!(made["Labels"]["ballast.pool"], "web");
        assert_eq!(made["Labels"]["ballast.replica"], "r1");
        assert_eq!(made["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]));
        assert_eq!(made["HostConfig"]["Privileged"], false);
        assert_eq!(made["HostConfig"]["RestartPolicy"]["Name"], "no");
        assert_eq!(made["NetworkingConfig"]["EndpointsConfig"]["lab"]["Aliases"], serde_json::json!(["r1"]));
        assert!(made.get("Cmd").is_none());
        // Docker refuses further names there.
        let bridge = body(&DockerSettings { network: Some("bridge".to_owned()), ..settings }, &order);
        assert_eq!(bridge.networking_config, None);
    }
}
