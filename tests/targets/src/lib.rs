//! What the fuzzer runs (`fuzz/`), as functions: whatever bytes come, nothing panics, and what is taken for good comes back
//! as it was.
//!
//! `cargo +nightly fuzz run record` in the root of the project fuzzes one of them; the suite replays the corpora of all.

mod frames;
mod records;

pub use frames::{answer, call, errand, helper, stream};
pub use records::record;

/// A target's name, as in `fuzz/corpus/<name>`, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("call", call),
    ("answer", answer),
    ("errand", errand),
    ("helper", helper),
    ("stream", stream),
    ("record", record),
];
