//! Whatever can go wrong around jobs: processes die and stop, the database goes away, clocks are wrong, disks are full.

#[path = "../../../../tests/kit/history.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod history;
#[path = "../kit/mod.rs"]
mod kit;
#[path = "../../../../tests/kit/work.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod work;

// Tests are begun by their names: the longest is the first, so that the others run beside it.
mod addresses;
mod adversity;
mod bulk;
mod kills;
mod moving;
mod poison;
mod rivals;
mod trouble;
