//! See `culvert_targets::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_targets::stream(bytes));
