//! See `culvert_targets::answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| culvert_targets::answer(bytes));
