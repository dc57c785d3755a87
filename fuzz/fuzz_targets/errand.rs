//! See `culvert_targets::errand`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_targets::errand(bytes));
