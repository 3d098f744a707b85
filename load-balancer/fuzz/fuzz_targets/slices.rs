//! `load_balancer_fuzz::slices` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| load_balancer_fuzz::slices::run(data));
