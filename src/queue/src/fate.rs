//! What is to become of a job that is claimed: done, given up, or removed.

use culvert_model::Millis;
use culvert_model::record::{Job, Priority};

/// How often a job is begun.
pub const ATTEMPTS: u16 = 5;

/// What is to become of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is to be done.
    Do,
    /// Nobody wants it any more, for this reason.
    Remove(&'static str),
    /// It is given up, for this reason, which an administrator sees.
    Die(String),
}

/// What is to become of an open job, at this time by the store's clock.
pub fn fate(job: &Job, now: Millis) -> Fate {
    let fills = job.priority == Priority::Low && job.reserved.is_none();
    if job.cancelled {
        Fate::Remove("it was cancelled")
    } else if job.deadline.is_some_and(|deadline| deadline < now) && fills {
        Fate::Remove("it was not begun by its deadline, and only fills a pool")
    } else if job.deadline.is_some_and(|deadline| deadline < now) {
        Fate::Die(
            "It was not begun by its deadline: no host had the time. Retry it if it is still needed, or discard it."
                .into(),
        )
    } else if job.attempts >= ATTEMPTS {
        Fate::Die(format!(
            "It was begun {ATTEMPTS} times, and the queue went down with it the last time. Retry or discard it."
        ))
    } else {
        Fate::Do
    }
}

/// How long a job rests that was begun so often: 1 s, 4 s, 16 s, 64 s.
pub const fn backoff(attempts: u16) -> Millis {
    1_000 << (2 * if attempts > ATTEMPTS { ATTEMPTS } else { attempts.saturating_sub(1) })
}

#[cfg(test)]
mod tests {
    use culvert_model::record::Work;

    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    fn job(priority: Priority, change: impl FnOnce(&mut Job)) -> Job {
        let mut job = Job::new("job".into(), Work::ConsoleCertificate, priority, NOW - 10_000);
        change(&mut job);
        job
    }

    fn of(priority: Priority, change: impl FnOnce(&mut Job)) -> Fate {
        fate(&job(priority, change), NOW)
    }

    #[test]
    fn what_becomes_of_jobs() {
        assert_eq!(of(Priority::Low, |job| (job.attempts, job.deadline) = (4, Some(NOW))), Fate::Do);
        assert!(
            matches!(of(Priority::High, |job| job.deadline = Some(NOW - 1)), Fate::Die(why) if why.contains("deadline"))
        );
        assert!(matches!(of(Priority::Low, |job| job.deadline = Some(NOW - 1)), Fate::Remove(_)));
        let awaited = |job: &mut Job| (job.deadline, job.reserved) = (Some(NOW - 1), Some("alice".into()));
        assert!(matches!(of(Priority::Low, awaited), Fate::Die(_)));
        assert!(matches!(of(Priority::High, |job| job.attempts = 5), Fate::Die(why) if why.contains("went down")));
        assert!(matches!(of(Priority::High, |job| (job.attempts, job.cancelled) = (5, true)), Fate::Remove(_)));
    }

    #[test]
    fn ever_longer_rests() {
        assert_eq!([1, 2, 3, 4].map(backoff), [1_000, 4_000, 16_000, 64_000]);
        assert!(backoff(0) == 1_000 && backoff(u16::MAX) == backoff(6));
    }
}
