//! `load_balancer_fuzz::proxy` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| load_balancer_fuzz::proxy::run(data));
