//! The world: hosts with their jobs, and what they hear of each other.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_jobs::{Given, Load, Spread};
use culvert_model::record::{Job, JobState, Priority, Work};
use culvert_model::{HostId, Millis};
use culvert_records::{Lease, Stored};

use crate::TERMS;
use crate::choice::{Held, Ready, Room, View, Wish, choose};
use crate::fate::backoff;
use crate::offer::{REST, Resting, due, offers};

/// How long a step is, milliseconds.
const STEP: Millis = 5;

/// How long it takes from a change until a host that heard of it has claimed a job.
const LATENCY: Millis = 25;

/// How long it takes from the write that ends an attempt until its lease is given back, which nobody hears of.
const RELEASE: Millis = 10;

/// How long a job may wait while a host has room for it.
const PROMISE: Millis = 500;

/// How many processes enqueue.
const ENQUEUERS: usize = 4;

/// The beginning, in milliseconds since 1970.
const BEGIN: Millis = 1_790_000_000_000;

/// A machine: its cores, and how much it does on each in a millisecond.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub cores: u16,
    pub speed: u64,
}

/// Something that is enqueued: when, how urgent, how much work it is, in how many parts, and whether the first attempt
/// fails.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub at: Millis,
    pub priority: Priority,
    pub work: u64,
    pub parts: u64,
    pub fails: bool,
}

/// A job that a host holds.
#[derive(Debug, Clone, Copy)]
struct Doing {
    place: usize,
    left: u64,
    wish: Wish,
    /// Since when it was told to rest.
    rests: Option<Millis>,
    /// Whether its host had it before.
    again: bool,
}

pub struct Host {
    machine: Machine,
    id: HostId,
    doing: Vec<Doing>,
    look: Millis,
    /// When it was last looked who else has room.
    glanced: Millis,
    pub jobs: u64,
    /// Its queue does not run, which nobody sees.
    pub down: bool,
}

impl Host {
    fn held(&self, jobs: &[Stored<Job>]) -> Vec<Held> {
        self.doing.iter().map(|doing| Held { suspect: false, ..Held::of(&jobs[doing.place].record) }).collect()
    }

    /// What it has room for.
    fn room(&self, jobs: &[Stored<Job>]) -> Room {
        let mut room = Room::of(self.machine.cores.into());
        self.held(jobs).iter().for_each(|job| {
            room.take(job);
        });
        room
    }

    /// Whether it could begin the job at once, without anything having to rest for it.
    fn has_room(&self, job: &Job, jobs: &[Stored<Job>]) -> bool {
        let fills = |doing: &Doing| jobs[doing.place].record.priority.in_background();
        let room = !self.down && self.doing.len() < usize::from(self.machine.cores);
        room && (!job.priority.in_background() || !self.doing.iter().any(fills))
    }
}

pub struct World {
    now: Millis,
    pub hosts: Vec<Host>,
    jobs: Vec<Stored<Job>>,
    orders: Vec<Order>,
    /// What each enqueuer gave to the hosts.
    given: [Given; ENQUEUERS],
    /// Leases that are about to be given back: when, and of which job.
    releases: Vec<(Millis, usize)>,
    /// For how long each has waited while a host had room.
    waited: Vec<Millis>,
    pub longest: Millis,
    ended: usize,
    /// When the last of each priority was done, milliseconds from the beginning.
    ends: BTreeMap<Priority, Millis>,
    /// How many were given back for others to begin.
    pub offered: usize,
    /// When the first was, milliseconds from the beginning.
    pub first_offer: Option<Millis>,
    /// The work that was lost with each.
    pub lost: Vec<u64>,
    /// Since when the store answers everybody.
    since: Millis,
}

impl World {
    pub fn of(machines: &[Machine]) -> Self {
        let host = |machine: &Machine| Host {
            machine: *machine,
            id: HostId::new(),
            doing: Vec::new(),
            look: 0,
            glanced: 0,
            jobs: 0,
            down: false,
        };
        let hosts = machines.iter().map(host).collect();
        let (jobs, orders, given, releases, waited, first_offer, lost, ends) = Default::default();
        let since = BEGIN - TERMS.length;
        let (longest, ended, offered) = (0, 0, 0);
        Self {
            now: BEGIN,
            hosts,
            jobs,
            orders,
            given,
            releases,
            waited,
            longest,
            ended,
            ends,
            offered,
            first_offer,
            lost,
            since,
        }
    }

    /// The store was away until now.
    pub fn after_an_outage(mut self) -> Self {
        self.since = self.now;
        self
    }

    /// Runs until all is done, and says how long that took.
    pub fn run(&mut self, mut orders: Vec<Order>) -> Millis {
        orders.sort_by_key(|order| order.at);
        let all = orders.len();
        let mut orders = orders.into_iter().peekable();
        while self.ended < all {
            let due: Vec<Order> = std::iter::from_fn(|| orders.next_if(|it| BEGIN + it.at <= self.now)).collect();
            if self.enqueue(&due) | self.work() {
                self.announce();
            }
            self.release();
            for host in 0..self.hosts.len() {
                if !self.hosts[host].down && self.hosts[host].look <= self.now {
                    self.look(host);
                }
            }
            self.check();
            self.now += STEP;
            assert!(self.now - BEGIN < 3_600_000, "it comes to an end");
        }
        self.now - BEGIN
    }

    /// When the last of this priority was done, milliseconds from the beginning.
    pub fn end_of(&self, priority: Priority) -> Millis {
        self.ends[&priority]
    }

    fn announce(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.look = host.look.min(self.now + LATENCY));
    }

    fn release(&mut self) {
        for (_, place) in self.releases.extract_if(.., |(at, _)| *at <= self.now) {
            let lease = self.jobs[place].lease.as_mut().expect("it was claimed");
            lease.left = 0;
        }
    }

    /// As `culvert_jobs::enqueue` does.
    fn enqueue(&mut self, orders: &[Order]) -> bool {
        let load = |host: &Host| {
            let has = |job: &&Stored<Job>| match &job.lease {
                Some(lease) if lease.left > 0 => lease.host == host.id,
                _ => job.record.preferred == Some(host.id),
            };
            let open = self.jobs.iter().filter(|job| job.record.state == JobState::Open);
            Load { host: host.id, cores: host.machine.cores, open: open.filter(has).count() as u64 }
        };
        let by_chance = self.jobs.len().wrapping_mul(2_654_435_761) >> 8;
        let given = &mut self.given[by_chance % ENQUEUERS];
        let mut spread = Spread::over(self.hosts.iter().map(load).collect(), given);
        for order in orders {
            let id = self.jobs.len().to_string();
            let preferred = spread.next(&id);
            let new = Job::new(id, Work::ConsoleCertificate, order.priority, self.now);
            self.jobs.push(Stored { record: Job { preferred, ..new }, revision: 1, lease: None });
            self.orders.push(*order);
            self.waited.push(0);
            self.lost.push(0);
        }
        !orders.is_empty()
    }

    /// A step's work of every host.
    fn work(&mut self) -> bool {
        let mut changed = false;
        for host in &mut self.hosts {
            let step = STEP * host.machine.speed;
            for doing in host.doing.iter_mut().filter(|doing| doing.wish == Wish::Work) {
                doing.left = doing.left.saturating_sub(step);
            }
            for Doing { place, .. } in host.doing.extract_if(.., |doing| doing.left == 0) {
                changed = true;
                let job = &mut self.jobs[place].record;
                if std::mem::take(&mut self.orders[place].fails) {
                    job.begun = None;
                    job.not_before = self.now + backoff(job.attempts);
                    self.releases.push((self.now + RELEASE, place));
                } else {
                    job.state = JobState::Dead;
                    self.ended += 1;
                    self.ends.insert(job.priority, self.now - BEGIN);
                    host.jobs += 1;
                }
            }
        }
        changed
    }

    fn look(&mut self, host: usize) {
        let this = &self.hosts[host];
        let view = View { host: this.id, now: self.now, uninterrupted: self.now - self.since, lease: TERMS.length };
        let ours = this.doing.iter().map(|doing| self.jobs[doing.place].record.id.clone()).collect();
        let mut ready = Ready::default();
        ready.add(self.jobs.iter().filter(|job| job.record.state == JobState::Open).cloned(), &ours, &view);
        let candidates: Vec<Held> = ready.work.iter().map(|job| Held::of(&job.record)).collect();
        let choice = choose(&candidates, &this.held(&self.jobs), usize::from(this.machine.cores));
        let this = &mut self.hosts[host];
        for (doing, wish) in this.doing.iter_mut().zip(choice.wishes) {
            doing.wish = wish;
            doing.rests = (wish == Wish::Rest).then(|| doing.rests.unwrap_or(self.now));
        }
        for place in &choice.claim {
            let place: usize = ready.work[*place].record.id.parse().expect("it is a place");
            let job = &mut self.jobs[place];
            let owner = view.host.to_string();
            let again = job.lease.as_ref().is_some_and(|last| last.owner == owner);
            job.lease = Some(Lease { host: view.host, owner, epoch: 1, left: TERMS.length });
            (job.record.begun, job.record.attempts) = (Some(self.now), job.record.attempts + 1);
            this.doing.push(Doing { place, left: self.orders[place].work, wish: Wish::Work, rests: None, again });
        }
        let again = ready.again.map_or(5_000, |again| (again + LATENCY).min(5_000));
        let waiting = (0..candidates.len()).filter(|place| !choice.claim.contains(place));
        let waiting: Vec<Held> = waiting.map(|place| candidates[place]).collect();
        let offer = self.offer(host, &view, &waiting).unwrap_or(again);
        self.hosts[host].look = self.now + again.min(offer);
    }

    fn resting(&self, doing: &Doing) -> Option<Resting> {
        let Order { work, parts, .. } = self.orders[doing.place];
        let made = parts > 1 && work - doing.left >= work / parts;
        let rested = Duration::from_millis(self.now - doing.rests?);
        Some(Resting { job: Held::of(&self.jobs[doing.place].record), rested, again: doing.again, made })
    }

    /// As `Look::offer` does.
    fn offer(&mut self, host: usize, view: &View, waiting: &[Held]) -> Option<Millis> {
        let this = &self.hosts[host];
        let resting = this.doing.iter().filter_map(|doing| Some((doing.place, self.resting(doing)?)));
        let (places, resting): (Vec<usize>, Vec<Resting>) = resting.filter(|(_, job)| job.may_go()).unzip();
        let due = due(&resting, Duration::from_millis(self.now - this.glanced), view);
        if due != Some(Duration::ZERO) {
            return due.map(|due| due.as_millis() as Millis);
        }
        let long = places.iter().zip(&resting).filter(|(_, job)| job.rested >= REST);
        let (places, held): (Vec<usize>, Vec<Held>) = long.map(|(place, job)| (*place, job.job)).unzip();
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != host);
        let given: Vec<usize> = offers(&held, waiting, others.map(|(_, other)| other.room(&self.jobs)).collect());
        let more = held.len() < resting.len();
        self.hosts[host].glanced = self.now;
        for place in given.into_iter().map(|place| places[place]) {
            for left in self.hosts[host].doing.extract_if(.., |doing| doing.place == place) {
                self.lost[place] += self.orders[place].work - left.left;
            }
            let job = &mut self.jobs[place].record;
            (job.begun, job.attempts) = (None, job.attempts - 1);
            self.releases.push((self.now + RELEASE, place));
            self.offered += 1;
            self.first_offer.get_or_insert(self.now - BEGIN);
            self.announce();
        }
        more.then_some(REST.as_millis() as Millis)
    }

    /// Nobody waits for long while somebody who may take it has room all the time. What is kept so that no work is lost goes
    /// on where it is.
    fn check(&mut self) {
        for (place, job) in self.jobs.iter().enumerate() {
            let works = |host: &Host| host.doing.iter().any(|doing| doing.place == place && doing.wish == Wish::Work);
            let due = job.record.state == JobState::Open && job.record.not_before <= self.now;
            let waits = due && !self.hosts.iter().any(works);
            let of = |host: &Host| host.doing.iter().find(|doing| doing.place == place).and_then(|it| self.resting(it));
            let kept = self.hosts.iter().find_map(of).is_some_and(|resting| !resting.may_go());
            let contact = self.now - self.since >= TERMS.length;
            let may = |host: &Host| contact || job.lease.as_ref().is_none_or(|last| last.host == host.id);
            let room = |host: &Host| may(host) && host.has_room(&job.record, &self.jobs);
            let room = waits && !kept && self.hosts.iter().any(room);
            self.waited[place] = if room { self.waited[place] + STEP } else { 0 };
            self.longest = self.longest.max(self.waited[place]);
        }
        assert!(self.longest <= PROMISE, "a job waited {} ms", self.longest);
    }
}
