//! See `culvert_targets::helper`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_targets::helper(bytes));
