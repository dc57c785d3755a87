//! What the supervisor says on standard error.

use std::time::{SystemTime, UNIX_EPOCH};

/// Says something that whoever looks after the machine should know.
pub fn warn(text: &str) {
    line(" WARN", text);
}

/// Writes one line like those of the other processes.
fn line(level: &str, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, millis) = (now.as_secs() % 86_400, now.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    eprintln!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z super {level} {text}");
}
