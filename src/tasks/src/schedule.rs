//! When a task is begun, by whom, and when again.

use culvert_lease::{Last, may_claim};
use culvert_model::record::Task;
use culvert_model::{HostId, Millis};
use culvert_records::Stored;

use crate::duty::{Done, Duty};

/// How often a run that is due is begun before it is reported and passed over.
pub const ATTEMPTS: u16 = 3;

/// The longest that is waited without looking at the record again.
const LONGEST: Millis = 60_000;

/// How long a task rests at least that is due because something was changed, so that changes which come one after the
/// other are seen together; and how many times as long as its last run took, so that it is never at work for more than a
/// twentieth of the time, however much there is.
const REST: Millis = 1_000;
const RESTS: Millis = 20;

/// The wait after a run that failed.
const AGAIN: Millis = 1_000;

/// What a host does about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look again in so many milliseconds, and a random while more.
    Wait(Millis),
    /// Try to reserve it.
    Reserve,
}

/// When the last run began that ended.
pub fn began(task: &Task) -> Option<Millis> {
    task.finished.map(|finished| finished.saturating_sub(task.duration.unwrap_or_default()))
}

/// What this host does at `now` of the store's clock, after so much uninterrupted contact with the store. `unseen` is when
/// something was changed that the task looks at, if no run has begun since.
pub fn step(
    duty: &Duty,
    task: &Stored<Task>,
    host: HostId,
    now: Millis,
    uninterrupted: Millis,
    unseen: Option<Millis>,
) -> Step {
    let rest = REST.max(RESTS * task.record.duration.unwrap_or_default());
    let rested = unseen.and(task.record.finished).map(|finished| finished + rest);
    let early = task.record.due.min(rested.unwrap_or(Millis::MAX)).saturating_sub(now);
    // Due later than a whole period from now: the store's clock was set back.
    if early > 0 && early <= duty.period {
        return Step::Wait(early.min(LONGEST));
    }
    let held = task.held_for();
    if held > 0 {
        // Until the next slot at the latest: all wait from there, so that whoever has this one is not the first again.
        let next = following(duty, task.record.due, now) - now;
        return Step::Wait(held.min(next).min(LONGEST));
    }
    let last = match &task.lease {
        // A run that ended gave its lease back and left no attempt.
        Some(lease) if task.record.attempts > 0 && lease.host != host => Last::Another,
        Some(_) if task.record.attempts > 0 => Last::Us,
        _ => Last::Nobody,
    };
    if may_claim(last, held, duty.timeout, uninterrupted) {
        Step::Reserve
    } else {
        Step::Wait((duty.timeout - uninterrupted).min(LONGEST))
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it is for.
    Done(Done),
    /// It did not; this is why, for people.
    Failed(String),
    /// Earlier runs were begun as often as is allowed, and none ended.
    Abandoned,
}

/// The record after a run, and what is to be reported to administrators.
pub fn after(
    duty: &Duty,
    task: &Task,
    outcome: Outcome,
    host: HostId,
    began: Millis,
    now: Millis,
) -> (Task, Option<String>) {
    let mut next = Task {
        due: following(duty, task.due, now),
        attempts: 0,
        finished: Some(now),
        duration: Some(now.saturating_sub(began)),
        host: Some(host),
        ..task.clone()
    };
    let name = duty.name;
    let report = match outcome {
        Outcome::Done(done) => {
            next.succeeded = Some(now);
            next.result = Some(done.text);
            if let Some(again) = done.again {
                next.due = now + again.min(duty.period);
            }
            None
        }
        Outcome::Failed(why) if task.attempts < ATTEMPTS => {
            next.due = now + AGAIN;
            next.attempts = task.attempts;
            next.result = Some(why);
            None
        }
        Outcome::Failed(why) => {
            let report =
                format!("The task {name} failed {} times and is left until it is next due: {why}", task.attempts);
            next.result = Some(why);
            Some(report)
        }
        Outcome::Abandoned => {
            let result = format!("begun {} times without an end", task.attempts);
            let report = format!("The task {name} was {result}, and is left until it is next due.");
            next.result = Some(result);
            Some(report)
        }
    };
    (next, report)
}

/// The first time after now that keeps the beat.
fn following(duty: &Duty, due: Millis, now: Millis) -> Millis {
    if due > now {
        return now + duty.period;
    }
    due + ((now - due) / duty.period + 1) * duty.period
}

#[cfg(test)]
mod tests;
