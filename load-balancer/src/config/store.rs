//! Where several balancers meet: settings of the shared store.

use std::fmt;
use std::time::Duration;

/// The shared store.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Where it is; `None` shares with nobody.
    pub place: Option<Place>,
    /// What every key begins with.
    pub prefix: String,
    /// Between two rounds, ± 15 %.
    pub interval: Duration,
    /// For one round; also for one connection.
    pub timeout: Duration,
    /// What this balancer is called among the others; `None` is chosen anew at each start.
    pub instance: Option<String>,
}

/// A Redis, or what speaks its protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// How it is organised.
    pub kind: Kind,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// Hosts and ports; those of the sentinels, or some of a cluster's nodes.
    pub hosts: Vec<(String, u16)>,
    /// Whom to log in as.
    pub user: Option<String>,
    /// With what.
    pub password: Option<Secret>,
}

/// How a Redis is organised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Single {
        /// Its database.
        db: i64,
    },
    /// Sentinels know who the master is.
    Sentinel {
        /// What they call it.
        service: String,
        /// Its database.
        db: i64,
    },
    /// A cluster.
    Cluster,
}

/// A secret that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Secret(text.to_owned())
    }

    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The place without secrets, as logs name it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        let (form, rest) = match &self.kind {
            Kind::Single { db: 0 } => ("", String::new()),
            Kind::Single { db } => ("", format!("/{db}")),
            Kind::Sentinel { service, .. } => ("+sentinel", format!("/{service}")),
            Kind::Cluster => ("+cluster", String::new()),
        };
        write!(f, "redis{}{form}://{}{rest}", if self.tls { "s" } else { "" }, hosts.join(","))
    }
}
