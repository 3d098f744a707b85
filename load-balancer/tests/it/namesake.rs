//! Two balancers of one name: neither hears the other, and both say so.

use std::sync::Arc;

use load_balancer::store::Room;

use super::support::{Lb, addresses, config, replicas};

#[tokio::test]
async fn two_of_one_name_say_so_once_and_a_third_has_nothing_to_say() {
    let (backends, room) = (replicas(1).await, Arc::new(Room::default()));
    let backends: Vec<_> = addresses(&backends).into_iter().map(|address| (address, 1)).collect();
    let mut all = Vec::new();
    for name in ["twin", "twin", "other"] {
        let own = [("store.interval", "100ms"), ("store.timeout", "100ms"), ("store.instance", name)];
        all.push(Lb::start_in(config(&backends, &own), Arc::clone(&room)).await);
    }
    for twin in &all[..2] {
        let scrape = twin.until("it says so", |s| s.sum("lb_balancer_name_taken", &[]) == 1.0).await;
        assert_eq!(scrape.sum("lb_balancers_live", &[]), 2.0, "itself and the third");
        let rounds =
            |s: &super::support::Scrape| s.sum("lb_state_store_operations_total", &[("result", "ok")]);
        let before = rounds(&scrape);
        twin.until("ten more rounds", |s| rounds(s) >= before + 10.0).await;
        let facts = twin.facts("name_taken").await;
        assert_eq!((facts.len(), facts[0]["instance"].as_str()), (1, Some("twin")), "{facts:?}");
    }
    let scrape = all[2].scrape().await;
    assert_eq!((scrape.sum("lb_balancer_name_taken", &[]), scrape.facts("name_taken")), (0.0, 0.0));
}
