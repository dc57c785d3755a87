//! Hosts, whoever enqueues, and jobs, as the whole of them behaves: time goes in steps of some milliseconds, and hosts hear
//! of changes a little late.

use culvert_jobs::{Load, Spread};
use culvert_model::record::JobState;
use culvert_records::Lease;
use proptest::prelude::*;

use super::*;

/// How long a step is, milliseconds.
const STEP: Millis = 5;

/// How long it takes from a change until a host that heard of it has claimed a job.
const LATENCY: Millis = 25;

/// How long a job may wait while a host has room for it.
const PROMISE: Millis = 500;

/// The beginning, in milliseconds since 1970.
const BEGIN: Millis = 1_790_000_000_000;

/// A machine: its cores, and how much it does on each in a millisecond.
#[derive(Debug, Clone, Copy)]
struct Machine {
    cores: u16,
    speed: u64,
}

/// Something that is enqueued: when, how urgent, and how much work it is.
#[derive(Debug, Clone, Copy)]
struct Order {
    at: Millis,
    priority: Priority,
    work: u64,
}

struct Host {
    machine: Machine,
    id: HostId,
    /// Places of jobs, with what is left to do, and what each was told.
    doing: Vec<(usize, u64, Wish)>,
    look: Millis,
    jobs: u64,
    busy: u64,
}

impl Host {
    fn held(&self, jobs: &[Stored<Job>]) -> Vec<Held> {
        self.doing.iter().map(|(place, ..)| Held::of(&jobs[*place].record)).collect()
    }

    /// Whether it could begin the job at once, without anything having to rest for it.
    fn has_room(&self, job: &Job, jobs: &[Stored<Job>]) -> bool {
        let fills = |place: usize| jobs[place].record.priority == Priority::Low;
        let room = self.doing.len() < usize::from(self.machine.cores);
        room && (job.priority != Priority::Low || !self.doing.iter().any(|(place, ..)| fills(*place)))
    }
}

struct World {
    now: Millis,
    hosts: Vec<Host>,
    jobs: Vec<Stored<Job>>,
    work: Vec<u64>,
    /// For how long each has waited while a host had room.
    waited: Vec<Millis>,
    longest: Millis,
    ended: usize,
}

impl World {
    fn of(machines: &[Machine]) -> Self {
        let host = |machine: &Machine| Host {
            machine: *machine,
            id: HostId::new(),
            doing: Vec::new(),
            look: 0,
            jobs: 0,
            busy: 0,
        };
        let hosts = machines.iter().map(host).collect();
        Self { now: BEGIN, hosts, jobs: Vec::new(), work: Vec::new(), waited: Vec::new(), longest: 0, ended: 0 }
    }

    /// Runs until all is done, and says how long that took.
    fn run(&mut self, mut orders: Vec<Order>) -> Millis {
        orders.sort_by_key(|order| order.at);
        let all = orders.len();
        let mut orders = orders.into_iter().peekable();
        while self.ended < all {
            let due: Vec<Order> = std::iter::from_fn(|| orders.next_if(|it| BEGIN + it.at <= self.now)).collect();
            let changed = self.enqueue(&due) | self.work();
            if changed {
                self.hosts.iter_mut().for_each(|host| host.look = host.look.min(self.now + LATENCY));
            }
            for host in 0..self.hosts.len() {
                if self.hosts[host].look <= self.now {
                    self.look(host);
                }
            }
            self.check();
            self.now += STEP;
            assert!(self.now - BEGIN < 3_600_000, "it comes to an end");
        }
        self.now - BEGIN
    }

    /// As `culvert_jobs::enqueue` does.
    fn enqueue(&mut self, orders: &[Order]) -> bool {
        let load = |host: &Host| {
            let has = |job: &&Stored<Job>| match &job.lease {
                Some(lease) => lease.host == host.id,
                None => job.record.preferred == Some(host.id),
            };
            let open = self.jobs.iter().filter(|job| job.record.state == JobState::Open);
            Load { host: host.id, cores: host.machine.cores, open: open.filter(has).count() as u64 }
        };
        let mut spread = Spread::over(self.hosts.iter().map(load).collect());
        for order in orders {
            let id = self.jobs.len().to_string();
            let preferred = spread.next(&id);
            let new = Job::new(id, Work::ConsoleCertificate, order.priority, self.now);
            self.jobs.push(Stored { record: Job { preferred, ..new }, revision: 1, lease: None });
            self.work.push(order.work);
            self.waited.push(0);
        }
        !orders.is_empty()
    }

    /// A step's work of every host.
    fn work(&mut self) -> bool {
        let before = self.ended;
        for host in &mut self.hosts {
            let step = STEP * host.machine.speed;
            for (place, left, _) in host.doing.iter_mut().filter(|(.., wish)| *wish == Wish::Work) {
                *left = left.saturating_sub(step);
                host.busy += STEP;
                if *left == 0 {
                    self.jobs[*place].record.state = JobState::Dead;
                    self.ended += 1;
                    host.jobs += 1;
                }
            }
            host.doing.retain(|(_, left, _)| *left > 0);
        }
        self.ended > before
    }

    fn look(&mut self, host: usize) {
        let view = View { host: self.hosts[host].id, now: self.now, uninterrupted: TERMS.length };
        let mut ready = Ready::default();
        let open = self.jobs.iter().filter(|job| job.record.state == JobState::Open && job.lease.is_none());
        ready.add(open.cloned(), &HashSet::new(), &view);
        let candidates: Vec<Held> = ready.work.iter().map(|job| Held::of(&job.record)).collect();
        let this = &self.hosts[host];
        let choice = choose(&candidates, &this.held(&self.jobs), usize::from(this.machine.cores));
        let this = &mut self.hosts[host];
        for ((.., told), wish) in this.doing.iter_mut().zip(choice.wishes) {
            *told = wish;
        }
        for place in choice.claim {
            let place: usize = ready.work[place].record.id.parse().expect("it is a place");
            self.jobs[place].lease = Some(Lease { host: view.host, owner: String::new(), epoch: 1, left: 1 });
            this.doing.push((place, self.work[place], Wish::Work));
        }
        this.look = self.now + ready.again.map_or(5_000, |again| (again + LATENCY).min(5_000));
    }

    /// Nobody waits for long while somebody has room all the time.
    fn check(&mut self) {
        for (place, job) in self.jobs.iter().enumerate() {
            let waits = job.record.state == JobState::Open && job.lease.is_none();
            let room = waits && self.hosts.iter().any(|host| host.has_room(&job.record, &self.jobs));
            self.waited[place] = if room { self.waited[place] + STEP } else { 0 };
            self.longest = self.longest.max(self.waited[place]);
        }
        assert!(self.longest <= PROMISE, "a job waited {} ms", self.longest);
    }
}

fn machines(cores: std::ops::Range<u16>) -> impl Strategy<Value = Vec<Machine>> {
    prop::collection::vec((cores, 1..8_u64).prop_map(|(cores, speed)| Machine { cores, speed }), 1..6)
}

fn order() -> impl Strategy<Value = Order> {
    (0..4_000_u64, 0..3_u8, 20..4_000_u64).prop_map(|(at, priority, work)| {
        let priority = Priority::try_from(priority).expect("0 to 2");
        Order { at, priority, work }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_for_long_while_a_host_has_room(
        machines in machines(1..9),
        orders in prop::collection::vec(order(), 1..150),
    ) {
        World::of(&machines).run(orders);
    }

    #[test]
    fn equal_hosts_get_as_much(
        cores in 1..5_u16,
        jobs in 100..250_usize,
        work in 50..1_000_u64,
        at_once: bool,
        low: bool,
        seed in any::<u32>(),
    ) {
        let mut world = World::of(&[Machine { cores, speed: 1 }; 4]);
        let orders = (0..jobs).map(|number| {
            // Keys take more or less by chance.
            let chance = u64::from((number as u32).wrapping_mul(2_654_435_761) ^ seed) % 40;
            let at = if at_once { 0 } else { number as u64 * work / u64::from(cores) / 5 };
            let priority = if low { Priority::Low } else { Priority::Normal };
            Order { at, priority, work: work * (80 + chance) / 100 }
        });
        world.run(orders.collect());
        let counts: Vec<u64> = world.hosts.iter().map(|host| host.jobs).collect();
        let (idlest, busiest) = (counts.iter().min(), counts.iter().max());
        prop_assert!(busiest.zip(idlest).is_some_and(|(busiest, idlest)| busiest * 4 <= idlest * 5), "{counts:?}");
    }
}

/// One large job among small ones, or hosts of different sizes: what counts is that nobody is idle while there is work.
#[test]
fn unequal_hosts_get_what_they_can_do() {
    let mut world = World::of(&[Machine { cores: 1, speed: 1 }, Machine { cores: 4, speed: 2 }]);
    let orders = vec![Order { at: 0, priority: Priority::Normal, work: 1_000 }; 180];
    let took = world.run(orders);
    let counts: Vec<u64> = world.hosts.iter().map(|host| host.jobs).collect();
    // Nine units of work a millisecond in all.
    let longest = world.longest;
    println!(
        "180 jobs took {took} ms of at least 20000, {counts:?}; none waited more than {longest} ms for a host with room"
    );
    assert!(took <= 22_000 && (18..=22).contains(&counts[0]), "{took} ms, {counts:?}");
}
