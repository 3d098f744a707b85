//! Validation of `/fault`, and what each fault does to a request (time is tokio's, paused).

use super::*;
use crate::clock;

fn faults() -> Faults {
    Faults::new(CpuPool::new(1))
}

#[test]
fn sets_all_fields() {
    let faults = faults();
    let json = br#"{"latency_ms":12.5,"error_rate":0.5,"cpu_burn_ms":3,"stall":true,"capacity":4}"#;
    let fault = Fault { latency_ms: 12.5, error_rate: 0.5, cpu_burn_ms: 3.0, stall: true, capacity: Some(4) };
    assert_eq!(faults.change(json), Ok(fault.clone()));
    assert_eq!(faults.current(), fault);
    faults.clear();
    assert_eq!(faults.current(), Fault::default());
}

#[test]
fn leaves_the_fields_not_named() {
    let faults = faults();
    faults.change(br#"{"latency_ms":10,"capacity":2}"#).unwrap();
    let fault = faults.change(br#"{"capacity":null}"#).unwrap();
    assert_eq!(fault, Fault { latency_ms: 10.0, ..Fault::default() });
    assert_eq!(faults.change(b"{}"), Ok(fault));
}

#[test]
fn refuses_and_names_the_field_and_the_way_out() {
    let faults = faults();
    let before = faults.change(br#"{"latency_ms":1}"#).unwrap();
    for (json, field, fix) in [
        (r#"{"latency_ms":-1}"#, "latency_ms is -1", "0 to 600000"),
        (r#"{"latency_ms":1e9}"#, "latency_ms", "0 to 600000"),
        (r#"{"latency_ms":"5"}"#, "latency_ms is \"5\"", "a number"),
        (r#"{"error_rate":1.01}"#, "error_rate is 1.01", "0 to 1"),
        (r#"{"error_rate":null}"#, "error_rate is null", "0 to 1"),
        (r#"{"cpu_burn_ms":60001}"#, "cpu_burn_ms", "0 to 60000"),
        (r#"{"stall":1}"#, "stall is 1", "true or false"),
        (r#"{"capacity":0}"#, "capacity is 0", "null for no bound"),
        (r#"{"capacity":1.5}"#, "capacity is 1.5", "whole number"),
        (r#"{"capacity":4294967297}"#, "capacity", "1000000"),
        (r#"{"latency":5}"#, "unknown field latency", "latency_ms, error_rate"),
        (r#"{"latency_ms":5,"nope":1}"#, "unknown field nope", "the fields are"),
        ("[1]", "not an object", "{\"latency_ms\":50}"),
        ("latency_ms=5", "not JSON", "{\"latency_ms\":50}"),
        ("", "not JSON", "{\"latency_ms\":50}"),
    ] {
        let refusal = faults.change(json.as_bytes()).unwrap_err();
        assert!(refusal.contains(field) && refusal.contains(fix), "{json}: {refusal}");
        assert_eq!(faults.current(), before, "{json} must change nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn latency_is_waited_for() {
    let faults = faults();
    faults.change(br#"{"latency_ms":250}"#).unwrap();
    let begun = tokio::time::Instant::now();
    assert!(matches!(faults.suffer().await, Outcome::Serve(None)));
    assert!(begun.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn errors_come_at_the_rate_set() {
    let faults = faults();
    faults.change(br#"{"error_rate":1}"#).unwrap();
    assert!(matches!(faults.suffer().await, Outcome::Fail(None)));
    faults.change(br#"{"error_rate":0}"#).unwrap();
    assert!(matches!(faults.suffer().await, Outcome::Serve(None)));
    faults.change(br#"{"error_rate":0.5}"#).unwrap();
    let mut failed = 0;
    for _ in 0..1000 {
        failed += usize::from(matches!(faults.suffer().await, Outcome::Fail(_)));
    }
    // Twelve standard deviations wide.
    assert!((310..690).contains(&failed), "{failed}");
}

#[tokio::test]
async fn burning_takes_its_time() {
    let faults = faults();
    faults.change(br#"{"cpu_burn_ms":5}"#).unwrap();
    let begun = clock::tick();
    faults.suffer().await;
    assert!(begun.elapsed() >= Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn a_stall_holds_until_it_is_switched_off() {
    let faults = faults();
    faults.change(br#"{"stall":true}"#).unwrap();
    let held = faults.suffer();
    tokio::pin!(held);
    // Paused time jumps ahead as soon as nothing else can run: an hour without an answer.
    assert!(tokio::time::timeout(Duration::from_secs(3600), held.as_mut()).await.is_err());
    faults.change(br#"{"stall":false}"#).unwrap();
    assert!(matches!(held.await, Outcome::Serve(None)));
}

#[tokio::test(start_paused = true)]
async fn the_excess_over_the_capacity_waits_for_a_place() {
    let faults = faults();
    faults.change(br#"{"capacity":1}"#).unwrap();
    let first = faults.suffer().await;
    assert!(matches!(first, Outcome::Serve(Some(_))));
    let second = faults.suffer();
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_secs(3600), second.as_mut()).await.is_err());
    drop(first);
    assert!(matches!(second.await, Outcome::Serve(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn who_waits_moves_on_when_the_bound_is_lifted() {
    let faults = faults();
    faults.change(br#"{"capacity":1}"#).unwrap();
    let _first = faults.suffer().await;
    let second = faults.suffer();
    tokio::pin!(second);
    assert!(tokio::time::timeout(Duration::from_secs(1), second.as_mut()).await.is_err());
    faults.change(br#"{"capacity":null}"#).unwrap();
    assert!(matches!(second.await, Outcome::Serve(None)));
}
