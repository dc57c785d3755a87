//! A token bucket: pure, with the time as an argument.

use std::time::{Duration, Instant};

/// How many requests an address may still make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant, burst: f64) -> Self {
        Self { tokens: burst, at: now }
    }

    /// Takes one, or says when there will be one.
    pub(super) fn take(&mut self, now: Instant, rate: f64, burst: f64) -> Result<(), Duration> {
        self.fill(now, rate, burst);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            Ok(())
        } else {
            Err(Duration::from_secs_f64((1.0 - self.tokens) / rate))
        }
    }

    pub(super) fn is_full(&mut self, now: Instant, rate: f64, burst: f64) -> bool {
        self.fill(now, rate, burst);
        self.tokens >= burst
    }

    fn fill(&mut self, now: Instant, rate: f64, burst: f64) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(burst);
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_then_the_rate() {
        let begin = Instant::now();
        let mut bucket = Bucket::full(begin, 3.0);
        for _ in 0..3 {
            assert_eq!(bucket.take(begin, 2.0, 3.0), Ok(()));
        }
        assert_eq!(bucket.take(begin, 2.0, 3.0), Err(Duration::from_millis(500)));
        let later = begin + Duration::from_millis(500);
        assert_eq!(bucket.take(later, 2.0, 3.0), Ok(()));
        assert!(bucket.take(later, 2.0, 3.0).is_err());
        assert!(!bucket.is_full(later, 2.0, 3.0));
        assert!(bucket.is_full(later + Duration::from_secs(60), 2.0, 3.0));
    }

    #[test]
    fn over_any_time_no_more_than_the_rate_and_one_burst() {
        let begin = Instant::now();
        let mut bucket = Bucket::full(begin, 10.0);
        let taken = (0..100_000u64)
            .filter(|millis| bucket.take(begin + Duration::from_millis(*millis), 5.0, 10.0).is_ok())
            .count();
        assert!((505..=510).contains(&taken), "{taken}");
    }
}
