//! From EndpointSlices to backends. Pure: a list in, a list out, the same whatever the order.
//!
//! A Service has several slices (a hundred endpoints each, one set for each address family and each set of target ports),
//! and while the controller moves endpoints between them one may stand in two. So all slices are laid together, and what
//! has one identity (the pod's uid, else the address) is one backend: at its IPv4 address if it has both, since every node
//! that has IPv6 has IPv4 too and seldom the other way round; ready if any slice says ready; draining if the best that is
//! said is that it serves and terminates. Of two pods with one name or one address, a pod and its successor, the one that
//! is ready counts. Hints are kube-proxy's business: which backend is near is for this balancer to find out.
//!
//! It fails where a slice has several ports and nobody said which: then it says so, and nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use crate::config::{Address, Labels, Port, WEIGHT_MOST, is_name};
use crate::discovery::{Found, name_of};

/// What the conditions of an endpoint come to, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Ready,
    Draining,
    Out,
}

/// One endpoint of one slice.
struct Seen<'a> {
    /// The pod's uid.
    uid: Option<&'a str>,
    state: State,
    address: SocketAddr,
    /// The pod's name.
    pod: Option<&'a str>,
    weight: u32,
    region: &'a str,
}

/// The backends that these slices name.
///
/// # Errors
/// Where it is not clear which port is meant.
pub(crate) fn found<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    port: &Port,
    labels: &Labels,
) -> Result<Vec<Found>, String> {
    let mut seen = Vec::new();
    for slice in slices.filter(|slice| matches!(slice.address_type.as_str(), "IPv4" | "IPv6")) {
        if let Some(port) = port_of(slice, port)? {
            seen.extend(slice.endpoints.iter().filter_map(|endpoint| read(slice, endpoint, port, labels)));
        }
    }
    Ok(distinct(seen))
}

fn read<'a>(
    slice: &'a EndpointSlice,
    endpoint: &'a Endpoint,
    port: u16,
    labels: &Labels,
) -> Option<Seen<'a>> {
    // No meaning is defined for further addresses.
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let label = |name: &str| slice.metadata.labels.as_ref()?.get(name).filter(|value| !value.is_empty());
    let weight = label(&labels.weight).and_then(|text| text.parse().ok()).unwrap_or(1_u32);
    let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    Some(Seen {
        uid: pod.and_then(|pod| pod.uid.as_deref()),
        state: state(endpoint.conditions.as_ref()),
        address: SocketAddr::new(ip.to_canonical(), port),
        pod: pod.and_then(|pod| pod.name.as_deref()).filter(|name| is_name(name)),
        weight: weight.clamp(1, WEIGHT_MOST),
        region: label(&labels.region).or(endpoint.zone.as_ref()).map_or("", String::as_str),
    })
}

/// What is not said means ready, serving, and not terminating. "Ready" is asked and not "serving", since a Service may
/// publish what is not ready, and whoever wants that gets it; but never for what terminates.
fn state(conditions: Option<&EndpointConditions>) -> State {
    let Some(said) = conditions else { return State::Ready };
    let serving = said.serving.unwrap_or(true);
    match (said.terminating.unwrap_or(false), said.ready.unwrap_or(true)) {
        (false, true) => State::Ready,
        (true, _) if serving => State::Draining,
        _ => State::Out,
    }
}

/// The port that a slice's endpoints are asked at; `None` where it is not about that port.
fn port_of(slice: &EndpointSlice, wanted: &Port) -> Result<Option<u16>, String> {
    let ports: Vec<&EndpointPort> = slice.ports.iter().flatten().filter(|port| is_tcp(port)).collect();
    let number = |port: &EndpointPort| port.port.and_then(|port| u16::try_from(port).ok()).filter(|&p| p > 0);
    match wanted {
        Port::Only => match ports[..] {
            [] => Ok(None),
            [port] => Ok(number(port)),
            _ => {
                let named = |port: &&EndpointPort| {
                    let number = number(port).map_or_else(|| "any".to_owned(), |number| number.to_string());
                    format!("{:?} ({number})", port.name.as_deref().unwrap_or_default())
                };
                let named: Vec<String> = ports.iter().map(named).collect();
                let slice = slice.metadata.name.as_deref().unwrap_or_default();
                Err(format!(
                    "the EndpointSlice {slice} has the ports {}: say which by discovery.kubernetes.port",
                    named.join(", ")
                ))
            }
        },
        Port::Name(name) => {
            Ok(ports.iter().find(|port| port.name.as_deref() == Some(name)).and_then(|port| number(port)))
        }
        // A headless Service may have no ports, and a slice of somebody's own may mean all of them.
        Port::Number(wanted) => {
            let any = slice.ports.iter().flatten().next().is_none();
            let same = |port: &&EndpointPort| port.port.is_none() || number(port) == Some(*wanted);
            Ok((any || ports.iter().any(same)).then_some(*wanted))
        }
    }
}

fn is_tcp(port: &EndpointPort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
}

/// Each backend once, in the order of their names.
fn distinct(mut seen: Vec<Seen<'_>>) -> Vec<Found> {
    let own = |seen: &Seen<'_>| seen.uid.map_or_else(|| seen.address.to_string(), str::to_owned);
    let mut best: BTreeMap<String, State> = BTreeMap::new();
    for one in &seen {
        let state = best.entry(own(one)).or_insert(State::Out);
        *state = one.state.min(*state);
    }
    // Where a pod has two addresses, it keeps the first of them whichever slice learns first how the pod is.
    seen.sort_by_cached_key(|one| {
        (best[&own(one)], one.address.is_ipv6(), one.address, own(one), one.pod, one.weight, one.region)
    });
    let (mut identities, mut addresses, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for one in seen {
        let (identity, address) = (own(&one), Address::Ip(one.address));
        let name = one.pod.map_or_else(|| name_of(&address), str::to_owned);
        let state = best[&identity];
        let taken =
            identities.contains(&identity) || addresses.contains(&one.address) || names.contains(&name);
        if state == State::Out || taken {
            continue;
        }
        let region = one.region.to_owned();
        all.push(Found {
            name: name.clone(),
            address,
            weight: one.weight,
            region,
            draining: state == State::Draining,
        });
        identities.insert(identity);
        addresses.insert(one.address);
        names.insert(name);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

#[cfg(test)]
mod tests;
