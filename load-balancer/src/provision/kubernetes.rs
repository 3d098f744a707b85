//! Scaling a Deployment: more or fewer pods, which Kubernetes starts, names, heals and ends itself. So this is no
//! [`Provider`](super::Provider): nothing is adopted, awaited or buried here, and the pods become members by discovery.
//!
//! The number is read and written through the `scale` subresource, with the version that was read, so that of two changes at
//! once neither is lost. How it fails: nothing is changed, and the answer says why; where RBAC forbids it, which right is
//! missing. An autoscaler for the same Deployment undoes it: the answer cannot tell.

use kube::Api;
use kube::api::{Patch, PatchParams};
use lb_core::membership::Refusal;
use serde_json::json;

use crate::config;
use crate::event::Refused;
use crate::kubernetes::{answered, connect};

/// Tries while others change the same number.
const TRIES: usize = 5;
/// The status for a version that is no longer the last.
const CONFLICT: u16 = 409;

/// How many pods there were to be, and are to be now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scaled {
    /// Before.
    pub from: u32,
    /// Now.
    pub to: u32,
}

/// How many more or fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// So many more, up to so many in all.
    More(usize, usize),
    /// So many fewer.
    Fewer(usize),
}

impl Change {
    fn from(self, have: usize) -> Result<usize, Refusal> {
        match self {
            Change::More(n, most) if have.saturating_add(n) > most => Err(Refusal::Full { most }),
            Change::More(n, _) => Ok(have + n),
            Change::Fewer(n) if n > have => Err(Refusal::TooMany { n, have }),
            Change::Fewer(n) => Ok(have - n),
        }
    }
}

/// Changes how many pods a Deployment is to have.
///
/// # Errors
/// Where the number does not fit, the API server refuses or does not answer. Nothing is changed then, unless it is the last
/// answer that was lost.
pub async fn scale(deployment: &config::Deployment, change: Change) -> Result<Scaled, Refused> {
    let (client, namespace) = connect(&deployment.cluster).await.map_err(failed)?;
    let all: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(client, &namespace);
    let name = deployment.name.as_str();
    for _ in 0..TRIES {
        let seen = answered("get deployments/scale", &namespace, all.get_scale(name)).await;
        let seen = seen.map_err(|refusal| refused(refusal.code, refusal.text))?;
        let have = seen.spec.and_then(|spec| spec.replicas).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let want = change.from(have as usize).map_err(Refused::Unfit)?;
        let version = seen.metadata.resource_version;
        let patch = json!({ "metadata": { "resourceVersion": version }, "spec": { "replicas": want } });
        let (settings, patch) = (PatchParams::default(), Patch::Merge(patch));
        let patched =
            answered("patch deployments/scale", &namespace, all.patch_scale(name, &settings, &patch)).await;
        match patched {
            Ok(_) => return Ok(Scaled { from: have, to: want as u32 }),
            // Somebody else was quicker: from what is there now.
            Err(refusal) if refusal.code == CONFLICT => {}
            Err(refusal) if refusal.code == 0 => return Err(Refused::Unclear(refusal.text)),
            Err(refusal) => return Err(refused(refusal.code, refusal.text)),
        }
    }
    Err(failed(format!("the Deployment {name} was changed by others {TRIES} times meanwhile")))
}

fn refused(code: u16, text: String) -> Refused {
    match code {
        401 | 403 => Refused::Powerless(format!(
            "<Error> {text}. Usually it is a HorizontalPodAutoscaler that scales, or `kubectl scale`"
        )),
        _ => failed(text),
    }
}

fn failed(text: String) -> Refused {
    Refused::Failed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_fits_or_is_refused() {
        let full = Refusal::Full { most: 5 };
        let cases = [
            (Change::More(2, 5), 3, Ok(5)),
            (Change::More(3, 5), 3, Err(full.clone())),
            (Change::More(usize::MAX, 5), 3, Err(full)),
            (Change::Fewer(3), 3, Ok(0)),
            (Change::Fewer(4), 3, Err(Refusal::TooMany { n: 4, have: 3 })),
        ];
        for (change, have, expected) in cases {
            assert_eq!(change.from(have), expected, "{change:?} of {have}");
        }
    }
}
