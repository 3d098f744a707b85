//! Where Kubernetes is, and what of it is followed: see `discovery/kubernetes` and `provision/kubernetes`.

use std::path::PathBuf;
use std::time::Duration;

/// An API server, who we are there, and the namespace that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// A kubeconfig; `None` is the pod's ServiceAccount, or the kubeconfig that kubectl would use.
    pub kubeconfig: Option<PathBuf>,
    /// `None` is the pod's own, or the kubeconfig's.
    pub namespace: Option<String>,
}

/// The EndpointSlices that are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// Where they are.
    pub cluster: Cluster,
    /// Labels that they have.
    pub selector: String,
    /// At which of their ports the backends are.
    pub port: Port,
    /// Labels that say more.
    pub labels: Labels,
    /// After so long a watch is renewed; whole seconds.
    pub watch_timeout: Duration,
}

/// What `/add` and `/rm` scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

/// A port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// The only one it has.
    Only,
    /// By name, which may be another number in each slice.
    Name(String),
    /// By number.
    Number(u16),
}

/// Labels of a Service, which its EndpointSlices have too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Says in which region its pods are; without it each pod's zone says so.
    pub region: String,
    /// Says what weight its pods have.
    pub weight: String,
}
