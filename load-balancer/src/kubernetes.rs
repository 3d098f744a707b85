//! The way to Kubernetes' API server, for whoever needs it: discovery, and the scaling of a Deployment.
//!
//! In a pod it is the pod's own ServiceAccount; elsewhere a kubeconfig. A [`Client`] is made anew after each failure, so
//! that rotated credentials and a moved server need no restart. Errors are one line for people: where a right is missing,
//! they say which.

use std::error::Error as _;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Error};

use crate::config::Cluster;

/// Longest that a connection to the API server may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest that the API server may take to answer a request, or to begin to: its own limit for the calls made here is a
/// minute, and whoever has not answered after ten seconds has probably lost the connection.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client, and the namespace that is meant.
///
/// # Errors
/// Where no configuration is found, or it makes no sense.
pub(crate) async fn connect(cluster: &Cluster) -> Result<(Client, String), String> {
    let read = match &cluster.kubeconfig {
        Some(path) => {
            let found = Kubeconfig::read_from(path).map_err(|error| error.to_string());
            let options = KubeConfigOptions::default();
            match found {
                Ok(found) => kube::Config::from_custom_kubeconfig(found, &options).await,
                Err(error) => return Err(format!("{}: {error}", path.display())),
            }
            .map_err(|error| format!("{}: {error}", path.display()))
        }
        None => kube::Config::infer().await.map_err(|error| {
            format!("neither in a pod with a ServiceAccount nor with a kubeconfig: {error}")
        }),
    };
    let mut config = read?;
    if config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some() {
        // They would be run, and waited for, by the thread that everything else on the control side needs.
        return Err("the kubeconfig's user has a program that fetches its credentials (exec, auth-provider): give a token, a \
                    certificate or a pod's ServiceAccount instead"
            .to_owned());
    }
    config.connect_timeout = Some(CONNECT_WITHIN);
    // Whoever asks has pauses of its own.
    config.default_retry = false;
    // Somebody else may have chosen already: what is in force then serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| said(&error))?;
    Ok((client, namespace))
}

/// Waits for an answer. What has not come in time is given up, and its connection with it.
///
/// # Errors
/// As one line, where `what` (a verb and a resource, as RBAC has them) is not answered or refused.
pub(crate) async fn answered<T>(
    what: &str,
    namespace: &str,
    asking: impl Future<Output = Result<T, Error>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(ANSWER_WITHIN, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Refusal::new(what, namespace, &error)),
        Err(_) => {
            let text = format!("the API server has not answered \"{what}\" within {ANSWER_WITHIN:?}");
            Err(Refusal { code: 0, text })
        }
    }
}

/// Why the API server did not do as it was asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The status it answered with; 0 where there was no answer.
    pub(crate) code: u16,
    /// For people.
    pub(crate) text: String,
}

impl Refusal {
    fn new(what: &str, namespace: &str, error: &Error) -> Refusal {
        let Error::Api(status) = error else { return Refusal { code: 0, text: said(error) } };
        let text = match status.code {
            401 => format!("the API server does not accept our credentials (401): {}", status.message),
            403 => format!(
                "the right to \"{what}\" in the namespace {namespace} is missing (403): give the ServiceAccount a \
                 Role with it: {}",
                status.message
            ),
            404 => format!("the API server does not have what \"{what}\" asks for (404): {}", status.message),
            code => format!("the API server refuses \"{what}\" ({code}): {}", status.message),
        };
        Refusal { code: status.code, text }
    }
}

/// An error with its causes, each once.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}
