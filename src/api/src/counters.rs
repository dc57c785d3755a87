//! How many answers there were, by the first digit of their status.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

/// Counts answers.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; 6]);

impl Counters {
    /// Counts one.
    pub fn count(&self, status: StatusCode) {
        if let Some(class) = self.0.get(usize::from(status.as_u16() / 100)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each class of status, such as `2xx`, with its number.
    pub fn read(&self) -> impl Iterator<Item = (String, u64)> {
        let class = |(class, count): (usize, &AtomicU64)| (format!("{class}xx"), count.load(Ordering::Relaxed));
        self.0.iter().enumerate().skip(1).map(class)
    }
}
