//! Work while everything goes wrong: three to five hosts on a real MongoDB, whose processes are killed, stopped for longer than
//! a lease and held up at any request, while the database is frozen and killed. In the end every job has its effect exactly
//! once, and every slot of a task had one holder. Needs mongod: `make setup`.
//!
//! `CULVERT_FAULT_RUNS` says how many runs there are, six at a time, and `CULVERT_FAULT_SEED` the seed of the first: what
//! goes wrong when is the seed's, what comes of it is the machine's. The long mode, of half an hour:
//! `CULVERT_FAULT_RUNS=200 CULVERT_FAULT_SEED=400 cargo test -p culvert-queue --test faults adversity -- --nocapture`.

mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::Mutex;
use std::time::Duration;

use crate::history::Outcome;
use crate::kit::mongod::ReplicaSet;
use crate::kit::process::{Note, SLOTS};
use crate::kit::proxy::End;
use crate::kit::{SHORT, Stage, job, new_user};
use crate::work::{History, Left, Seen};
use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{
    Certificate, CertificateKey, Job, JobState, Log, NewUser, Organization, Priority, Purpose, Settings, User, Work,
};
use culvert_model::{HostId, Id, KeyKind, Record, Role};
use culvert_records::{Bus, Failure, Query};
use futures_util::future::join_all;
use host::{Grant, Grants, Host};
use tokio::time::{Instant, sleep};

/// Runs beside each other.
const TOGETHER: u64 = 6;

/// Certificates that are asked for in a run, and jobs that make several users.
const CERTIFICATES: u64 = 18;
const CHUNKS: u64 = 3;
const CHUNK: u64 = 5;

/// Faults in a run.
const FAULTS: u64 = 4;

/// Longer than the lease of a job or of the task.
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

/// Put there, while nobody else is about.
async fn put<T: Record>(api: &Bus, record: &T) {
    ask("a record", async || match api.insert(record).await {
        // An attempt of which nothing was heard.
        Err(Failure::Refused { .. }) => Ok(()),
        done => done,
    })
    .await;
}

/// Enqueued, whatever the database does. If nobody knows whether it was, it is not asked for again: it may be done by now,
/// and would be done once more.
async fn enqueue(api: &Bus, job: &Job) -> Outcome {
    ask("enqueueing", async || match api.insert(job).await {
        Err(Failure::Unknown) => Ok(Outcome::Unknown),
        done => done.map(|()| Outcome::Done),
    })
    .await
}

fn users(chunk: u64) -> Vec<NewUser> {
    (0..CHUNK).map(|number| new_user(format!("users-{chunk}/{number}"))).collect()
}

/// Enqueues everything, in a while.
async fn enqueue_all(api: &Bus, organization: Id, mut dice: Dice) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut asked = |job: String, outcome| seen.push(Seen::Enqueued { job, outcome });
    for number in 0..CERTIFICATES + CHUNKS {
        sleep(dice.millis(800)).await;
        let priority = [Priority::High, Priority::Normal, Priority::Low][dice.below(3) as usize];
        if number % 7 == 6 {
            let work = Work::Users { organization, users: users(number) };
            let outcome = enqueue(api, &job(&format!("users-{number}"), work, priority)).await;
            (0..CHUNK).for_each(|user| asked(format!("users-{number}/{user}"), outcome));
        } else {
            let id = format!("certificate-{number}");
            let work = Work::Certificate { organization, purpose: Purpose::Server };
            let outcome = enqueue(api, &Job { reserved: Some(id.clone()), ..job(&id, work, priority) }).await;
            asked(id, outcome);
        }
    }
    seen
}

/// What is there in the end.
async fn gather(api: &Bus, history: &mut History) {
    let certificates = ask("certificates", async || api.list::<Certificate>(Query::all()).await).await;
    for job in certificates.iter().filter_map(|certificate| certificate.record.reserved.clone()) {
        history.add(Seen::Effect { job });
    }
    for user in ask("users", async || api.list::<User>(Query::by("by_organization")).await).await {
        history.add(Seen::Effect { job: user.record.name });
    }
    let keys = ask("keys", async || api.count::<CertificateKey>(Query::all()).await).await;
    assert_eq!(keys, certificates.len() as u64, "a key for each certificate, and no other");
    for job in ask("jobs", async || api.list::<Job>(Query::all()).await).await {
        let state = if job.record.state == JobState::Dead { Left::Dead } else { Left::Open };
        history.add(Seen::Left { job: job.record.id, state });
    }
}

/// What the task noted. How often a slot had another holder.
async fn slots(api: &Bus, history: &mut History) -> usize {
    let log = ask("the log", async || api.list::<Log>(Query::all()).await).await;
    let mut runs: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for Note { due, epoch, host, older } in log.iter().filter_map(|log| Note::of(&log.record)) {
        history.add(Seen::Granted { record: SLOTS.into(), process: host, epoch });
        history.add(Seen::Noted { task: SLOTS.into(), slot: due, epoch, older });
        runs.entry(due).or_default().insert(epoch);
    }
    assert!(!runs.is_empty(), "the task ran");
    passed_on(&runs)
}

/// How often there was another holder of what these were held under.
fn passed_on<T>(epochs: &BTreeMap<T, BTreeSet<u64>>) -> usize {
    epochs.values().map(|epochs| epochs.len() - 1).sum()
}

/// What the doors of these hosts tell. How often a job had another holder, and how many ends came too late.
fn doors(hosts: &[Host], grants: &Grants, history: &mut History) -> (usize, usize) {
    let mut holders: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for Grant { job, epoch, host } in grants.lock().expect("nobody panicked").iter().cloned() {
        holders.entry(job.clone()).or_default().insert(epoch);
        history.add(Seen::Granted { record: job, process: host.to_string(), epoch });
    }
    let mut late = 0;
    for End { job, epoch, done } in hosts.iter().flat_map(Host::ends) {
        let outcome = match done {
            Some(true) => Outcome::Done,
            Some(false) => Outcome::Refused,
            None => Outcome::Unknown,
        };
        late += usize::from(outcome == Outcome::Refused);
        history.add(Seen::Ended { record: job, epoch, outcome });
    }
    (passed_on(&holders), late)
}

/// One run, by a seed.
async fn run(uri: String, seed: u64) {
    let mut dice = Dice(seed);
    let grants = Grants::default();
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
    put(&api, &settings).await;
    let organization = Organization { id: Id::new(), name: "acme".into(), auth_api: false, ca: None, ca_expires: None };
    put(&api, &organization).await;
    let id = organization.id;
    put(&api, &job(&format!("ca/{id}"), Work::Ca { organization: id }, Priority::High)).await;
    let hosts: Vec<Host> = stages.iter().map(|stage| Host::new(stage, &grants)).collect();
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
    gather(&api, &mut history).await;
    let (jobs, late) = doors(&hosts, &grants, &mut history);
    let slots = slots(&api, &mut history).await;
    println!(
        "seed {seed}: {} hosts; jobs passed on {jobs} times, slots {slots} times; {late} ends came too late",
        hosts.len()
    );
    let faults = history.faults();
    if !faults.is_empty() {
        hosts.iter().filter_map(Host::log).for_each(|log| eprintln!("---- a queue's log\n{log}"));
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
