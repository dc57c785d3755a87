//! One job, from the claim to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use culvert_keys::{Control, Made, Recipe};
use culvert_model::Millis;
use culvert_model::record::{Job, JobState, Progress};
use culvert_records::{Hold, Stored};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::Desk;
use crate::choice::Wish;
use crate::claimed::{Claimed, PAUSE, TELL, Then};
use crate::fate::{ATTEMPTS, Fate, backoff, fate};
use crate::thread::Threads;
use crate::work::{self, Need, Trouble};

/// How long reading what a job needs may take, and each batch of what came of it: for a store that is away.
const LIMIT: Duration = Duration::from_secs(300);

/// How long what another job makes is waited for: a CA takes milliseconds, and was enqueued before its certificates.
const PATIENCE: Duration = Duration::from_secs(3);

/// How the work on a job ended for this process.
enum End {
    /// The result is written, or the job is another's.
    Over,
    /// It may still be ours, and is to be given back.
    Ours,
    /// It is to be given back as if it had not been begun.
    Left,
    /// An administrator, or what made it useless, cancelled it.
    Cancelled,
}

/// Claims a job and does what is wished; tells when a part of it is made. Ends when nothing of it runs any more.
pub async fn run(desk: Arc<Desk>, found: Stored<Job>, wish: watch::Receiver<Wish>, made: Arc<AtomicBool>) {
    let (mut hold, job) = match Hold::claim(&desk.bus, &found, &desk.owner, desk.terms).await {
        Ok(Some(claimed)) => claimed,
        Ok(None) => return,
        Err(failure) => return tracing::debug!(job = found.record.id, %failure, "could not claim"),
    };
    let control = Control::default();
    let claimed = Claimed::new(desk, job, hold.epochs());
    let before = claimed.job.record.begun;
    let (wishes, threads) = (wish.clone(), Threads::new());
    let reins = control.clone();
    let mut attempt =
        Attempt { claimed, wish: wishes, control: reins, threads: &threads, before, counted: false, part: made };
    let end = tokio::select! {
        () = hold.keep() => lost(&found),
        end = obey(wish, &control) => end,
        end = attempt.run() => end,
    };
    control.cancel();
    tokio::select! {
        biased;
        _ = timeout(LIMIT, attempt.close(&end)) => if !matches!(end, End::Over) { hold.release().await },
        () = hold.keep() => drop(lost(&found)),
    }
    drop(attempt);
    threads.end().await;
}

/// Ends what makes no headway for too long: much takes long in any case.
async fn patient(
    mut headway: watch::Receiver<()>,
    work: impl Future<Output = Result<(), Trouble>>,
) -> Result<(), Trouble> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            news = timeout(LIMIT, headway.changed()) => drop(news.map_err(|_| Trouble::Away)?),
        }
    }
}

fn lost(found: &Stored<Job>) -> End {
    tracing::warn!(job = found.record.id, "another has the job now, or it is gone; what was made here is thrown away");
    End::Over
}

/// Lets the maker rest and go on, until the job is to be left.
async fn obey(mut wish: watch::Receiver<Wish>, control: &Control) -> End {
    loop {
        match *wish.borrow_and_update() {
            Wish::Work => control.resume(),
            Wish::Rest => control.pause(),
            Wish::Leave => return End::Left,
            Wish::Cancel => return End::Cancelled,
        }
        if wish.changed().await.is_err() {
            // Whoever wishes is gone, and so is the process in a moment.
            return End::Left;
        }
    }
}

/// An attempt to do a job that is held.
struct Attempt<'a> {
    claimed: Claimed,
    wish: watch::Receiver<Wish>,
    control: Control,
    threads: &'a Threads,
    /// The job's `begun` before this attempt.
    before: Option<Millis>,
    /// Whether the attempt was counted, or may be by a write that is under way.
    counted: bool,
    /// Tells that a part is made.
    part: Arc<AtomicBool>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.control.cancel();
    }
}

impl Attempt<'_> {
    async fn run(&mut self) -> End {
        let begun = self.claimed.desk.clock();
        let done = self.work().await;
        let id = self.claimed.id();
        let (why, hopeless) = match done {
            Ok(()) => {
                tracing::info!(job = id, milliseconds = self.claimed.desk.clock() - begun, "done");
                return End::Over;
            }
            Err(Trouble::Lost) => {
                tracing::info!(job = id, "the job is gone, or not open any more");
                return End::Ours;
            }
            Err(Trouble::Hopeless(why)) => (why, true),
            Err(Trouble::Failed(why)) => (why, false),
            Err(Trouble::NotYet(why)) => (why.into(), false),
            Err(Trouble::Changed) => ("Somebody changed it all the time.".into(), false),
            Err(Trouble::Away) => ("The database could not be reached.".into(), false),
            Err(Trouble::Unwritten(failure)) => (failure.to_string(), false),
        };
        tracing::warn!(job = id, attempt = self.claimed.job.record.attempts, why, "failed");
        let _ = timeout(LIMIT, self.fail(&why, hopeless)).await;
        End::Ours
    }

    async fn work(&mut self) -> Result<(), Trouble> {
        timeout(LIMIT, self.begin()).await.map_err(|_| Trouble::Away)??;
        loop {
            let made = match timeout(LIMIT, self.look()).await.map_err(|_| Trouble::Away)?? {
                Need::Nothing(why) => {
                    tracing::info!(job = self.claimed.id(), why, "nothing to do");
                    None
                }
                Need::Make(recipes) => Some(self.make(recipes).await?),
            };
            match patient(self.claimed.headway(), self.claimed.finish(made.as_deref())).await {
                Err(Trouble::Changed) => {}
                done => return done,
            }
        }
    }

    /// Counts the attempt, before anything is done that could bring the process down; or ends the job, if it is not to be
    /// done.
    async fn begin(&mut self) -> Result<(), Trouble> {
        let now = self.claimed.now().await?;
        let surplus = self.claimed.surplus().await?;
        self.counted = true;
        self.claimed.change(|job| begin(job, now, surplus)).await?;
        let job = &self.claimed.job.record;
        match unless_surplus(job, now, surplus) {
            Fate::Remove(why) => tracing::info!(job = job.id, why, "removed"),
            _ if job.state == JobState::Dead => tracing::warn!(job = job.id, why = job.error, "given up"),
            _ => return Ok(()),
        }
        Err(Trouble::Lost)
    }

    async fn look(&self) -> Result<Need, Trouble> {
        let patience = Instant::now() + PATIENCE;
        loop {
            match work::look(&self.claimed.desk, &self.claimed.job.record).await {
                Err(Trouble::Away) => sleep(PAUSE).await,
                Err(Trouble::NotYet(_)) if Instant::now() < patience => sleep(PAUSE).await,
                need => return need,
            }
        }
    }

    /// Makes one after the other, and writes down how far that is.
    async fn make(&mut self, recipes: Vec<Recipe>) -> Result<Vec<Made>, Trouble> {
        let mut tick = interval(TELL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let of = recipes.len();
        let mut all = Vec::with_capacity(of);
        for recipe in recipes {
            let control = self.control.clone();
            let priority = self.claimed.job.record.priority;
            let making = self.threads.run(priority, move || recipe.make(&control));
            tokio::pin!(making);
            let made = loop {
                tokio::select! {
                    made = &mut making => break made,
                    _ = tick.tick() => self.tell(all.len(), of).await?,
                }
            };
            let made = made.map_err(|error| error.to_string())?;
            all.push(made.map_err(|fault| fault.to_string())?);
            self.part.store(true, Ordering::Relaxed);
        }
        Ok(all)
    }

    /// Writes down how far it is and whether it rests, if that is new.
    async fn tell(&mut self, done: usize, of: usize) -> Result<(), Trouble> {
        let paused = *self.wish.borrow() == Wish::Rest;
        let progress = match self.control.progress() {
            0 if of == 1 => None,
            0 => Some(Progress { done: done as u64, of: Some(of as u64) }),
            tried => Some(Progress { done: tried, of: None }),
        };
        let known = &self.claimed.job.record;
        if (known.paused, known.progress) == (paused, progress) {
            return Ok(());
        }
        self.claimed
            .change(|job| {
                (job.paused, job.progress) = (paused, progress);
                Then::Keep
            })
            .await
    }

    async fn fail(&mut self, why: &str, hopeless: bool) -> Result<(), Trouble> {
        let now = self.claimed.now().await?;
        self.claimed
            .change(|job| {
                if job.cancelled {
                    return Then::Remove;
                }
                ended(job);
                job.error = Some(why.into());
                if hopeless || job.attempts >= ATTEMPTS {
                    job.state = JobState::Dead;
                } else {
                    job.not_before = now + backoff(job.attempts);
                }
                Then::Keep
            })
            .await
    }

    /// What is to be written when the work is broken off.
    async fn close(&mut self, end: &End) -> Result<(), Trouble> {
        match end {
            End::Over | End::Ours => Ok(()),
            End::Cancelled => {
                tracing::info!(job = self.claimed.id(), "cancelled");
                // It may have been wanted again since.
                self.claimed
                    .change(|job| {
                        if job.cancelled {
                            return Then::Remove;
                        }
                        ended(job);
                        Then::Keep
                    })
                    .await
            }
            End::Left if !self.counted => Ok(()),
            // Being stopped is not the job's failure. What went down with it before may do so again.
            End::Left => {
                let before = self.before;
                self.claimed
                    .change(|job| {
                        if job.begun != before {
                            ended(job);
                            job.begun = before;
                            job.attempts = job.attempts.saturating_sub(1);
                        }
                        Then::Keep
                    })
                    .await
            }
        }
    }
}

/// What is to become of a job that may be for a pool that is full by now: whoever waits for the result gets it even so.
fn unless_surplus(job: &Job, now: Millis, surplus: bool) -> Fate {
    if surplus && job.reserved.is_none() { Fate::Remove("its pool is full") } else { fate(job, now) }
}

fn begin(job: &mut Job, now: Millis, surplus: bool) -> Then {
    // It was written, and the answer was lost.
    if job.begun == Some(now) {
        return Then::Keep;
    }
    match unless_surplus(job, now, surplus) {
        Fate::Do => {
            job.attempts += 1;
            job.begun = Some(now);
        }
        Fate::Remove(_) => return Then::Remove,
        Fate::Die(why) => {
            // What went down with it may do so again: it stays a suspect for whoever has it tried once more.
            (job.progress, job.paused) = (None, false);
            job.state = JobState::Dead;
            job.error = Some(why);
        }
    }
    Then::Keep
}

/// The attempt is over.
fn ended(job: &mut Job) {
    job.begun = None;
    job.progress = None;
    job.paused = false;
}

#[cfg(test)]
mod tests {
    use culvert_model::record::{Priority, Work};

    use super::*;

    /// The answer to the first write may be lost: it is made again on what it has written.
    #[test]
    fn an_attempt_is_counted_once() {
        let mut job = Job { attempts: 4, ..Job::new("job".into(), Work::ConsoleCertificate, Priority::Normal, 7) };
        for _ in 0..2 {
            assert_eq!(begin(&mut job, 9, false), Then::Keep);
            assert_eq!((job.attempts, job.begun, job.state), (5, Some(9), JobState::Open));
        }
        assert_eq!(begin(&mut job, 10, false), Then::Keep);
        assert_eq!(job.state, JobState::Dead, "it went down with it before");
    }
}
