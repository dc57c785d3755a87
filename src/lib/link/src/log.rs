//! Lines on standard error that cannot hurt the one who writes them.

use std::io::Write;

/// Writes a line to standard error. Unlike `eprintln!` it does not panic when nobody reads there any more: that is no
/// reason for a process to end.
pub fn line(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
