//! All instances of this host: looks, plans, and has the plan's actions done beside each other.

mod acts;
mod attending;
mod holding;
mod material;
mod retire;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use culvert_model::record::{Instance as Record, Server};
use culvert_model::{Id, Millis, Slot};
use culvert_records::{Failure, Query};
use culvert_wire::helper;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::instance::{Phase, Setup};
use crate::plan::{Action, LEASE, Seat, View, plan};
use acts::Outcome;
use attending::Attended;
use holding::Holding;

/// How often is looked whether something is to be done, if nothing says so earlier.
const TICK: Duration = Duration::from_secs(1);

/// How often this is looked at while this host has no server, in milliseconds.
const QUIET: Millis = 10_000;

/// How old the records of instances may get while this host waits for one of them, in milliseconds.
const OLD: Millis = 2_000;

/// A server that fails is left alone for this long, twice as long the next time, in milliseconds.
const REST: Millis = 1_000;

/// The longest of these times, in milliseconds.
const LONGEST: Millis = 30_000;

/// Who ran this long is healthy: its failures are forgotten, in milliseconds.
const HEALTHY: Millis = 60_000;

/// How long the helper may take to tell what runs before the rest goes on without.
const LIST: Duration = Duration::from_millis(800);

/// How long the records may take to be read.
const READ: Duration = Duration::from_secs(5);

/// All instances of this host.
pub struct Fleet {
    setup: Setup,
    begun: Instant,
    seats: Option<Vec<Seat>>,
    read: Millis,
    stale: bool,
    listed: Millis,
    running: Vec<helper::Instance>,
    held: BTreeMap<String, Holding>,
    attended: BTreeMap<Slot, Attended>,
    failures: BTreeMap<Id, Failing>,
    busy: BTreeSet<Id>,
    work: JoinSet<Outcome>,
    kept: BTreeMap<Slot, OwnedFd>,
    /// The ends of what instances print that were just started.
    printed: BTreeMap<Slot, OwnedFd>,
    stop: watch::Sender<bool>,
    told: String,
}

/// What is known of a server that failed.
#[derive(Debug)]
struct Failing {
    rest: Millis,
    until: Millis,
    /// As it was tried. When that changes, it may be what was missing.
    server: Option<Server>,
}

impl Fleet {
    /// A fleet that knows nothing yet. `kept` are the management connections that were kept for us, by slot.
    #[must_use]
    pub fn new(setup: Setup, kept: BTreeMap<Slot, OwnedFd>) -> Self {
        Self {
            setup,
            begun: Instant::now(),
            seats: None,
            read: 0,
            stale: true,
            listed: 0,
            running: Vec::new(),
            held: BTreeMap::new(),
            attended: BTreeMap::new(),
            failures: BTreeMap::new(),
            busy: BTreeSet::new(),
            work: JoinSet::new(),
            kept,
            printed: BTreeMap::new(),
            stop: watch::Sender::new(false),
            told: String::new(),
        }
    }

    /// Runs until it is dropped. `changed` says that the records of instances have changed.
    pub async fn run(&mut self, changed: Arc<Notify>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut versions = self.setup.directory.versions();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = changed.notified() => self.stale = true,
                Ok(()) = versions.changed() => {}
                Some(Ok(outcome)) = self.work.join_next() => self.take(outcome),
            }
            while let Some(Ok(outcome)) = self.work.try_join_next() {
                self.take(outcome);
            }
            if self.setup.directory.ready() {
                self.look().await;
                self.act();
            }
        }
    }

    /// Lets the instances finish what they are answering; what runs, runs on.
    pub async fn leave(&mut self, most: Duration) {
        self.stop.send_replace(true);
        let tasks: Vec<_> = std::mem::take(&mut self.attended).into_values().map(|attended| attended.task).collect();
        let _ = timeout(most, async {
            for task in tasks {
                let _ = task.await;
            }
        })
        .await;
    }

    fn now(&self) -> Millis {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Looks at what runs, and at the records if they may have changed.
    async fn look(&mut self) {
        let quiet = self.running.is_empty() && self.held.is_empty() && !self.waits();
        if quiet && self.now() < self.listed + QUIET {
            return;
        }
        match timeout(LIST, self.setup.helper.list()).await {
            Ok(Ok(running)) => {
                self.listed = self.now();
                self.found(running);
            }
            // What ran before is taken to run on.
            Ok(Err(failure)) => tracing::warn!(%failure, "what runs cannot be looked at"),
            // It may be starting or stopping one.
            Err(_) => tracing::debug!("what runs is not told in time"),
        }
        let waiting = self.setup.bus.uninterrupted() < LEASE || self.waits();
        if self.stale || self.seats.is_none() || (waiting && self.now() >= self.read + OLD) {
            self.read_seats().await;
        }
    }

    fn found(&mut self, running: Vec<helper::Instance>) {
        self.running = running;
        // What the helper does not know of any more can't be attended to.
        let known: BTreeSet<Slot> = self.running.iter().map(|instance| instance.slot).collect();
        let lost: Vec<Slot> = self.attended.keys().copied().filter(|slot| !known.contains(slot)).collect();
        lost.into_iter().for_each(|slot| drop(self.abandon(slot)));
        let there = |slot: Slot| self.running.iter().any(|instance| instance.slot == slot && instance.running);
        let gone: Vec<Slot> = self.kept.keys().copied().filter(|slot| !there(*slot)).collect();
        for slot in gone {
            self.kept.remove(&slot);
            self.forget(slot);
        }
    }

    /// Whether this host might run a server of which it has no instance.
    fn waits(&self) -> bool {
        let directory = self.setup.directory.read();
        let ours = |server: Id| self.held.values().any(|holding| holding.server == server);
        directory.servers.values().any(|server| server.runs_on(self.setup.host) && !ours(server.id))
    }

    async fn read_seats(&mut self) {
        self.stale = false;
        let read = timeout(READ, self.setup.bus.list::<Record>(Query::all()));
        // On the strength of old records nothing is claimed and nothing is stopped.
        self.seats = match read.await.unwrap_or(Err(Failure::Unavailable)) {
            Ok(seats) => Some(seats),
            Err(failure) => {
                tracing::warn!(%failure, "the records of instances cannot be read; what runs, runs on");
                None
            }
        };
        self.read = self.now();
    }

    /// Plans, and begins what is planned.
    fn act(&mut self) {
        self.tend();
        let actions = {
            let directory = self.setup.directory.read();
            let covered = directory.servers.values().filter(|server| directory.covers(server)).map(|server| server.id);
            let covered = covered.collect();
            let attended = self.attended.keys().copied().collect();
            let held = self.held.iter().map(|(seat, holding)| (seat.clone(), holding.held())).collect();
            let same = |(id, failing): &(&Id, &Failing)| directory.servers.get(*id) == failing.server.as_ref();
            let resting = self.failures.iter().filter(same).map(|(server, failing)| (*server, failing.until)).collect();
            plan(&View {
                host: self.setup.host,
                now: self.now(),
                contact: self.setup.bus.uninterrupted(),
                servers: &directory.servers,
                covered: &covered,
                seats: self.seats.as_deref(),
                running: &self.running,
                held: &held,
                attended: &attended,
                resting: &resting,
                busy: &self.busy,
            })
        };
        for action in actions {
            tracing::debug!(%action, "planned");
            self.begin(action);
        }
        self.tell();
    }

    fn begin(&mut self, action: Action) {
        if !matches!(action, Action::Attach { .. }) {
            tracing::info!(%action, "acting");
        }
        self.busy.insert(action.server());
        let setup = self.setup.clone();
        match action {
            Action::Create { server, number } => drop(self.work.spawn(acts::create(setup, server, number))),
            Action::Claim(seat) => drop(self.work.spawn(holding::claim(setup, *seat))),
            Action::Continue { seat, server, former } => {
                self.work.spawn(holding::resume(setup, seat, server, former));
            }
            Action::Start { seat, server, claim, slot } => {
                self.work.spawn(acts::start(setup, seat, server, claim, slot));
            }
            Action::Attach { seat, server, slot, pid } => self.attach(seat, server, slot, pid),
            Action::Bury { seat, server, slot } => self.bury(seat, server, slot),
            Action::Stop { server, slot, why } => {
                self.abandon(slot);
                self.work.spawn(retire::stop(setup, server, slot, why));
            }
            Action::Retire { seat, server, claim } => {
                self.work.spawn(retire::retire(setup, seat, server, claim));
            }
        }
    }

    fn fail(&mut self, server: Id, tried: Option<Server>) {
        let now = self.now();
        let rest = self.failures.get(&server).map_or(REST, |failing| (failing.rest * 2).min(LONGEST));
        self.failures.insert(server, Failing { rest, until: now + rest, server: tried });
    }

    /// Takes in what came of an action.
    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Held { seat, server, owner, hold } => {
                self.busy.remove(&server);
                self.hold(seat, server, owner, hold);
            }
            Outcome::Ended { seat, owner } => self.ended(&seat, &owner),
            Outcome::Started { server, slot, printed } => {
                self.busy.remove(&server);
                // The list tells its process; then somebody attends to it.
                self.printed.extend(printed.map(|printed| (slot, printed)));
            }
            Outcome::Online { server, written } => {
                self.busy.remove(&server);
                let ours = self.attended.values_mut().filter(|attended| attended.server == server);
                ours.for_each(|attended| attended.recorded = written);
            }
            Outcome::Failed { server, tried } => {
                self.fail(server, tried.map(|server| *server));
                self.busy.remove(&server);
                self.stale = true;
            }
            Outcome::Retired { server, seat } => {
                self.busy.remove(&server);
                self.give_back(&seat);
                self.failures.remove(&server);
                // By what was read before, it would seem to be ours still, and be taken back.
                self.seats = None;
            }
            Outcome::Again { server } => {
                self.busy.remove(&server);
                self.stale = true;
            }
        }
    }

    /// One line for whoever looks.
    fn tell(&mut self) {
        let (mut online, mut clients) = (0, 0);
        for attended in self.attended.values() {
            if let Phase::Online(count) = *attended.phase.borrow() {
                online += 1;
                clients += count;
            }
        }
        let told = format!("{online} of {} instances online, {clients} clients", self.running.len());
        if told != self.told {
            if let Some(notify) = &self.setup.notify {
                notify.status(&told);
            }
            self.told = told;
        }
    }
}
