//! The record of a job that is held, and writing under its claim.

use std::sync::Arc;
use std::time::Duration;

use culvert_keys::Made;
use culvert_model::record::{Job, JobState};
use culvert_model::{Kind, Millis};
use culvert_records::{BATCH, Claim, Failure, Guard, Refusal, Stored, Write, delete, update};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Desk;
use crate::work::{self, Trouble};

/// Between two looks for what is not there: the store, or what another job makes.
pub const PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a record that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
}

/// A job that is held.
pub struct Claimed {
    pub desk: Arc<Desk>,
    /// As it is in the store, as far as we know.
    pub job: Stored<Job>,
    /// The epoch under which it is held, at any time.
    pub epochs: watch::Receiver<Option<u64>>,
}

impl Claimed {
    /// The job's id.
    pub fn id(&self) -> &str {
        &self.job.record.id
    }

    /// The time by the store's clock.
    pub async fn now(&self) -> Result<Millis, Trouble> {
        loop {
            match self.desk.bus.here().await {
                Err(failure) if failure.outage() => sleep(PAUSE).await,
                here => return Ok(here?.1),
            }
        }
    }

    /// Whether it is to fill a pool that is full by now.
    pub async fn surplus(&self) -> Result<bool, Trouble> {
        loop {
            match culvert_pool::surplus(&self.desk.bus, &self.job.record).await {
                Err(failure) if failure.outage() => sleep(PAUSE).await,
                surplus => return Ok(surplus?),
            }
        }
    }

    /// The result, if there is one, and the job's removal: all or none, and only while the job is ours. What doesn't fit
    /// into one batch comes before, under the same guard.
    pub async fn finish(&mut self, made: Option<&[Made]>) -> Result<(), Trouble> {
        loop {
            let guard = self.guard().await;
            let writes = match made {
                None => Ok(Vec::new()),
                Some(made) => work::writes(&self.desk, &self.job.record, made).await,
            };
            let mut writes = match writes {
                Err(Trouble::Away) => {
                    sleep(PAUSE).await;
                    continue;
                }
                writes => writes?,
            };
            writes.push(delete::<Job>(self.id(), guard.clone()));
            match self.commit(writes, &guard).await {
                Ok(()) => return Ok(()),
                Err(failure) => self.again(failure).await?,
            }
        }
    }

    /// Writes batch by batch, each only if the job is as the guard says.
    async fn commit(&self, mut writes: Vec<Write>, guard: &Guard) -> Result<(), Failure> {
        while writes.len() > BATCH {
            let rest = writes.split_off(BATCH - 1);
            writes.push(Write::Check { kind: Kind::Job, id: self.id().into(), guard: guard.clone() });
            self.desk.bus.write(std::mem::replace(&mut writes, rest)).await?;
        }
        self.desk.bus.write(writes).await.map(drop)
    }

    /// Changes the job, or removes it, while it is ours. If it dies of that or is removed, what it did is taken back.
    pub async fn change(&mut self, change: impl Fn(&mut Job) -> Then) -> Result<(), Trouble> {
        loop {
            let guard = self.guard().await;
            let mut job = self.job.record.clone();
            let then = change(&mut job);
            let over = then == Then::Remove || job.state == JobState::Dead;
            let mut writes = match if over { work::undo(&self.desk, &job).await } else { Ok(Vec::new()) } {
                Err(Trouble::Away) => {
                    sleep(PAUSE).await;
                    continue;
                }
                writes => writes?,
            };
            writes.push(match then {
                Then::Keep => update(&job, guard),
                Then::Remove => delete::<Job>(self.id(), guard),
            });
            let written = self.desk.bus.write(writes).await;
            match written {
                Ok(revisions) => {
                    self.job.record = job;
                    self.job.revision = revisions.last().copied().unwrap_or_default();
                    return Ok(());
                }
                Err(failure) => self.again(failure).await?,
            }
        }
    }

    /// On the condition that the job is as we know it and ours. Waits while the lease has run out and is being asked for.
    async fn guard(&mut self) -> Guard {
        let epoch = match self.epochs.wait_for(Option::is_some).await {
            Ok(epoch) => *epoch,
            // The hold is kept as long as this.
            Err(_) => None,
        };
        let claim = epoch.map(|epoch| Claim { owner: self.desk.owner.clone(), epoch });
        Guard { revision: Some(self.job.revision), claim }
    }

    /// After a write that was not done, or perhaps: looks what became of the job, so that it can be tried again.
    async fn again(&mut self, failure: Failure) -> Result<(), Trouble> {
        match failure {
            // Somebody changed the job, or what the result goes into.
            Failure::Refused {
                why: Refusal::Stale { .. } | Refusal::Exists | Refusal::Missing | Refusal::Taken { .. },
                ..
            } => {}
            // The lease ended by the store's clock; whoever keeps it will hear of that, too.
            Failure::Refused { why: Refusal::NotHeld { .. }, .. } => sleep(PAUSE).await,
            failure if failure.outage() => sleep(PAUSE).await,
            failure => return Err(Trouble::Failed(failure.to_string())),
        }
        loop {
            match self.desk.bus.get::<Job>(self.id()).await {
                Ok(Some(job)) if job.record.state == JobState::Open => {
                    self.job = job;
                    return Ok(());
                }
                Ok(_) => return Err(Trouble::Lost),
                Err(failure) if failure.outage() => sleep(PAUSE).await,
                Err(failure) => return Err(Trouble::Failed(failure.to_string())),
            }
        }
    }
}
