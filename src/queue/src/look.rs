//! Finding jobs and beginning them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use culvert_model::Kind;
use culvert_model::record::{Job, Priority};
use culvert_records::{Failure, Query, Stored};
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::choice::{View, choose};
use crate::{Desk, OWNER, job};

/// The net under the messages.
const POLL: Duration = Duration::from_secs(5);

/// After a look that came to nothing because the store is away.
const RETRY: Duration = Duration::from_millis(500);

/// Many changes within this time are one reason to look.
const PACE: Duration = Duration::from_millis(10);

/// How many jobs are read at a time.
const PAGE: u16 = 100;

/// What this process is doing.
pub struct Look {
    desk: Arc<Desk>,
    stopped: watch::Receiver<bool>,
    jobs: JoinSet<()>,
    /// The jobs that are being done, and whether at low priority.
    doing: HashMap<Id, (String, bool)>,
    most: usize,
}

impl Look {
    /// Nothing is being done yet. Jobs that are begun end when `stopped` says so.
    pub fn new(desk: Arc<Desk>, stopped: watch::Receiver<bool>) -> Self {
        // One for what somebody waits for, even while a pool is filled on a single core.
        let most = std::thread::available_parallelism().map_or(1, usize::from) + 1;
        Self { desk, stopped, jobs: JoinSet::new(), doing: HashMap::new(), most }
    }

    /// Looks for jobs whenever there may be some, until it is stopped and every job has given its lease back.
    pub async fn run(&mut self) {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = self.attend() => {}
            _ = stopped.wait_for(|stop| *stop) => {}
        }
        while self.jobs.join_next().await.is_some() {}
    }

    async fn attend(&mut self) {
        let mut news = self.desk.bus.subscribe(&[Kind::Job]).await;
        let mut again = Instant::now();
        let mut looked = again;
        loop {
            tokio::select! {
                _ = news.next() => again = again.min((looked + PACE).max(Instant::now())),
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
        let (_, now) = self.desk.bus.here().await?;
        let mut wait = POLL;
        let mut query = Query::by("by_state").equal("open").limit(PAGE);
        loop {
            let mut page = self.desk.bus.find::<Job>(query.clone()).await?;
            let running: HashSet<String> = self.doing.values().map(|(id, _)| id.clone()).collect();
            release_strays(&self.desk, &mut page.items, &running).await?;
            let low = !self.doing.values().any(|(_, low)| *low);
            let free = self.most.saturating_sub(self.doing.len());
            let uninterrupted = self.desk.bus.uninterrupted();
            let view = View { host: self.desk.host, now, uninterrupted, running: &running, low, free };
            let choice = choose(&page.items, &view);
            wait = choice.again.map_or(wait, |again| wait.min(Duration::from_millis(again)));
            let mut items: Vec<_> = page.items.into_iter().map(Some).collect();
            for place in choice.claim {
                if let Some(job) = items[place].take() {
                    self.start(job);
                }
            }
            match page.next {
                Some(next) if self.doing.len() < self.most && !self.only_low(&items) => query = query.after(Some(next)),
                _ => return Ok(wait),
            }
        }
    }

    /// Whether nothing behind these can be begun: the pages are in the order of priority.
    fn only_low(&self, items: &[Option<Stored<Job>>]) -> bool {
        let low = self.doing.values().any(|(_, low)| *low);
        low && items.iter().flatten().next_back().is_some_and(|job| job.record.priority == Priority::Low)
    }

    fn start(&mut self, found: Stored<Job>) {
        let entry = (found.record.id.clone(), found.record.priority == Priority::Low);
        let handle = self.jobs.spawn(job::run(self.desk.clone(), found, self.stopped.clone()));
        self.doing.insert(handle.id(), entry);
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
