//! The buses, and what is read off them and off the database.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_model::record::User;
use culvert_model::{Kind, Role};
use culvert_records::{Bus, News, Stored};
use culvert_tests::mongod::ReplicaSet;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::daemon::{Daemon, connect};
use crate::figures::{cpu, memory, millis, private, quantile};
use crate::samples::user;

/// Buses that are started at a time: how a database fares that makes two hundred acquainted at once is another question.
const TOGETHER: usize = 10;

/// How long after growing nothing is measured.
const SETTLING: Duration = Duration::from_secs(4);

/// How long the last messages may take.
const LAST: Duration = Duration::from_secs(5);

/// The parts of a core that processes used.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub primary: f64,
    /// The mean of both.
    pub secondary: f64,
    /// The mean of all.
    pub bus: f64,
}

/// What a cluster of a size costs.
#[derive(Debug)]
pub struct Step {
    pub buses: usize,
    /// Messages per second that were really published.
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    pub quiet: Share,
    pub busy: Share,
    pub database: f64,
    pub connections: f64,
    pub connections_of_secondary: f64,
    pub bus: f64,
}

/// The buses and whoever listens to them.
pub struct Cluster<'s> {
    set: &'s ReplicaSet,
    runtime: Runtime,
    here: LocalSet,
    buses: Vec<Daemon>,
    publisher: Option<(Bus, Stored<User>)>,
    heard: Rc<Heard>,
}

/// When what was published, and how long it took to each handler.
#[derive(Default)]
struct Heard {
    /// The revision of the first one, and when each was handed to the bus.
    published: RefCell<(u64, Vec<Instant>)>,
    took: RefCell<Vec<f64>>,
    gaps: Cell<usize>,
}

impl<'s> Cluster<'s> {
    /// Nobody yet.
    pub fn new(set: &'s ReplicaSet, runtime: Runtime) -> Self {
        Self { set, runtime, here: LocalSet::new(), buses: Vec::new(), publisher: None, heard: Rc::default() }
    }

    /// Starts buses until there are so many, each with a subscriber.
    pub fn grow(&mut self, size: usize) -> Result<()> {
        while self.buses.len() < size {
            let new = TOGETHER.min(size - self.buses.len());
            let begin = self.buses.len();
            for _ in 0..new {
                self.buses.push(Daemon::of_cluster(&self.set.uri("culvert"))?);
            }
            for bus in &self.buses[begin..] {
                let (socket, heard) = (bus.socket(), self.heard.clone());
                self.here.block_on(&self.runtime, async {
                    let bus = connect(socket, Role::Vpn).await?;
                    let mut news = bus.subscribe(&[Kind::User]).await;
                    // It begins with a gap.
                    let _ = news.next().await;
                    tokio::task::spawn_local(async move {
                        // The subscription ends with it.
                        let _bus = bus;
                        loop {
                            heard.hear(&news.next().await);
                        }
                    });
                    anyhow::Ok(())
                })?;
            }
        }
        if self.publisher.is_none() {
            let socket = self.buses.first().context("a bus")?.socket();
            self.publisher = Some(self.here.block_on(&self.runtime, async {
                let bus = connect(socket, Role::Api).await?;
                let record = user(0);
                bus.insert(&record).await?;
                let stored = bus.get(record.id).await?.context("it was just made")?;
                anyhow::Ok((bus, stored))
            })?);
        }
        self.here.block_on(&self.runtime, async { sleep(SETTLING).await });
        Ok(())
    }

    /// Measures while nothing is published, and then while something is.
    pub fn measure(&mut self, quiet: Duration, busy: Duration, rate: u32) -> Result<Step> {
        self.heard.begin(0);
        let quiet = self.share(async |_| {
            sleep(quiet).await;
            Ok(())
        })?;
        let count = (busy.as_secs_f64() * f64::from(rate)) as usize;
        let heard = self.heard.clone();
        let begun = Instant::now();
        let busy = self.share(async move |publisher| {
            let (bus, stored) = publisher;
            heard.begin(stored.revision + 1);
            let mut ticks = interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for _ in 0..count {
                ticks.tick().await;
                heard.publish();
                bus.update(stored).await?;
            }
            Ok(())
        })?;
        let rate = count as f64 / begun.elapsed().as_secs_f64();
        let all = count * self.buses.len();
        self.here.block_on(&self.runtime, self.heard.await_all(all))?;
        let mut took = self.heard.took.take();
        let (primary, secondaries) = self.members()?;
        let secondary = *secondaries.first().context("a secondary")?;
        Ok(Step {
            buses: self.buses.len(),
            rate,
            p50: quantile(&mut took, 0.5),
            p99: quantile(&mut took, 0.99),
            quiet,
            busy,
            database: memory(self.set.pid(primary)?)?,
            connections: self.connections(primary)?,
            connections_of_secondary: self.connections(secondary)?,
            bus: mean(self.buses.iter().map(|bus| private(bus.pid())))?,
        })
    }

    /// What everybody uses while something is done.
    fn share(&mut self, work: impl AsyncFnOnce(&mut (Bus, Stored<User>)) -> Result<()>) -> Result<Share> {
        let (before, begun) = (self.used()?, Instant::now());
        let publisher = self.publisher.as_mut().context("somebody publishes")?;
        self.here.block_on(&self.runtime, work(publisher))?;
        let (after, seconds) = (self.used()?, begun.elapsed().as_secs_f64());
        Ok(Share {
            primary: (after.primary - before.primary) / seconds,
            secondary: (after.secondary - before.secondary) / seconds,
            bus: (after.bus - before.bus) / seconds,
        })
    }

    /// Seconds of CPU so far.
    fn used(&self) -> Result<Share> {
        let (primary, secondaries) = self.members()?;
        Ok(Share {
            primary: cpu(self.set.pid(primary)?)?,
            secondary: mean(secondaries.into_iter().map(|member| cpu(self.set.pid(member)?)))?,
            bus: mean(self.buses.iter().map(|bus| cpu(bus.pid())))?,
        })
    }

    fn members(&self) -> Result<(usize, Vec<usize>)> {
        let primary = self.set.primary()?;
        Ok((primary, (0..3).filter(|member| *member != primary).collect()))
    }

    fn connections(&self, member: usize) -> Result<f64> {
        let status = self.set.command(member, json!({ "serverStatus": 1 }))?;
        status["connections"]["current"].as_f64().context("a number of connections")
    }
}

impl Heard {
    /// From now on, messages from this revision on count.
    fn begin(&self, revision: u64) {
        *self.published.borrow_mut() = (revision, Vec::new());
        self.took.borrow_mut().clear();
        self.gaps.set(0);
    }

    fn publish(&self) {
        self.published.borrow_mut().1.push(Instant::now());
    }

    fn hear(&self, news: &News) {
        match news {
            News::Gap => self.gaps.set(self.gaps.get() + 1),
            News::Changed(change) => {
                let published = self.published.borrow();
                let number = change.revision.checked_sub(published.0).and_then(|number| usize::try_from(number).ok());
                if let Some(at) = number.and_then(|number| published.1.get(number)) {
                    self.took.borrow_mut().push(millis(at.elapsed()));
                }
            }
        }
    }

    /// Until everybody heard everything: a handler that misses one without being told would be a mistake of the bus.
    async fn await_all(&self, all: usize) -> Result<()> {
        let begun = Instant::now();
        while self.took.borrow().len() < all && begun.elapsed() < LAST {
            sleep(Duration::from_millis(10)).await;
        }
        let (took, gaps) = (self.took.borrow().len(), self.gaps.get());
        ensure!(took == all, "{took} of {all} messages came, with {gaps} gaps");
        Ok(())
    }
}

fn mean(figures: impl ExactSizeIterator<Item = Result<f64>>) -> Result<f64> {
    let count = figures.len() as f64;
    Ok(figures.sum::<Result<f64>>()? / count)
}
