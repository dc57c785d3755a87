//! Finding jobs, beginning them, and telling those that are being done what to do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use culvert_jobs::glance;
use culvert_model::Kind;
use culvert_model::record::{Host, Job, JobState};
use culvert_records::{Failure, News, Query, Stored};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::choice::{Choice, Held, Ready, Urgency, View, Wish, choose};
use crate::offer::{REST, Resting, due, offers, rooms};
use crate::{Desk, OWNER, job};

/// The net under the messages.
const POLL: Duration = Duration::from_secs(5);

/// After a look that came to nothing because the store is away.
const RETRY: Duration = Duration::from_millis(500);

/// Many changes within this time are one reason to look.
const PACE: Duration = Duration::from_millis(10);

/// How many jobs are read at first, and at a time if that does not do: most looks need a few only.
const PAGE: u16 = 16;
const PAGES: u16 = 128;

/// An attempt that has lived for so long is no suspect any more. What brings its process down later does so five times at
/// most, and whoever goes down with it is a suspect then, too.
const TRUST: Duration = Duration::from_secs(10);

/// How many jobs are removed or given up at a time.
const TIDY: usize = 16;

/// What this process is doing.
pub struct Look {
    desk: Arc<Desk>,
    stopped: watch::Receiver<bool>,
    jobs: JoinSet<()>,
    doing: HashMap<Id, Doing>,
    cores: usize,
    /// When it was last looked who else has room.
    glanced: Option<Instant>,
}

/// A job that is being done, or removed.
struct Doing {
    id: String,
    held: Held,
    begun: Instant,
    tidy: bool,
    wish: watch::Sender<Wish>,
    /// Since when it rests.
    rests: Option<Instant>,
    /// Whether this process had it before.
    again: bool,
    /// Whether a part of it is made.
    made: Arc<AtomicBool>,
}

impl Doing {
    /// Takes in what the record says now.
    fn learn(&mut self, job: &Job) {
        let before = std::mem::replace(&mut self.held.urgency, Urgency::of(job));
        if job.cancelled && !self.tidy {
            self.wish(Wish::Cancel);
        } else if before.begins_anew(self.held.urgency) {
            self.wish(Wish::Leave);
        }
    }

    /// What is to be left or cancelled does not come back.
    fn wish(&mut self, wish: Wish) {
        self.wish.send_if_modified(|known| {
            let new = matches!(known, Wish::Work | Wish::Rest) && *known != wish;
            if new {
                *known = wish;
            }
            new
        });
        self.rests = (*self.wish.borrow() == Wish::Rest).then(|| self.rests.unwrap_or_else(Instant::now));
    }

    /// For how much longer it is a suspect.
    fn suspected(&self) -> Option<Duration> {
        let left = TRUST.checked_sub(self.begun.elapsed()).filter(|left| !left.is_zero());
        left.filter(|_| self.held.suspect && !self.tidy)
    }

    fn held(&self) -> Held {
        Held { suspect: self.suspected().is_some(), ..self.held }
    }

    fn resting(&self) -> Option<Resting> {
        let rested = self.rests?.elapsed();
        Some(Resting { job: self.held(), rested, again: self.again, made: self.made.load(Ordering::Relaxed) })
    }
}

impl Look {
    /// Nothing is being done yet. Jobs that are begun are left when `stopped` says so.
    pub fn new(desk: Arc<Desk>, stopped: watch::Receiver<bool>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { desk, stopped, jobs: JoinSet::new(), doing: HashMap::new(), cores, glanced: None }
    }

    /// Has as many cores as this host's record says: others go by that when they enqueue for it, and offer to it.
    async fn measure(&mut self) {
        // A host that has just been set up has no record yet, which will be news.
        if let Ok(Some(host)) = self.desk.bus.get::<Host>(self.desk.host).await {
            self.cores = usize::from(host.record.cores.max(1));
        }
    }

    /// Looks for jobs whenever there may be some, until it is stopped and every job has given its lease back.
    pub async fn run(&mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = self.attend() => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        self.doing.values_mut().for_each(|doing| doing.wish(Wish::Leave));
        while self.jobs.join_next().await.is_some() {}
    }

    async fn attend(&mut self) {
        let mut news = self.desk.bus.subscribe(&[Kind::Job, Kind::Host]).await;
        let mut again = Instant::now();
        let mut looked = again;
        loop {
            tokio::select! {
                news = news.next() => {
                    let host = matches!(&news, News::Changed(change) if change.kind == Kind::Host);
                    if host || news == News::Gap {
                        self.measure().await;
                    }
                    again = again.min((looked + PACE).max(Instant::now()));
                }
                Some(ended) = self.jobs.join_next_with_id(), if !self.jobs.is_empty() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    self.doing.remove(&id);
                    again = Instant::now();
                }
                () = sleep_until(again) => {
                    let wait = self.look().await;
                    looked = Instant::now();
                    again = looked + wait;
                }
            }
        }
    }

    /// Begins what can be begun, and says when to look again.
    async fn look(&mut self) -> Duration {
        match self.begin().await {
            Ok(again) => again,
            Err(failure) => {
                tracing::debug!(%failure, "could not look for jobs");
                RETRY
            }
        }
    }

    async fn begin(&mut self) -> Result<Duration, Failure> {
        let (host, now) = self.desk.bus.here().await?;
        let view = View { host, now, uninterrupted: self.desk.bus.uninterrupted(), lease: self.desk.terms.length };
        let mut ready = Ready::default();
        let (places, held) = self.held();
        let choice = self.read(&view, &mut ready, &held).await?;
        for (place, wish) in places.iter().zip(&choice.wishes) {
            if let Some(doing) = self.doing.get_mut(place) {
                doing.wish(*wish);
            }
        }
        let mut work: Vec<_> = ready.work.into_iter().map(Some).collect();
        for job in choice.claim.into_iter().filter_map(|place| work[place].take()) {
            self.start(job, false);
        }
        let waiting: Vec<Held> = work.iter().flatten().map(|job| Held::of(&job.record)).collect();
        let busy = self.doing.values().filter(|doing| doing.tidy).count();
        ready.tidy.into_iter().take(TIDY.saturating_sub(busy)).for_each(|job| self.start(job, true));
        let offer = self.offer(&view, &waiting).await?;
        let again = ready.again.map(Duration::from_millis);
        let suspected = self.doing.values().filter_map(Doing::suspected);
        Ok([again, offer].into_iter().flatten().chain(suspected).fold(POLL, Duration::min))
    }

    /// Gives back what has rested for a while and another host has room for. Says when there may be more.
    async fn offer(&mut self, view: &View, waiting: &[Held]) -> Result<Option<Duration>, Failure> {
        let resting = self.doing.iter().filter_map(|(id, doing)| Some((*id, doing.resting()?)));
        let (ids, resting): (Vec<Id>, Vec<Resting>) = resting.filter(|(_, job)| job.may_go()).unzip();
        let glanced = self.glanced.map_or(REST, |at| at.elapsed());
        let due = due(&resting, glanced, view);
        if due != Some(Duration::ZERO) {
            return Ok(due);
        }
        self.glanced = Some(Instant::now());
        let (hosts, open) = glance(&self.desk.bus).await?;
        let long = ids.iter().zip(&resting).filter(|(_, job)| job.rested >= REST);
        let (ids, held): (Vec<Id>, Vec<Held>) = long.map(|(id, job)| (*id, job.job)).unzip();
        for place in offers(&held, waiting, rooms(&hosts, &open, view.host)) {
            if let Some(doing) = self.doing.get_mut(&ids[place]) {
                tracing::info!(job = doing.id, "it rests here, and another host has room for it");
                doing.wish(Wish::Leave);
            }
        }
        // What has not rested for long enough, has by then. For the others there is more when something changes.
        Ok((held.len() < resting.len()).then_some(REST))
    }

    /// Those that are being done.
    fn held(&self) -> (Vec<Id>, Vec<Held>) {
        self.doing.iter().filter(|(_, doing)| !doing.tidy).map(|(id, doing)| (*id, doing.held())).unzip()
    }

    /// Reads open jobs, most urgent first, until more would make no difference; and those that are being done in any case.
    async fn read(&mut self, view: &View, ready: &mut Ready, held: &[Held]) -> Result<Choice, Failure> {
        let ours: HashSet<String> = self.doing.values().map(|doing| doing.id.clone()).collect();
        let mut unseen = ours.clone();
        let open = Query::by("by_weight").equal("open");
        let mut choice = Choice::default();
        for light in [false, true] {
            let mut query = if light { open.clone().truth(true) } else { open.clone().nothing() }.limit(PAGE);
            loop {
                let mut page = self.desk.bus.find::<Job>(query.clone()).await?;
                release_strays(&self.desk, &mut page.items, &ours).await?;
                for Stored { record, .. } in page.items.iter().filter(|job| unseen.remove(&job.record.id)) {
                    self.learn(record);
                }
                ready.add(page.items, &ours, view);
                let candidates: Vec<Held> = ready.work.iter().map(|job| Held::of(&job.record)).collect();
                choice = choose(&candidates, held, self.cores);
                match page.next {
                    Some(next) if !choice.full.of(light) => query = query.after(Some(next)).limit(PAGES),
                    _ => break,
                }
            }
        }
        for id in unseen {
            // One that is gone, its holder hears of by itself; one that is damaged goes on as it does.
            if let Some(job) = self.desk.bus.get_whole::<Job>(&id).await?
                && job.record.state == JobState::Open
            {
                self.learn(&job.record);
            }
        }
        Ok(choice)
    }

    fn learn(&mut self, job: &Job) {
        self.doing.values_mut().filter(|doing| doing.id == job.id).for_each(|doing| doing.learn(job));
    }

    fn start(&mut self, found: Stored<Job>, tidy: bool) {
        let (id, held) = (found.record.id.clone(), Held::of(&found.record));
        let again = found.lease.as_ref().is_some_and(|last| last.owner == self.desk.owner);
        let (wish, wishes) = watch::channel(Wish::Work);
        let made = Arc::new(AtomicBool::new(false));
        let handle = self.jobs.spawn(job::run(self.desk.clone(), found, wishes, made.clone()));
        let begun = Instant::now();
        self.doing.insert(handle.id(), Doing { id, held, begun, tidy, wish, rests: None, again, made });
    }
}

/// Gives back what an earlier process of this host held when it died, or what this one was granted without hearing of it.
/// Should the other live after all, the next claim's epoch fences it.
async fn release_strays(desk: &Desk, jobs: &mut [Stored<Job>], running: &HashSet<String>) -> Result<(), Failure> {
    for job in jobs.iter_mut().filter(|job| !running.contains(&job.record.id)) {
        let Some(claim) = job.claim() else { continue };
        let Some(lease) = &mut job.lease else { continue };
        if lease.left > 0 && lease.host == desk.host && lease.owner.starts_with(OWNER) {
            tracing::info!(job = job.record.id, "gives back the claim of a process that is gone");
            desk.bus.release::<Job>(&job.record.id, &claim).await?;
            lease.left = 0;
        }
    }
    Ok(())
}
