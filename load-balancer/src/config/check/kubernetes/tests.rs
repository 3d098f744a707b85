//! What is accepted about Kubernetes, and what a refusal says.

use std::time::Duration;

use crate::config::{Config, Faults, Finder, Kubernetes, Port, Provider};

fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse(&format!("[discovery]\nsource = \"kubernetes\"\n{text}"), std::iter::empty())
}

fn followed(text: &str) -> Kubernetes {
    match parse(&format!("[discovery.kubernetes]\n{text}")).unwrap().discovery.finder {
        Some(Finder::Kubernetes(settings)) => *settings,
        other => panic!("{other:?}"),
    }
}

/// Fields and remedies of what is wrong.
fn faults(text: &str) -> String {
    parse(text).unwrap_err().without_values()
}

#[test]
fn a_service_is_enough() {
    let settings = followed("service = \"web\"");
    assert_eq!(settings.selector, "kubernetes.io/service-name=web");
    assert_eq!((settings.cluster.kubeconfig, settings.cluster.namespace), (None, None));
    assert_eq!((settings.port, settings.watch_timeout), (Port::Only, Duration::from_secs(30)));
    assert_eq!(settings.labels.region, "ballast/region");
}

#[test]
fn everything_can_be_said() {
    let settings = followed(
        "selector = \"app=shop,tier!=test\"\nport = \"http\"\nnamespace = \"shop\"\nkubeconfig = \"/k\"\n\
         region_label = \"r\"\nweight_label = \"w\"\nwatch_timeout = \"1m\"",
    );
    assert_eq!(
        (settings.selector.as_str(), settings.port),
        ("app=shop,tier!=test", Port::Name("http".into()))
    );
    assert_eq!(settings.cluster.namespace.as_deref(), Some("shop"));
    assert_eq!((settings.labels.region.as_str(), settings.labels.weight.as_str()), ("r", "w"));
    assert_eq!(settings.watch_timeout, Duration::from_secs(60));
    for port in ["5000", "\"5000\""] {
        assert_eq!(followed(&format!("service = \"web\"\nport = {port}")).port, Port::Number(5000));
    }
}

#[test]
fn a_fault_names_its_field() {
    assert!(faults("").contains("discovery.kubernetes.service: is missing: name the Service"));
    for (text, fault) in [
        ("service = \"web\"\nselector = \"a=b\"", "discovery.kubernetes.selector: is one too many"),
        ("service = \"web.shop\"", "discovery.kubernetes.service: is no name of a Service"),
        ("service = \"web\"\nport = 0", "discovery.kubernetes.port: must be from 1 to 65535"),
        ("service = \"web\"\nport = 70000", "discovery.kubernetes.port: must be from 1 to 65535"),
        ("service = \"web\"\nport = \"a b\"", "discovery.kubernetes.port: must be the name of a port"),
        (
            "service = \"web\"\nwatch_timeout = \"500ms\"",
            "discovery.kubernetes.watch_timeout: must be whole seconds",
        ),
        (
            "service = \"web\"\nwatch_timeout = \"1h\"",
            "discovery.kubernetes.watch_timeout: must be whole seconds",
        ),
        ("service = \"web\"\nzone = \"a\"", "discovery.kubernetes.zone"),
    ] {
        let told = parse(&format!("[discovery.kubernetes]\n{text}")).unwrap_err();
        assert!(told.without_values().contains(fault) && told.0.len() == 1, "{text}: {told}");
    }
}

#[test]
fn a_deployment_is_scaled_by_order_and_never_by_load() {
    let service = "[discovery.kubernetes]\nservice = \"web\"\nnamespace = \"shop\"\n";
    let provider = "[replicas]\nprovider = \"kubernetes\"\n";
    let deployment = "[replicas.kubernetes]\ndeployment = \"web\"\n";
    let config = parse(&format!("{service}{provider}{deployment}")).unwrap();
    assert!(!config.replicas.provider.starts());
    let Provider::Kubernetes(scaled) = config.replicas.provider else { panic!("{:?}", config.replicas) };
    assert_eq!((scaled.name.as_str(), scaled.cluster.namespace.as_deref()), ("web", Some("shop")));
    let elsewhere = parse(&format!("{service}{provider}{deployment}namespace = \"other\"\n")).unwrap();
    let Provider::Kubernetes(scaled) = elsewhere.replicas.provider else {
        panic!("{:?}", elsewhere.replicas)
    };
    assert_eq!(scaled.cluster.namespace.as_deref(), Some("other"));

    let nameless = faults(&format!("{service}{provider}"));
    assert!(nameless.contains("replicas.kubernetes.deployment: is missing"), "{nameless}");
    let scaling = faults(&format!("{service}{provider}{deployment}[replicas.scaling]\nmost = 5\n"));
    assert!(scaling.contains("a HorizontalPodAutoscaler follows the load"), "{scaling}");
    let replica = faults(&format!("{service}{provider}{deployment}[[pool.backend]]\nname = \"S1\"\n"));
    assert!(replica.contains("pool.backend[0].address: is missing"), "{replica}");
}
