//! `load_balancer_fuzz::forwarded` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| load_balancer_fuzz::forwarded::run(data));
