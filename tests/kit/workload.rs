//! Writers and subscribers on several buses, as a process of the appliance has them, and their history.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use culvert_model::record::{Job, JobState, Priority};
use culvert_model::{Id, Kind};
use culvert_records::{Bus, Failure, Guard, Kept, News, Query, Write, delete, insert, update};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::bus::{as_user, user};
use crate::history::{Deed, Entry, History, Met, Outcome, POISON, State};
use crate::lines::until;

/// Writers and subscribers on each bus.
const WRITERS: usize = 2;
const SUBSCRIBERS: usize = 2;

/// How long the last news may take, after all is whole again.
const NEWS: Duration = Duration::from_secs(30);

/// After this, what is not known is settled one way or the other.
const SETTLED: Duration = Duration::from_millis(1500);

/// Records that are made at a time in a flood.
const BATCH: u64 = 100;

/// The record to which everybody adds, and the one that everybody claims.
const COUNTER: &str = "counter";
const CLAIMED: &str = "claimed";

/// A running workload.
#[derive(Debug)]
pub struct Workload {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    flood: Arc<AtomicU64>,
    thread: JoinHandle<Result<History>>,
}

impl Workload {
    /// Begins on the buses with these sockets. The seed decides what the writers do.
    pub fn start(sockets: Vec<PathBuf>, seed: u64) -> Result<Self> {
        // The one that may write jobs, claim them, and hear of them.
        let uid = user("culvert-queue")?.uid.as_raw();
        let (stop, acknowledged, flood) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let work = Work { stop: stop.clone(), acknowledged: acknowledged.clone(), flood: flood.clone(), sockets, seed };
        let thread = thread::spawn(move || as_user(uid, async || work.run().await));
        Ok(Self { stop, acknowledged, flood, thread })
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Has so many records made on the last host, as fast as it can, and waits until they are.
    pub fn flood(&self, records: u64, deadline: Duration) -> Result<()> {
        self.flood.store(records.div_ceil(BATCH), Ordering::Relaxed);
        until("a flood of records", deadline, || Ok((self.flood.load(Ordering::Relaxed) == 0).then_some(())))
    }

    /// Ends the writers, waits until the subscribers know what is there or have had the time, and gives the history.
    pub fn stop(self) -> Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the workload panicked"))?
    }
}

struct Work {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    flood: Arc<AtomicU64>,
    sockets: Vec<PathBuf>,
    seed: u64,
}

impl Work {
    async fn run(self) -> Result<History> {
        let first = Bus::new(self.sockets.first().context("a bus")?);
        let shared: Vec<Write> = [COUNTER, CLAIMED].map(|id| insert(&job(id, 0))).into();
        first.write(shared).await?;
        let made = [COUNTER, CLAIMED].map(|id| Deed::Make { record: id.into(), number: 0 });
        let mut history = History {
            entries: vec![Entry { deeds: made.into(), outcome: Outcome::Done }],
            sole: [CLAIMED.to_string()].into(),
            ..History::default()
        };
        let (mut writers, mut subscribers, mut met) = (JoinSet::new(), JoinSet::new(), BTreeMap::new());
        for (host, socket) in self.sockets.iter().enumerate() {
            for number in 0..SUBSCRIBERS {
                let heard = Arc::new(Mutex::new(Vec::new()));
                met.insert(format!("host {host} subscriber {number}"), heard.clone());
                subscribers.spawn(subscribe(Bus::new(socket), heard));
            }
            for number in 0..WRITERS {
                let own = format!("of-{host}-{number}");
                history.sole.insert(own.clone());
                let random = Random(self.seed ^ (host * WRITERS + number) as u64);
                writers.spawn(Writer::new(Bus::new(socket), own, random, &self).run(self.stop.clone()));
            }
        }
        let last = Bus::new(self.sockets.last().context("a bus")?);
        let pourer = Writer::new(last, "pourer".into(), Random(self.seed), &self);
        writers.spawn(pourer.pour(self.stop.clone(), self.flood.clone()));
        for entries in writers.join_all().await {
            history.entries.extend(entries?);
        }
        history.state = state(&first).await;
        self.await_news(&mut history, &met).await;
        Ok(history)
    }

    async fn await_news(&self, history: &mut History, met: &BTreeMap<String, Arc<Mutex<Vec<Met>>>>) {
        let ends = Instant::now() + NEWS;
        loop {
            let look = |(name, met): (&String, &Arc<Mutex<Vec<Met>>>)| {
                (name.clone(), met.lock().expect("nobody panics with it").clone())
            };
            history.subscribers = met.iter().map(look).collect();
            let faulty = history.subscribers.keys().any(|name| !history.of_subscriber(name).is_empty());
            if !faulty || Instant::now() > ends {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Splitmix64: the same numbers for the same seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// A number below this one.
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % most
    }
}

/// A job that nobody does. Its number stands where jobs have the time at which they were made.
pub fn job(id: &str, number: u64) -> Job {
    Job {
        state: JobState::Dead,
        ..Job::new(id.into(), culvert_model::record::Work::ConsoleCertificate, Priority::Low, number)
    }
}

/// Does as the protocol says: reads everything behind a gap.
async fn subscribe(bus: Bus, met: Arc<Mutex<Vec<Met>>>) {
    let note = |one| met.lock().expect("nobody panics with it").push(one);
    let mut news = bus.subscribe(&[Kind::Job]).await;
    let mut turn = 0_u32;
    loop {
        match news.next().await {
            News::Gap => {
                note(Met::Gap);
                let all = state(&bus).await;
                note(Met::Read(all.into_iter().map(|(record, (revision, _))| (record, revision)).collect()));
            }
            News::Changed(change) => {
                let (record, named) = (change.record, change.revision);
                note(Met::Heard { record: record.clone(), revision: named });
                turn += 1;
                if turn.is_multiple_of(5)
                    && let Ok(found) = bus.get::<Job>(&record).await
                {
                    note(Met::Found { record, named, revision: found.map_or(0, |found| found.revision) });
                }
            }
        }
    }
}

/// Everything that is there, as soon as it can be read.
async fn state(bus: &Bus) -> State {
    loop {
        match bus.list::<Job>(Query::all()).await {
            Ok(all) => return all.into_iter().map(|it| (it.record.id, (it.revision, it.record.created))).collect(),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

struct Writer {
    bus: Bus,
    own: String,
    revision: u64,
    temporary: Vec<String>,
    random: Random,
    entries: Vec<Entry>,
    counted: Arc<AtomicU64>,
}

impl Writer {
    fn new(bus: Bus, own: String, random: Random, work: &Work) -> Self {
        let counted = work.acknowledged.clone();
        Self { bus, own, revision: 0, temporary: Vec::new(), random, entries: Vec::new(), counted }
    }

    /// Makes batches of records whenever some are wanted.
    async fn pour(mut self, stop: Arc<AtomicBool>, wanted: Arc<AtomicU64>) -> Result<Vec<Entry>> {
        while !stop.load(Ordering::Relaxed) {
            if wanted.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(10)).await;
            } else {
                self.several(BATCH).await?;
                wanted.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Ok(self.entries)
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Result<Vec<Entry>> {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) || self.revision == 0 {
            number += 1;
            self.turn(number).await?;
            sleep(Duration::from_millis(5 + self.random.below(15))).await;
        }
        Ok(self.entries)
    }

    async fn turn(&mut self, number: u64) -> Result<()> {
        if self.revision == 0 {
            return self.make_own(number).await;
        }
        match self.random.below(12) {
            0..4 => self.change_own(number, 0).await,
            4 => self.change_own(number, 2).await,
            5 | 6 => self.add().await,
            7 => self.make().await,
            8 => self.remove().await,
            9 => self.poison().await,
            10 => self.claim().await,
            _ => self.several(10).await,
        }
    }

    /// Writes, and notes what came of it.
    async fn write(&mut self, writes: Vec<Write>, deeds: Vec<Deed>) -> Result<(Outcome, Vec<u64>)> {
        let (outcome, revisions) = match self.bus.write(writes).await {
            Ok(revisions) => (Outcome::Done, revisions),
            Err(Failure::Refused { .. }) => (Outcome::Refused, Vec::new()),
            Err(Failure::Unavailable | Failure::Busy) => (Outcome::Unavailable, Vec::new()),
            Err(Failure::Unknown) => (Outcome::Unknown, Vec::new()),
            Err(other) => return Err(other.into()),
        };
        self.counted.fetch_add(u64::from(outcome == Outcome::Done), Ordering::Relaxed);
        self.entries.push(Entry { deeds, outcome });
        Ok((outcome, revisions))
    }

    async fn make_own(&mut self, number: u64) -> Result<()> {
        let deeds = vec![Deed::Make { record: self.own.clone(), number }];
        let (outcome, _) = self.write(vec![insert(&job(&self.own, number))], deeds).await?;
        match outcome {
            Outcome::Done => self.revision = 1,
            _ => {
                self.look().await;
                if self.revision == 0 {
                    // Nobody made it, so that is not held against anybody: it is tried again.
                    self.entries.pop();
                }
            }
        }
        Ok(())
    }

    /// What is there of the own record, after its outcome was not known.
    async fn look(&mut self) {
        sleep(SETTLED).await;
        loop {
            match self.bus.get::<Job>(&self.own).await {
                Ok(found) => {
                    self.revision = found.map_or(0, |found| found.revision);
                    return;
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Changes the own record, together with so many new ones.
    async fn change_own(&mut self, number: u64, more: usize) -> Result<()> {
        let new: Vec<String> = (0..more).map(|_| Id::new().to_string()).collect();
        let guard = Guard { revision: Some(self.revision), claim: None };
        let mut writes: Vec<Write> = new.iter().map(|id| insert(&job(id, 0))).collect();
        let mut deeds: Vec<Deed> = new.iter().map(|id| Deed::Make { record: id.clone(), number: 0 }).collect();
        writes.push(update(&job(&self.own, number), guard));
        deeds.push(Deed::Change { record: self.own.clone(), number });
        match self.write(writes, deeds).await? {
            (Outcome::Done, revisions) => {
                self.revision = revisions.last().copied().context("a revision for each write")?;
                self.temporary.extend(new);
            }
            (Outcome::Unavailable, _) => {}
            _ => self.look().await,
        }
        Ok(())
    }

    async fn add(&mut self) -> Result<()> {
        let write = Write::Add { kind: Kind::Job, id: COUNTER.into(), field: "created".into(), delta: 1 };
        self.write(vec![write], vec![Deed::Add { record: COUNTER.into(), delta: 1 }]).await.map(drop)
    }

    async fn make(&mut self) -> Result<()> {
        let id = Id::new().to_string();
        let deeds = vec![Deed::Make { record: id.clone(), number: 0 }];
        if let (Outcome::Done, _) = self.write(vec![insert(&job(&id, 0))], deeds).await? {
            self.temporary.push(id);
        }
        Ok(())
    }

    async fn several(&mut self, count: u64) -> Result<()> {
        let new: Vec<String> = (0..count).map(|_| Id::new().to_string()).collect();
        let deeds = new.iter().map(|id| Deed::Make { record: id.clone(), number: 0 }).collect();
        if let (Outcome::Done, _) = self.write(new.iter().map(|id| insert(&job(id, 0))).collect(), deeds).await? {
            self.temporary.extend(new);
        }
        Ok(())
    }

    async fn remove(&mut self) -> Result<()> {
        let Some(id) = self.temporary.pop() else { return Ok(()) };
        let deeds = vec![Deed::Remove { record: id.clone() }];
        if let (Outcome::Unavailable, _) = self.write(vec![delete::<Job>(&id, Guard::default())], deeds).await? {
            self.temporary.push(id);
        }
        Ok(())
    }

    async fn poison(&mut self) -> Result<()> {
        let poison = job(&self.own, POISON);
        let write = if self.random.below(2) == 0 {
            insert(&poison)
        } else {
            update(&poison, Guard { revision: Some(u64::from(u32::MAX)), claim: None })
        };
        self.write(vec![write], vec![Deed::Poison]).await.map(drop)
    }

    async fn claim(&mut self) -> Result<()> {
        match self.bus.claim::<Job>(CLAIMED, None, &self.own, 400).await {
            Ok(Kept::Held(held)) => {
                let claim = held.claim().context("it is held")?;
                let deeds = vec![Deed::Claim { record: CLAIMED.into(), epoch: claim.epoch }];
                self.entries.push(Entry { deeds, outcome: Outcome::Done });
                if self.random.below(2) == 0 {
                    // It runs out otherwise.
                    let _ = self.bus.release::<Job>(CLAIMED, &claim).await;
                }
            }
            Ok(Kept::Lost) => {}
            Err(failure) if failure.outage() => {}
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }
}

/// How many entries came to what, for people.
pub fn tally(history: &History) -> String {
    let count = |outcome| history.entries.iter().filter(|entry| entry.outcome == outcome).count();
    let met = |wanted: fn(&Met) -> bool| -> Vec<usize> {
        history.subscribers.values().map(|met| met.iter().filter(|one| wanted(one)).count()).collect()
    };
    let owners: BTreeSet<&String> = history.sole.iter().collect();
    format!(
        "{} writes done, {} refused, {} unavailable, {} unknown; {} records ({} of one writer); heard {:?}, gaps {:?}",
        count(Outcome::Done),
        count(Outcome::Refused),
        count(Outcome::Unavailable),
        count(Outcome::Unknown),
        history.state.len(),
        owners.len(),
        met(|one| matches!(one, Met::Heard { .. })),
        met(|one| matches!(one, Met::Gap)),
    )
}
