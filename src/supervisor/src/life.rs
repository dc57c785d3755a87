//! When a process is started again and when it has hung: decisions only, the time is an argument.

use std::time::{Duration, Instant};

/// How long a process may be silent.
pub const WATCHDOG: Duration = Duration::from_secs(6);

/// How long the pause before a restart is at most.
const LONGEST: Duration = Duration::from_secs(5);

/// The pause before the second restart in a row; the first is at once.
const SHORTEST: Duration = Duration::from_millis(50);

/// Who lived that long starts with a clean record again.
const SETTLED: Duration = Duration::from_secs(10);

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits to be started.
    Waiting(Instant),
    /// It runs.
    Running { since: Instant, heard: Instant, ready: bool },
    /// It was killed; its end has not been seen yet.
    Killed(Instant),
}

/// What is to be done with a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Start it.
    Start,
    /// Kill it: it was not ready in time.
    NotReady,
    /// Kill it: it has not been heard of for too long.
    Silent,
}

/// The life of one process.
#[derive(Debug)]
pub struct Life {
    phase: Phase,
    /// How often in a row it ended before it had settled.
    ends: u32,
    was_ready: bool,
    /// How long it may take to be ready.
    patience: Duration,
}

impl Life {
    /// A process that is to be started now, and that may take so long to be ready.
    pub const fn new(now: Instant, patience: Duration) -> Self {
        Self { phase: Phase::Waiting(now), ends: 0, was_ready: false, patience }
    }

    /// What is to be done now.
    pub fn due(&self, now: Instant) -> Option<Due> {
        match self.phase {
            Phase::Waiting(until) => (now >= until).then_some(Due::Start),
            Phase::Running { heard, .. } if now >= heard + WATCHDOG => Some(Due::Silent),
            Phase::Running { since, ready: false, .. } if now >= since + self.patience => Some(Due::NotReady),
            Phase::Running { .. } | Phase::Killed(_) => None,
        }
    }

    /// When there will be something to do, if nothing happens before.
    pub fn next(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Running { heard, ready: true, .. } => Some(heard + WATCHDOG),
            Phase::Running { heard, since, ready: false } => Some((heard + WATCHDOG).min(since + self.patience)),
            Phase::Killed(_) => None,
        }
    }

    /// It was started.
    pub const fn started(&mut self, now: Instant) {
        self.phase = Phase::Running { since: now, heard: now, ready: false };
    }

    /// It has said that it is alive.
    pub const fn alive(&mut self, now: Instant) {
        if let Phase::Running { heard, .. } = &mut self.phase {
            *heard = now;
        }
    }

    /// It has said that it does its work.
    pub const fn is_ready(&mut self) {
        if let Phase::Running { ready, .. } = &mut self.phase {
            *ready = true;
            self.was_ready = true;
        }
    }

    /// It was killed for what was due.
    pub const fn killed(&mut self, now: Instant) {
        self.phase = Phase::Killed(match self.phase {
            Phase::Running { since, .. } => since,
            Phase::Waiting(_) | Phase::Killed(_) => now,
        });
    }

    /// It has ended, or could not be started. Returns the pause before it is started again.
    pub fn ended(&mut self, now: Instant) -> Duration {
        let since = match self.phase {
            Phase::Running { since, .. } | Phase::Killed(since) => since,
            Phase::Waiting(_) => now,
        };
        if now.saturating_duration_since(since) >= SETTLED {
            self.ends = 0;
        }
        let pause = match self.ends {
            0 => Duration::ZERO,
            more => SHORTEST.saturating_mul(1_u32.checked_shl(more - 1).unwrap_or(u32::MAX)).min(LONGEST),
        };
        self.ends = self.ends.saturating_add(1).min(32);
        self.phase = Phase::Waiting(now + pause);
        pause
    }

    /// The supervisor itself stood still: what could not be heard meanwhile is nobody's fault.
    pub const fn forgive(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Running { heard, ready: true, .. } => *heard = now,
            Phase::Running { heard, since, ready: false } => {
                *heard = now;
                *since = now;
            }
            Phase::Waiting(_) | Phase::Killed(_) => {}
        }
    }

    /// Whether it does its work now.
    pub const fn ready(&self) -> bool {
        matches!(self.phase, Phase::Running { ready: true, .. })
    }

    /// Whether it ever did its work.
    pub const fn was_ready(&self) -> bool {
        self.was_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_pauses_then_double() {
        let mut now = Instant::now();
        let mut life = Life::new(now, PATIENCE);
        assert_eq!(life.due(now), Some(Due::Start));
        let pauses: Vec<u128> = (0..10)
            .map(|_| {
                life.started(now);
                let pause = life.ended(now);
                assert_eq!(life.due(now + pause), Some(Due::Start));
                now += pause;
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        life.started(now);
        assert_eq!(life.ended(now + seconds(10)), Duration::ZERO);
    }

    #[test]
    fn who_is_silent_for_six_seconds_is_killed() {
        let now = Instant::now();
        let mut life = Life::new(now, PATIENCE);
        life.started(now);
        life.is_ready();
        assert_eq!(life.due(now + seconds(5)), None);
        life.alive(now + seconds(5));
        assert_eq!(life.due(now + seconds(10)), None);
        assert_eq!(life.next(), Some(now + seconds(11)));
        assert_eq!(life.due(now + seconds(11)), Some(Due::Silent));
        life.killed(now + seconds(11));
        assert_eq!((life.due(now + seconds(100)), life.next()), (None, None));
        assert_eq!(life.ended(now + seconds(12)), Duration::ZERO);
    }

    #[test]
    fn who_is_not_ready_in_time_is_killed_although_it_lives() {
        let now = Instant::now();
        let mut life = Life::new(now, PATIENCE);
        life.started(now);
        for second in (0..20).step_by(5) {
            assert_eq!(life.due(now + seconds(second)), None);
            life.alive(now + seconds(second));
        }
        assert_eq!(life.due(now + seconds(20)), Some(Due::NotReady));
    }

    #[test]
    fn nobody_is_killed_because_the_supervisor_stood_still() {
        let now = Instant::now();
        let mut life = Life::new(now, PATIENCE);
        life.started(now);
        life.forgive(now + seconds(60));
        assert_eq!(life.due(now + seconds(65)), None);
        assert_eq!(life.due(now + seconds(66)), Some(Due::Silent));
    }

    #[test]
    fn what_a_dead_process_said_does_not_count_for_the_next() {
        let now = Instant::now();
        let mut life = Life::new(now, PATIENCE);
        life.started(now);
        life.is_ready();
        life.ended(now);
        life.is_ready();
        life.started(now);
        assert!(!life.ready() && life.was_ready());
    }
}
