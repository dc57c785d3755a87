//! How often somebody may try to log in: 30 attempts in the 600 seconds from the first (`semantics.md` section b).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Attempts in one window, successes included.
const ATTEMPTS: u32 = 30;

/// How long a window lasts from its first attempt.
const WINDOW: Duration = Duration::from_secs(600);

/// The most names that are counted. Beyond it the oldest window is forgotten.
const NAMES: usize = 10_000;

/// Counts attempts by name, in this process's memory.
#[derive(Debug)]
pub struct Limiter {
    most: u32,
    windows: Mutex<HashMap<String, Window>>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self::of(ATTEMPTS)
    }
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    attempts: u32,
}

impl Limiter {
    /// With another number of attempts.
    #[must_use]
    pub fn of(most: u32) -> Self {
        Self { most, windows: Mutex::default() }
    }

    /// Counts an attempt; false if there were too many.
    pub fn attempt(&self, name: &str, now: Instant) -> bool {
        let mut windows = self.windows.lock().expect("nobody panics while holding this");
        if !windows.contains_key(name) && windows.len() >= NAMES {
            forget(&mut windows, now);
        }
        let window = windows.entry(name.to_owned()).or_insert(Window { begun: now, attempts: 0 });
        if now.duration_since(window.begun) >= WINDOW {
            *window = Window { begun: now, attempts: 0 };
        }
        window.attempts = window.attempts.saturating_add(1);
        window.attempts <= self.most
    }

    /// Forgets the attempts under this name.
    pub fn forgive(&self, name: &str) {
        self.windows.lock().expect("nobody panics while holding this").remove(name);
    }
}

/// What an address is counted under: an IPv6 subscriber has a whole /64.
pub fn counted(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !0 << 64).to_string(),
        IpAddr::V4(address) => address.to_string(),
    }
}

fn forget(windows: &mut HashMap<String, Window>, now: Instant) {
    windows.retain(|_, window| now.duration_since(window.begun) < WINDOW);
    if windows.len() >= NAMES {
        let oldest = windows.iter().min_by_key(|(_, window)| window.begun).map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            windows.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_in_a_window() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for second in 0..30 {
            assert!(limiter.attempt("admin", start + Duration::from_secs(second)));
        }
        assert!(!limiter.attempt("admin", start + Duration::from_secs(599)));
        assert!(limiter.attempt("other", start));
        assert!(limiter.attempt("admin", start + Duration::from_secs(600)));
    }

    #[test]
    fn who_is_forgiven_begins_again() {
        let limiter = Limiter::of(1);
        let start = Instant::now();
        assert!(limiter.attempt("admin", start) && !limiter.attempt("admin", start));
        limiter.forgive("admin");
        assert!(limiter.attempt("admin", start));
    }

    #[test]
    fn bounded() {
        let limiter = Limiter::default();
        let start = Instant::now();
        for number in 0..NAMES + 10 {
            limiter.attempt(&number.to_string(), start);
        }
        assert!(limiter.windows.lock().expect("not poisoned").len() <= NAMES);
    }
}
