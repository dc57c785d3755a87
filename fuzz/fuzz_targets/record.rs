//! See `culvert_targets::record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_targets::record(bytes));
