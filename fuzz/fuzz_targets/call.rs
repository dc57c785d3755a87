//! See `culvert_targets::call`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_targets::call(bytes));
