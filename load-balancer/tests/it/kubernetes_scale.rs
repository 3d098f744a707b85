//! `/add` and `/rm` where replicas are pods of a Deployment: its scale is changed, or the answer says why not.

use std::net::Ipv4Addr;

use super::kubernetes::{at, pod, real, slice};
use super::support::{Cluster, Lb, assert_refused, configured};

async fn scaling(cluster: &Cluster, more: &[(&str, &str)]) -> Lb {
    let own = [("replicas.provider", "kubernetes"), ("replicas.kubernetes.deployment", "backend")];
    let all: Vec<_> = own.iter().chain(more).copied().collect();
    Lb::start(configured("", &at(cluster, &all))).await
}

#[tokio::test]
async fn add_and_rm_scale_the_deployment() {
    let cluster = Cluster::start().await;
    let one = real("one", Ipv4Addr::LOCALHOST).await;
    cluster.put("web-1", slice(one.address().port(), &[pod("one", Ipv4Addr::LOCALHOST)]));
    let lb = scaling(&cluster, &[("control.max_backends", "20")]).await;
    assert_eq!(lb.add(2, &[]).await.members(), ["one"], "the pods come when they are ready");
    assert_eq!(cluster.world().replicas.0, 5);
    assert_eq!(lb.remove(4, &[]).await.members(), ["one"]);
    assert_eq!(cluster.world().replicas.0, 1);
    // Somebody else scales at the same moment: both count.
    cluster.world().meddling = 2;
    lb.add(3, &[]).await.members();
    assert_eq!(cluster.world().replicas.0, 6);
    cluster.world().meddling = 100;
    assert_refused(&lb.add(1, &[]).await, 502, "was changed by others 5 times meanwhile");
    cluster.world().meddling = 0;
    let now = cluster.world().replicas;
    assert_refused(&lb.add(10, &[]).await, 400, "more than 20 replicas");
    assert_refused(&lb.remove(99, &[]).await, 400, "99 are to be removed and only 11 can be");
    assert_refused(&lb.add(1, &["mine"]).await, 409, "Kubernetes names its pods itself");
    assert_refused(
        &lb.remove(1, &["one"]).await,
        409,
        "'one' is discovered by kubernetes: take it out there",
    );
    assert_eq!(cluster.world().replicas, now, "nothing was changed");
    let scrape = lb.scrape().await;
    assert_eq!((scrape.asked("/add", "200"), scrape.asked("/rm", "200")), (2.0, 1.0));
}

#[tokio::test]
async fn without_the_right_the_answer_says_which_one_is_missing() {
    let mut cluster = Cluster::start().await;
    let lb = scaling(&cluster, &[]).await;
    for verb in ["get", "patch"] {
        cluster.world().forbidden = vec![verb];
        let refused = lb.add(1, &[]).await;
        assert_refused(
            &refused,
            409,
            &format!("the right to \"{verb} deployments/scale\" in the namespace shop"),
        );
        assert_refused(&refused, 409, "HorizontalPodAutoscaler");
    }
    cluster.world().forbidden.clear();
    assert_eq!((lb.members().await.len(), cluster.world().replicas), (0, (3, 1)));
    let elsewhere = scaling(&cluster, &[("replicas.kubernetes.deployment", "other")]).await;
    assert_refused(&elsewhere.add(1, &[]).await, 502, "\"get deployments/scale\" asks for (404)");
    cluster.world().lost = vec!["patch"];
    assert_refused(&lb.add(1, &[]).await, 502, "whether anything was changed is not known");
    assert_eq!(cluster.world().replicas.0, 4);
    cluster.go().await;
    assert_refused(&lb.remove(1, &[]).await, 502, "nothing was changed");
}
