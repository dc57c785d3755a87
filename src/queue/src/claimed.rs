//! The record of a job that is held, and writing under its claim.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use culvert_keys::Made;
use culvert_model::record::{Job, JobState, Progress};
use culvert_model::{Kind, Millis};
use culvert_records::{BATCH, Claim, Failure, Guard, Refusal, Stored, Write, delete, update};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::Desk;
use crate::work::{self, Trouble};

/// Between two looks for what is not there: the store, or what another job makes.
pub const PAUSE: Duration = Duration::from_millis(100);

/// How often it is written down how far a job is.
pub const TELL: Duration = Duration::from_secs(1);

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
    epochs: watch::Receiver<Option<u64>>,
    /// Writes of the result that are not written yet.
    waiting: Vec<Write>,
    /// On what they depend besides, as long as they are not the last batch.
    condition: Option<Write>,
    /// Hears of each batch of them that is.
    headway: watch::Sender<()>,
    /// When it was last written down how far that is.
    told: Option<Instant>,
}

impl Claimed {
    /// This job, held under these epochs.
    pub fn new(desk: Arc<Desk>, job: Stored<Job>, epochs: watch::Receiver<Option<u64>>) -> Self {
        let headway = watch::Sender::new(());
        Self { desk, job, epochs, waiting: Vec::new(), condition: None, headway, told: None }
    }

    /// Hears of each part of the result that is written.
    pub fn headway(&self) -> watch::Receiver<()> {
        self.headway.subscribe()
    }

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

    /// The result, if there is one, and the job's removal: all or none, and only while the job is ours and nobody changed
    /// it. What the work put before, or doesn't fit into one batch, comes before, while it is ours.
    pub async fn finish(&mut self, made: Option<&[Made]>) -> Result<(), Trouble> {
        loop {
            match self.try_finish(made).await {
                Err(Trouble::Away) => sleep(PAUSE).await,
                Err(Trouble::Unwritten(failure)) => {
                    let known = self.job.revision;
                    self.again(failure).await?;
                    // That there was nothing to do says nothing about the job as it is now.
                    if made.is_none() && self.job.revision != known {
                        return Err(Trouble::Changed);
                    }
                }
                done => return done,
            }
        }
    }

    async fn try_finish(&mut self, made: Option<&[Made]>) -> Result<(), Trouble> {
        let ours = self.ours().await;
        self.waiting.clear();
        self.condition = None;
        if let Some(made) = made {
            let writes = work::writes(self, made).await?;
            // They stay together, and with the job's removal, if they fit into one batch.
            self.flush(BATCH.saturating_sub(1 + writes.len()), None).await?;
            self.put(writes, None).await?;
        }
        let mut last = mem::take(&mut self.waiting);
        // As it was when the work began, but for how far it is: whoever changed it since wants it to be looked at again.
        last.push(delete::<Job>(self.id(), Guard { revision: Some(self.job.revision), ..ours }));
        self.desk.bus.write(last).await.map(drop).map_err(Trouble::Unwritten)
    }

    /// What is put from now on is written only on this condition. The last batch has its own, among the writes.
    pub fn only_if(&mut self, condition: Write) {
        self.condition = Some(condition);
    }

    /// Takes on writes of the result. As soon as there are more than fit into one batch, the first are written, while the
    /// job is ours; and, now and then, how far it is.
    pub async fn put(&mut self, writes: Vec<Write>, progress: Option<Progress>) -> Result<(), Trouble> {
        self.waiting.extend(writes);
        self.flush(BATCH - 1, progress).await
    }

    /// Writes this and all that was put before, while the job is ours: for what others are to see before the work goes on.
    pub async fn put_at_once(&mut self, writes: Vec<Write>) -> Result<(), Trouble> {
        self.waiting.extend(writes);
        self.flush(0, None).await
    }

    /// Writes until so many are left at most.
    async fn flush(&mut self, left: usize, progress: Option<Progress>) -> Result<(), Trouble> {
        while self.waiting.len() > left {
            let ours = self.ours().await;
            let mut batch: Vec<_> = self.condition.clone().into_iter().collect();
            let room = BATCH - 1 - batch.len();
            batch.extend(self.waiting.drain(..self.waiting.len().min(room)));
            batch.push(Write::Check { kind: Kind::Job, id: self.id().into(), guard: ours });
            self.desk.bus.write(batch).await.map_err(Trouble::Unwritten)?;
            self.headway.send_replace(());
            self.tell(progress).await?;
        }
        Ok(())
    }

    /// Writes down, now and then, how far it is.
    async fn tell(&mut self, progress: Option<Progress>) -> Result<(), Trouble> {
        if progress.is_none() || self.told.is_some_and(|told| told.elapsed() < TELL) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        let job = Job { progress, ..self.job.record.clone() };
        let guard = self.guard().await;
        match self.desk.bus.write(vec![update(&job, guard)]).await {
            Ok(revisions) => {
                self.job.record = job;
                self.job.revision = revisions.last().copied().unwrap_or_default();
            }
            // Somebody changed it, which the last batch heeds.
            Err(Failure::Refused { why: Refusal::Stale { .. }, .. }) => {}
            Err(failure) => return Err(Trouble::Unwritten(failure)),
        }
        Ok(())
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
                // Something that it refers to is damaged. It ends all the same: tasks see to what it leaves behind.
                Err(Trouble::Failed(why)) => {
                    tracing::warn!(job = self.id(), why, "what it did so far can't be taken back");
                    Vec::new()
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

    /// On the condition that the job is as we know it and ours.
    async fn guard(&mut self) -> Guard {
        Guard { revision: Some(self.job.revision), ..self.ours().await }
    }

    /// On the condition that the job is ours. Waits while the lease has run out and is being asked for.
    async fn ours(&mut self) -> Guard {
        let epoch = match self.epochs.wait_for(Option::is_some).await {
            Ok(epoch) => *epoch,
            // The hold is kept as long as this.
            Err(_) => None,
        };
        let claim = epoch.map(|epoch| Claim { owner: self.desk.owner.clone(), epoch });
        Guard { revision: None, claim }
    }

    /// After a write that was not done, or perhaps: looks what became of the job, so that it can be tried again.
    async fn again(&mut self, failure: Failure) -> Result<(), Trouble> {
        match failure {
            // Somebody changed the job, or what the result goes into.
            Failure::Refused { why: Refusal::Stale { .. } | Refusal::Missing, .. } => {}
            // It may be what nobody can read, and stay.
            Failure::Refused { why: Refusal::Exists | Refusal::Taken { .. }, .. } => sleep(PAUSE).await,
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
