//! Reserving a task, running it, and writing down how it went.

use std::sync::Arc;
use std::time::Duration;

use culvert_lease::Terms;
use culvert_model::Millis;
use culvert_model::record::Task;
use culvert_records::{Bus, Failure, Guard, Hold, Post, Refusal, Stored, delete, update};
use tokio::time::{sleep, timeout};

use crate::bell::Bell;
use crate::desk::{Desk, GRACE};
use crate::duty::Duty;
use crate::fence::{Fence, OWNER};
use crate::schedule::{ATTEMPTS, Outcome, Step, after, began, step};

/// The longest random wait after a task is due, so that all hosts run about as many.
const JITTER: Millis = 500;

/// The wait after a failure of the store.
const RETRY: Millis = 1_000;

/// Attends to one task, for ever. Looks at it when it may be due, and when its bell is rung. Cancel safe: what is not
/// written down is run again.
pub async fn attend(bus: Bus, duty: &'static Duty, bell: Arc<Bell>) {
    loop {
        let wait = match turn(&bus, duty, &bell).await {
            Ok(wait) => wait,
            Err(failure) => {
                tracing::debug!(task = duty.name, %failure, "could not attend to a task; trying again");
                RETRY
            }
        };
        let _ = timeout(Duration::from_millis(wait), bell.rung()).await;
        sleep(Duration::from_millis(jitter())).await;
    }
}

fn jitter() -> Millis {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u64::from_ne_bytes(bytes) % JITTER
}

/// Looks at the task and runs it, if it is due and nobody else does. The milliseconds until it is to be looked at again.
async fn turn(bus: &Bus, duty: &'static Duty, bell: &Bell) -> Result<Millis, Failure> {
    let (host, now) = bus.here().await?;
    let task = match bus.get::<Task>(duty.name).await {
        Ok(Some(task)) => task,
        Ok(None) => return create(bus, duty, now).await,
        // It says no more than when it ran: no reason for servers to wait until somebody mends it. Who runs it just now is
        // refused from here on, since no epoch comes twice.
        Err(Failure::Invalid(why)) => {
            tracing::warn!(task = duty.name, why, "the record of a task is made anew");
            bus.write(vec![delete::<Task>(duty.name, Guard::default())]).await?;
            return Ok(0);
        }
        Err(failure) => return Err(failure),
    };
    let unseen = bell.unseen(began(&task.record), now);
    match step(duty, &task, host, now, bus.uninterrupted(), unseen) {
        Step::Wait(wait) => Ok(wait),
        Step::Reserve => match Hold::claim(bus, &task, OWNER, Terms::of(duty.timeout)).await? {
            Some((hold, task)) => {
                let fence = Fence::new(duty.name, hold.epochs());
                let desk = Desk { bus, host, now, grace: GRACE, fence: Some(fence.clone()) };
                held(hold, Run { desk, fence, duty, task }).await
            }
            None => Ok(0),
        },
    }
}

/// Due at once.
async fn create(bus: &Bus, duty: &Duty, now: Millis) -> Result<Millis, Failure> {
    let id = duty.name.into();
    let task =
        Task { id, due: now, attempts: 0, finished: None, succeeded: None, duration: None, host: None, result: None };
    match bus.insert(&task).await {
        Ok(()) | Err(Failure::Refused { why: Refusal::Exists, .. }) => Ok(0),
        Err(failure) => Err(failure),
    }
}

/// Keeps the reservation for as long as the run takes, and gives it back. A run whose task is another's by now is ended
/// where it is.
async fn held(mut hold: Hold<Post<Task>>, mut run: Run<'_>) -> Result<Millis, Failure> {
    let ended = tokio::select! {
        ended = run.run() => ended,
        () = hold.keep() => {
            tracing::warn!(task = run.duty.name, "another has the task now; the run that was begun here is ended");
            Ok(0)
        }
    };
    hold.release().await;
    ended
}

/// A run that this host reserved.
struct Run<'a> {
    desk: Desk<'a>,
    fence: Fence,
    duty: &'static Duty,
    task: Stored<Task>,
}

impl Run<'_> {
    async fn run(&mut self) -> Result<Millis, Failure> {
        let outcome = if self.task.record.attempts >= ATTEMPTS {
            Outcome::Abandoned
        } else {
            // Counted before it is begun: it may bring the process down.
            self.task.record.attempts += 1;
            self.task.revision = self.write(&self.task.record, None).await?;
            self.attempt().await
        };
        let (_, now) = self.desk.bus.here().await?;
        let Desk { host, now: began, .. } = self.desk;
        self.tell(&outcome, now.saturating_sub(began));
        let (next, report) = after(self.duty, &self.task.record, outcome, host, began, now);
        self.write(&next, report).await?;
        Ok(next.due.saturating_sub(now).min(self.duty.period))
    }

    async fn attempt(&self) -> Outcome {
        match timeout(Duration::from_millis(self.duty.timeout), (self.duty.work)(&self.desk)).await {
            Ok(Ok(done)) => Outcome::Done(done),
            Ok(Err(failure)) => Outcome::Failed(failure.to_string()),
            Err(_) => Outcome::Failed(format!("it did not end within {} ms", self.duty.timeout)),
        }
    }

    /// Writes the record while it is ours, with a report to administrators.
    async fn write(&self, task: &Task, report: Option<String>) -> Result<u64, Failure> {
        let guard = Guard { revision: Some(self.task.revision), claim: Some(self.fence.claim().await?) };
        let mut writes = vec![update(task, guard)];
        writes.extend(report.map(|message| self.desk.note(message)));
        Ok(self.desk.bus.write(writes).await?[0])
    }

    fn tell(&self, outcome: &Outcome, milliseconds: Millis) {
        let task = self.duty.name;
        match outcome {
            Outcome::Done(done) => tracing::debug!(task, milliseconds, result = done.text, "done"),
            Outcome::Failed(why) => tracing::warn!(task, milliseconds, why, "failed"),
            Outcome::Abandoned => tracing::warn!(task, "left until it is next due: it was begun too often"),
        }
    }
}
