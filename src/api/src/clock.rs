//! The store's clock, as this process knows it: what sessions, links and nonces end by. No host's own clock decides.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use culvert_model::Millis;
use culvert_records::{Bus, Failure};

/// How long the store's answer is carried on with the monotonic clock.
const FRESH: Duration = Duration::from_secs(30);

/// The store's clock.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Option<(Instant, Millis)>>);

impl Clock {
    /// Milliseconds since 1970 by the store's clock.
    ///
    /// # Errors
    ///
    /// The store was never reached.
    pub async fn now(&self, bus: &Bus) -> Result<Millis, Failure> {
        let known = *self.0.lock().expect("nobody panics while holding this");
        let carried = known.map(|(read, now)| (read.elapsed(), now + read.elapsed().as_millis() as Millis));
        if let Some((age, now)) = carried
            && age < FRESH
        {
            return Ok(now);
        }
        match (bus.here().await, carried) {
            (Ok((_, now)), _) => {
                *self.0.lock().expect("nobody panics while holding this") = Some((Instant::now(), now));
                Ok(now)
            }
            // The database is away: what can be read without it still needs to know the time.
            (Err(_), Some((_, now))) => Ok(now),
            (Err(failure), None) => Err(failure),
        }
    }
}
