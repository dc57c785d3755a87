//! One job, from the claim to its end.

use std::sync::Arc;
use std::time::Duration;

use culvert_keys::{Control, Made};
use culvert_model::record::{Job, JobState};
use culvert_model::{Kind, Millis};
use culvert_records::{BATCH, Claim, Failure, Guard, Refusal, Stored, Write, delete, update};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::hold::Hold;
use crate::work::{self, Need, Trouble};
use crate::{Desk, thread};

/// How often a job is begun.
const ATTEMPTS: u16 = 5;

/// How long one attempt may take. Keys take a second or two; the rest is for a store that is away.
const LIMIT: Duration = Duration::from_secs(300);

/// Between two looks for what is not there: the store, or what another job makes.
const PAUSE: Duration = Duration::from_millis(100);

/// How long what another job makes is waited for: a CA takes milliseconds, and was enqueued before its certificates.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the work on a job ended for this process.
enum End {
    /// The result is written, or the job is another's.
    Over,
    /// It may still be ours, and is to be given back.
    Ours,
    /// The process is ending.
    Stopped,
}

/// Claims a job and does it.
pub async fn run(desk: Arc<Desk>, found: Stored<Job>, mut stopped: watch::Receiver<bool>) {
    let (mut hold, job) = match Hold::claim(desk.clone(), &found).await {
        Ok(Some(claimed)) => claimed,
        Ok(None) => return,
        Err(failure) => return tracing::debug!(job = found.record.id, %failure, "could not claim"),
    };
    let mut attempt = Attempt { desk, job, epochs: hold.epochs() };
    let end = tokio::select! {
        () = hold.keep() => {
            tracing::warn!(job = found.record.id, "another has the job now");
            End::Over
        }
        end = attempt.run() => end,
        _ = stopped.wait_for(|stop| *stop) => End::Stopped,
    };
    match end {
        End::Over => {}
        End::Ours => hold.release().await,
        End::Stopped => {
            // Being stopped is not the job's failure.
            let _ = attempt.change(|job| job.attempts = job.attempts.saturating_sub(1)).await;
            hold.release().await;
        }
    }
}

/// A job that is held, and being done.
struct Attempt {
    desk: Arc<Desk>,
    job: Stored<Job>,
    epochs: watch::Receiver<Option<u64>>,
}

impl Attempt {
    async fn run(&mut self) -> End {
        let begun = self.desk.clock();
        let done = timeout(LIMIT, self.work()).await;
        let id = &self.job.record.id;
        let why = match done {
            Ok(Ok(())) => {
                tracing::info!(job = id, milliseconds = self.desk.clock() - begun, "done");
                return End::Over;
            }
            Ok(Err(Trouble::Lost)) => {
                tracing::info!(job = id, "the job is gone, or not open any more");
                return End::Ours;
            }
            Ok(Err(Trouble::Failed(why))) => why,
            Ok(Err(Trouble::NotYet(why))) => why.into(),
            Ok(Err(Trouble::Away)) => "the database cannot be reached".into(),
            Err(_) => format!("it did not end within {} s", LIMIT.as_secs()),
        };
        tracing::warn!(job = id, attempt = self.job.record.attempts, why, "failed");
        let _ = timeout(LIMIT, self.fail(&why)).await;
        End::Ours
    }

    async fn work(&mut self) -> Result<(), Trouble> {
        self.begin().await?;
        let patience = Instant::now() + PATIENCE;
        let need = loop {
            match work::look(&self.desk, &self.job.record).await {
                Err(Trouble::Away) => sleep(PAUSE).await,
                Err(Trouble::NotYet(_)) if Instant::now() < patience => sleep(PAUSE).await,
                need => break need?,
            }
        };
        let recipes = match need {
            Need::Nothing(why) => {
                tracing::info!(job = self.job.record.id, why, "nothing to do");
                return self.finish(None).await;
            }
            Need::Make(recipes) => recipes,
        };
        let mut made = Vec::with_capacity(recipes.len());
        for recipe in recipes {
            let one = thread::run(self.job.record.priority, move || recipe.make(&Control::default())).await;
            made.push(one.map_err(|error| error.to_string()).and_then(|one| one.map_err(|error| error.to_string()))?);
        }
        self.finish(Some(&made)).await
    }

    /// Counts the attempt, before anything is done that could bring the process down.
    async fn begin(&mut self) -> Result<(), Trouble> {
        self.change(|job| {
            if job.attempts < ATTEMPTS {
                job.attempts += 1;
            } else {
                job.state = JobState::Dead;
                job.error.get_or_insert_with(|| {
                    format!("It was begun {ATTEMPTS} times and never ended: the queue went down each time. Retry or discard it.")
                });
            }
        })
        .await?;
        if self.job.record.state == JobState::Open { Ok(()) } else { Err(Trouble::Lost) }
    }

    /// The result, if there is one, and the job's removal: all or none, and only while the job is ours. What doesn't fit
    /// into one batch comes before, under the same guard.
    async fn finish(&mut self, made: Option<&[Made]>) -> Result<(), Trouble> {
        loop {
            let guard = self.guard().await;
            let mut writes = match made {
                None => Vec::new(),
                Some(made) => match work::writes(&self.desk, &self.job.record, made).await {
                    Err(Trouble::Away) => {
                        sleep(PAUSE).await;
                        continue;
                    }
                    writes => writes?,
                },
            };
            writes.push(delete::<Job>(&self.job.record.id, guard.clone()));
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
            let id = self.job.record.id.clone();
            writes.push(Write::Check { kind: Kind::Job, id, guard: guard.clone() });
            self.desk.bus.write(std::mem::replace(&mut writes, rest)).await?;
        }
        self.desk.bus.write(writes).await.map(drop)
    }

    /// Changes the job, while it is ours. If that is its death, what it did is taken back.
    async fn change(&mut self, change: impl Fn(&mut Job)) -> Result<(), Trouble> {
        loop {
            let guard = self.guard().await;
            let mut job = self.job.record.clone();
            change(&mut job);
            let mut writes = if job.state == JobState::Dead { work::undo(&self.desk, &job).await? } else { Vec::new() };
            writes.push(update(&job, guard));
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

    async fn fail(&mut self, why: &str) -> Result<(), Trouble> {
        let (_, now) = self.desk.bus.here().await.map_err(|failure| failure.to_string())?;
        self.change(|job| {
            job.error = Some(why.into());
            if job.attempts >= ATTEMPTS {
                job.state = JobState::Dead;
            } else {
                job.not_before = now + backoff(job.attempts);
            }
        })
        .await
    }

    /// On the condition that the job is as we know it and ours. Waits while the lease has run out and is being asked for.
    async fn guard(&mut self) -> Guard {
        let epoch = match self.epochs.wait_for(Option::is_some).await {
            Ok(epoch) => *epoch,
            // The hold is kept as long as this attempt.
            Err(_) => None,
        };
        let claim = epoch.map(|epoch| Claim { owner: self.desk.owner.clone(), epoch });
        Guard { revision: Some(self.job.revision), claim }
    }

    /// After a write that was not done, or perhaps: looks what became of the job, so that it can be tried again.
    async fn again(&mut self, failure: Failure) -> Result<(), Trouble> {
        match failure {
            // Somebody changed the job, or what the result goes into.
            Failure::Refused { why: Refusal::Stale { .. } | Refusal::Exists | Refusal::Missing, .. } => {}
            // The lease ended by the store's clock; whoever keeps it will hear of that, too.
            Failure::Refused { why: Refusal::NotHeld { .. }, .. } => sleep(PAUSE).await,
            failure if failure.outage() => sleep(PAUSE).await,
            failure => return Err(Trouble::Failed(failure.to_string())),
        }
        loop {
            match self.desk.bus.get::<Job>(&self.job.record.id).await {
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

/// After so many attempts: 1 s, 4 s, 16 s, 64 s.
const fn backoff(attempts: u16) -> Millis {
    1_000 << (2 * if attempts > ATTEMPTS { ATTEMPTS } else { attempts.saturating_sub(1) })
}
