//! Work while everything goes wrong: three to five hosts on a real MongoDB, whose processes are killed, stopped for longer than
//! a lease and held up at any request, while the database is frozen and killed. In the end every job has its effect exactly
//! once, and every slot of a task had one holder. Needs mongod: `make setup`.
//!
//! `CULVERT_FAULT_RUNS` says how many runs there are, six at a time, and `CULVERT_FAULT_SEED` the seed of the first: what
//! goes wrong when is the seed's, what comes of it is the machine's.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::history::Outcome;
use crate::kit::mongod::ReplicaSet;
use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy, ends_a_job};
use crate::kit::{SHORT, Stage, job, new_user};
use crate::work::{History, Left, Seen};
use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{
    Certificate, CertificateKey, Job, JobState, Log, NewUser, Organization, Priority, Purpose, Settings, User, Work,
};
use culvert_model::{HostId, Id, KeyKind, Kind, Role};
use culvert_records::{Bus, Claim, Failure, Guard, Query, Refusal};
use culvert_wire::bus::{Request, Write};
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};

/// Runs beside each other.
const TOGETHER: u64 = 6;

/// Certificates that are asked for in a run, and jobs that make several users.
const CERTIFICATES: u64 = 18;
const CHUNKS: u64 = 3;
const CHUNK: u64 = 5;

/// Faults in a run.
const FAULTS: u64 = 4;

/// Longer than a job's lease.
const LONG: Duration = Duration::from_millis(SHORT.length * 5 / 4);

/// When everything works again, all is done within this time: a lease, the pause behind the last attempt, and the work.
const PATIENCE: Duration = Duration::from_secs(120);

/// Chance by a seed (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// What the requests of all processes of a run tell.
#[derive(Default)]
struct Witness {
    seen: Vec<Seen>,
    /// Under which epochs somebody wrote the end of each job.
    ends: BTreeMap<String, BTreeSet<u64>>,
}

impl Witness {
    fn look(&mut self, request: &Request) {
        match request {
            Request::Renew { kind: Kind::Job, id, claim, .. } | Request::Release { kind: Kind::Job, id, claim } => {
                self.granted(id, claim);
            }
            Request::Write { writes, .. } | Request::WriteAgain { writes, .. } => {
                for write in writes {
                    self.look_at(write);
                }
            }
            _ => {}
        }
    }

    fn look_at(&mut self, write: &Write) {
        let (Kind::Job, id) = write.target() else { return };
        let (Write::Update { guard, .. } | Write::Delete { guard, .. } | Write::Check { guard, .. }) = write else {
            return;
        };
        let Guard { claim: Some(claim), .. } = guard else { return };
        self.granted(id, claim);
        if matches!(write, Write::Delete { .. }) {
            self.ends.entry(id.to_owned()).or_default().insert(claim.epoch);
        }
    }

    fn granted(&mut self, id: &str, claim: &Claim) {
        let (record, process) = (id.to_owned(), claim.owner.clone());
        self.seen.push(Seen::Granted { record, process, epoch: claim.epoch });
    }
}

impl Witness {
    /// How often a job had another holder, and how often two wrote its end.
    fn troubles(&self) -> (usize, usize) {
        let mut epochs: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for seen in &self.seen {
            if let Seen::Granted { record, epoch, .. } = seen {
                epochs.entry(record).or_default().insert(*epoch);
            }
        }
        let more = |epochs: &BTreeSet<u64>| epochs.len() - 1;
        (epochs.values().map(more).sum(), self.ends.values().map(more).sum())
    }
}

/// One host of a run.
struct Host {
    proxy: Proxy,
    tasks: PathBuf,
    /// The next request that is held up.
    hold: Arc<Mutex<Option<Moment>>>,
    process: Mutex<Option<Process>>,
}

impl Host {
    fn new(stage: &Stage<Mongo>, witness: &Arc<Mutex<Witness>>) -> Self {
        let (hold, witness) = (Arc::new(Mutex::new(None)), witness.clone());
        let held = hold.clone();
        let proxy = Proxy::start(&stage.socket(Role::Queue), move |request| {
            witness.lock().expect("nobody panicked").look(request);
            // What begins or ends a job is where it hurts.
            let hurts = ends_a_job(request) || matches!(request, Request::Write { .. } | Request::Claim { .. });
            held.lock().expect("nobody panicked").take_if(|_| hurts)
        });
        let host = Self { proxy, tasks: stage.socket(Role::Tasks), hold, process: Mutex::default() };
        host.start();
        host
    }

    fn start(&self) {
        let process = Process::start_with_tasks(&self.proxy.socket, &self.tasks);
        // The one before is killed as it is dropped.
        *self.process.lock().expect("nobody panicked") = Some(process);
    }

    fn kill(&self) {
        *self.process.lock().expect("nobody panicked") = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.process.lock().expect("nobody panicked") {
            process.signal(signal);
        }
    }

    /// Something goes wrong, and is over in the end.
    async fn suffer(&self, mut dice: Dice) {
        sleep(dice.millis(8_000)).await;
        match dice.below(4) {
            // Started again at once, or after others could take over.
            0 => {
                self.kill();
                sleep(if dice.below(2) == 0 { dice.millis(1_000) } else { LONG + dice.millis(2_000) }).await;
                self.start();
            }
            1 => {
                self.signal(Signal::SIGSTOP);
                sleep(if dice.below(3) == 0 { dice.millis(2_000) } else { LONG + dice.millis(2_000) }).await;
                self.signal(Signal::SIGCONT);
            }
            // Held up before or after the bus has done what it asked for, then killed or let go.
            kind => {
                let moment = if kind == 2 { Moment::Before } else { Moment::After };
                *self.hold.lock().expect("nobody panicked") = Some(moment);
                let reached = timeout(Duration::from_secs(5), self.proxy.reached()).await.is_ok();
                *self.hold.lock().expect("nobody panicked") = None;
                if dice.below(2) == 0 {
                    self.kill();
                    sleep(dice.millis(2_000)).await;
                    self.start();
                } else {
                    sleep(if dice.below(2) == 0 { dice.millis(2_000) } else { LONG }).await;
                }
                if reached {
                    self.proxy.go();
                }
            }
        }
    }
}

/// Asks until there is an answer.
async fn ask<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, Failure>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(failure) => assert!(failure.outage() && Instant::now() < deadline, "{what}: {failure}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Enqueued, whatever the database does.
async fn enqueue(api: &Bus, job: &Job) {
    ask("enqueueing", async || match api.insert(job).await {
        // An attempt of which nothing was heard.
        Err(Failure::Refused { why: Refusal::Exists, .. }) => Ok(()),
        done => done,
    })
    .await;
}

fn users(chunk: u64) -> Vec<NewUser> {
    (0..CHUNK).map(|number| new_user(format!("users-{chunk}/{number}"))).collect()
}

/// Enqueues everything, in a while.
async fn enqueue_all(api: &Bus, organization: Id, mut dice: Dice) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut asked = |job: String| seen.push(Seen::Enqueued { job, outcome: Outcome::Done });
    for number in 0..CERTIFICATES + CHUNKS {
        sleep(dice.millis(800)).await;
        let priority = [Priority::High, Priority::Normal, Priority::Low][dice.below(3) as usize];
        if number % 7 == 6 {
            let work = Work::Users { organization, users: users(number) };
            enqueue(api, &job(&format!("users-{number}"), work, priority)).await;
            (0..CHUNK).for_each(|user| asked(format!("users-{number}/{user}")));
        } else {
            let id = format!("certificate-{number}");
            let work = Work::Certificate { organization, purpose: Purpose::Server };
            enqueue(api, &Job { reserved: Some(id.clone()), ..job(&id, work, priority) }).await;
            asked(id);
        }
    }
    seen
}

/// What is there in the end.
async fn gather(api: &Bus, witness: &Witness, history: &mut History) {
    witness.seen.iter().cloned().for_each(|seen| history.add(seen));
    // Where two wrote the end of a job, one of them was refused.
    let epoch = |job: &str| witness.ends.get(job).and_then(BTreeSet::last).copied().unwrap_or(0);
    let certificates = ask("certificates", async || api.list::<Certificate>(Query::all()).await).await;
    for certificate in &certificates {
        if let Some(job) = certificate.record.reserved.clone() {
            history.add(Seen::Effect { epoch: epoch(&job), job });
        }
    }
    let made = ask("users", async || api.list::<User>(Query::by("by_organization")).await).await;
    for user in &made {
        let chunk = user.record.name.split('/').next().unwrap_or_default();
        history.add(Seen::Effect { epoch: epoch(chunk), job: user.record.name.clone() });
    }
    let keys = ask("keys", async || api.count::<CertificateKey>(Query::all()).await).await;
    assert_eq!(keys, certificates.len() as u64, "a key for each certificate, and no other");
    for job in ask("jobs", async || api.list::<Job>(Query::all()).await).await {
        let state = if job.record.state == JobState::Dead { Left::Dead } else { Left::Open };
        history.add(Seen::Left { job: job.record.id, state });
    }
}

/// What is wrong with the slots of the task: an epoch is one host's, and whoever runs a slot again begins after the one
/// before has written its last.
async fn slots(api: &Bus, history: &mut History) -> Vec<String> {
    let mut noted: BTreeMap<u64, BTreeMap<u64, (u64, u64)>> = BTreeMap::new();
    for log in ask("the log", async || api.list::<Log>(Query::all()).await).await {
        let words: Vec<_> = log.record.message.split(' ').collect();
        let ["slot", due, epoch, host, at] = words[..] else { continue };
        let [due, epoch, at] = [due, epoch, at].map(|word| word.parse::<u64>().expect("a number"));
        history.add(Seen::Granted { record: "slots".into(), process: host.into(), epoch });
        let (first, last) = noted.entry(due).or_default().entry(epoch).or_insert((at, at));
        (*first, *last) = ((*first).min(at), (*last).max(at));
    }
    assert!(!noted.is_empty(), "the task ran");
    let overlap =
        |runs: &BTreeMap<u64, (u64, u64)>| runs.values().zip(runs.values().skip(1)).any(|(one, next)| one.1 > next.0);
    let wrong = noted.iter().filter(|(_, runs)| overlap(runs));
    wrong.map(|(due, runs)| format!("two ran the slot {due} at the same time: {runs:?}")).collect()
}

/// One run, by a seed.
async fn run(uri: String, seed: u64) {
    let mut dice = Dice(seed);
    let witness = Arc::new(Mutex::new(Witness::default()));
    let mut stages = Vec::new();
    for _ in 0..3 + dice.below(3) {
        let host = HostId::new();
        stages.push(loop {
            match Mongo::connect(&uri, host).await {
                Ok(store) => break Stage::over(store, host),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        });
    }
    let api = stages[0].bus(Role::Api);
    let settings = Settings { user_key: KeyKind::P256, ..Settings::default() };
    ask("settings", async || match api.insert(&settings).await {
        Err(Failure::Refused { .. }) => Ok(()),
        done => done,
    })
    .await;
    let organization = Organization { id: Id::new(), name: "acme".into(), auth_api: false, ca: None, ca_expires: None };
    ask("an organisation", async || match api.insert(&organization).await {
        Err(Failure::Refused { .. }) => Ok(()),
        done => done,
    })
    .await;
    let id = organization.id;
    enqueue(&api, &job(&format!("ca/{id}"), Work::Ca { organization: id }, Priority::High)).await;
    let hosts: Vec<Host> = stages.iter().map(|stage| Host::new(stage, &witness)).collect();
    // No host suffers from two things at once.
    let mut suffering: Vec<Vec<Dice>> = hosts.iter().map(|_| Vec::new()).collect();
    for _ in 0..FAULTS {
        let host = dice.below(hosts.len() as u64) as usize;
        suffering[host].push(Dice(dice.below(u64::MAX)));
    }
    let suffer = hosts.iter().zip(suffering).map(async |(host, all)| {
        for dice in all {
            host.suffer(dice).await;
        }
    });
    let (asked, _) = tokio::join!(enqueue_all(&api, id, dice.clone()), join_all(suffer));
    let deadline = Instant::now() + PATIENCE;
    while ask("jobs", async || api.count::<Job>(Query::by("by_state").equal("open")).await).await > 0
        && Instant::now() < deadline
    {
        sleep(Duration::from_millis(100)).await;
    }
    let mut history = History::default();
    asked.into_iter().for_each(|seen| history.add(seen));
    let witness = std::mem::take(&mut *witness.lock().expect("nobody panicked"));
    gather(&api, &witness, &mut history).await;
    let of_slots = slots(&api, &mut history).await;
    let (passed_on, twice) = witness.troubles();
    println!("seed {seed}: {} hosts; jobs passed on {passed_on} times, {twice} ends written by two", hosts.len());
    let faults = [of_slots, history.faults()].concat();
    if !faults.is_empty() {
        for host in &hosts {
            if let Some(process) = &*host.process.lock().expect("nobody panicked") {
                eprintln!("---- a queue's log\n{}", process.log());
            }
        }
        panic!("seed {seed}: {faults:#?}");
    }
}

/// The database is frozen now and then, and killed.
async fn weather(set: &Mutex<ReplicaSet>, mut dice: Dice) {
    loop {
        sleep(Duration::from_secs(6) + dice.millis(10_000)).await;
        let frozen = dice.below(3) > 0;
        if frozen {
            set.lock().expect("nobody panicked").freeze(0).expect("it can be frozen");
            sleep(dice.millis(4_000)).await;
            set.lock().expect("nobody panicked").thaw(0).expect("it goes on");
        } else {
            set.lock().expect("nobody panicked").kill(0).expect("it can be killed");
            sleep(dice.millis(2_000)).await;
            set.lock().expect("nobody panicked").restart(0).expect("it starts again");
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_effect_once_whatever_goes_wrong() {
    let (runs, first) = (number("CULVERT_FAULT_RUNS", TOGETHER), number("CULVERT_FAULT_SEED", 1));
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = |seed| set.uri(&format!("run{seed}"));
    let uris: Vec<(u64, String)> = (first..first + runs).map(|seed| (seed, uri(seed))).collect();
    let set = Mutex::new(set);
    let begun = Instant::now();
    let all = async {
        for some in uris.chunks(TOGETHER as usize) {
            join_all(some.iter().map(|(seed, uri)| run(uri.clone(), *seed))).await;
            let done = some.last().map_or(0, |(seed, _)| seed + 1 - first);
            println!("{done} of {runs} runs without a fault, {:?}", begun.elapsed());
        }
    };
    tokio::select! {
        () = all => {}
        () = weather(&set, Dice(first)) => {}
    }
}
