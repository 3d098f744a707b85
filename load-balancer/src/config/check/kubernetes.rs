//! `[discovery.kubernetes]` and `[replicas.kubernetes]`.

use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use super::super::kubernetes::{Cluster, Deployment, Kubernetes, Labels, Port};
use super::super::raw;
use super::{Checker, quoted};

/// The label by which EndpointSlices name their Service.
const OF_SERVICE: &str = "kubernetes.io/service-name";
/// Bounds of the time that a watch lasts: the API server counts whole seconds, and a connection that dies unnoticed is
/// noticed no sooner. The least is more than a quiet watch needs to show that it works.
const WATCH: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

impl Checker {
    /// `used` where it is the source of discovery.
    pub(super) fn discovery_kubernetes(
        &mut self,
        raw: &raw::DiscoveryKubernetes,
        cluster: &Cluster,
        used: bool,
    ) -> Kubernetes {
        self.unknown("discovery.kubernetes", &raw.unknown, raw::DiscoveryKubernetes::KEYS);
        let at = |key: &str| format!("discovery.kubernetes.{key}");
        let service = self.text(&at("service"), raw.service.as_ref(), "");
        let mut selector = self.text(&at("selector"), raw.selector.as_ref(), "");
        match (service.is_empty(), selector.is_empty()) {
            (true, true) if used => {
                let remedy = "is missing: name the Service whose pods are the backends; or several, by the labels they \
                              have, in discovery.kubernetes.selector";
                self.faults.add(&at("service"), "", remedy);
            }
            (false, false) => {
                let remedy =
                    "is one too many: either discovery.kubernetes.service or .selector says which Services";
                self.faults.add(&at("selector"), &quoted(&selector), remedy);
            }
            (false, true) => selector = format!("{OF_SERVICE}={service}"),
            _ => {}
        }
        if !service.is_empty() && !lb_core::membership::valid_name(&service) {
            self.faults.add(&at("service"), &quoted(&service), "is no name of a Service");
        }
        let watch_timeout = self.time(&at("watch_timeout"), raw.watch_timeout.as_ref(), "30s");
        if !(WATCH.0..=WATCH.1).contains(&watch_timeout) || watch_timeout.subsec_nanos() != 0 {
            let text = quoted(&format!("{watch_timeout:?}"));
            self.faults.add(&at("watch_timeout"), &text, "must be whole seconds from \"2s\" to \"300s\"");
        }
        Kubernetes {
            cluster: cluster.clone(),
            selector,
            port: self.slice_port(raw.port.as_ref()),
            labels: Labels {
                region: self.text(&at("region_label"), raw.region_label.as_ref(), "ballast/region"),
                weight: self.text(&at("weight_label"), raw.weight_label.as_ref(), "ballast/weight"),
            },
            watch_timeout,
        }
    }

    /// Where discovery and scaling find Kubernetes.
    pub(super) fn cluster(&mut self, raw: &raw::DiscoveryKubernetes) -> Cluster {
        let optional = |text: String| (!text.is_empty()).then_some(text);
        let kubeconfig = self.text("discovery.kubernetes.kubeconfig", raw.kubeconfig.as_ref(), "");
        let namespace = self.text("discovery.kubernetes.namespace", raw.namespace.as_ref(), "");
        Cluster { kubeconfig: optional(kubeconfig).map(PathBuf::from), namespace: optional(namespace) }
    }

    pub(super) fn deployment(&mut self, raw: &raw::ReplicasKubernetes, cluster: &Cluster) -> Deployment {
        self.unknown("replicas.kubernetes", &raw.unknown, raw::ReplicasKubernetes::KEYS);
        let namespace = self.text("replicas.kubernetes.namespace", raw.namespace.as_ref(), "");
        let mut cluster = cluster.clone();
        if !namespace.is_empty() {
            cluster.namespace = Some(namespace);
        }
        Deployment { cluster, name: self.text("replicas.kubernetes.deployment", raw.deployment.as_ref(), "") }
    }

    /// What a provider needs whose replicas are pods.
    pub(super) fn scalable(&mut self, deployment: &Deployment, scaling: bool) {
        if deployment.name.is_empty() {
            let remedy = "is missing: name the Deployment that /add and /rm are to scale";
            self.faults.add("replicas.kubernetes.deployment", "", remedy);
        }
        if scaling {
            let remedy = "is not for replicas.provider = \"kubernetes\": there a HorizontalPodAutoscaler follows the load; \
                          set it to 0";
            self.faults.add("replicas.scaling.most", "", remedy);
        }
    }

    fn slice_port(&mut self, value: Option<&Value>) -> Port {
        let field = "discovery.kubernetes.port";
        let text = match value {
            Some(Value::Integer(number)) => number.to_string(),
            other => self.text(field, other, ""),
        };
        if text.is_empty() {
            return Port::Only;
        }
        if text.chars().all(|c| c.is_ascii_digit()) {
            return match text.parse() {
                Ok(number) if number > 0 => Port::Number(number),
                _ => {
                    self.faults.add(field, &text, "must be from 1 to 65535, or a port's name");
                    Port::Only
                }
            };
        }
        if !lb_core::membership::valid_name(&text) {
            let remedy = "must be the name of a port of the Service, or a number";
            self.faults.add(field, &quoted(&text), remedy);
        }
        Port::Name(text)
    }
}

#[cfg(test)]
mod tests;
