//! Three hosts in processes of their own that share the tasks over MongoDB: each slot has one holder, whoever is killed
//! or stopped in the middle. Needs mongod: `make setup`.

#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;
#[path = "../../../tests/kit/stage.rs"]
#[allow(dead_code, reason = "the kit serves other suites, too")]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, future};

use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Log, Task};
use culvert_model::{HostId, Role};
use culvert_records::{Bus, Failure, Query, Write};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::{Done, Duty};
use mongod::ReplicaSet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stage::{serve, until};
use tokio::sync::watch;
use tokio::time::sleep;

/// Names the database to a host's process.
const URI: &str = "CULVERT_TASKS_URI";
/// Names the host to it.
const HOST: &str = "CULVERT_TASKS_HOST";
/// Is there if its tasks bring it down.
const CRASHES: &str = "CULVERT_TASKS_CRASH";

/// How long a run of `slow` takes.
const RUN: Duration = Duration::from_millis(1_500);

/// A task that takes a while, and two that come to nothing.
static TASKS: [Duty; 3] = [
    Duty { name: "slow", what: "Takes a while.", period: 3_000, timeout: 6_000, work: |desk| Box::pin(slow(desk)) },
    Duty { name: "failing", what: "Fails.", period: 900_000, timeout: 2_000, work: |desk| Box::pin(failing(desk)) },
    Duty {
        name: "hanging",
        what: "Never ends.",
        period: 900_000,
        timeout: 2_000,
        work: |desk| Box::pin(hanging(desk)),
    },
];

/// A task that brings its process down.
static CRASHING: [Duty; 1] = [Duty {
    name: "crashing",
    what: "Crashes.",
    period: 900_000,
    timeout: 2_000,
    work: |desk| Box::pin(crashing(desk)),
}];

/// Notes when it begins and ends, under the reservation.
async fn slow(desk: &Desk<'_>) -> Result<Done, Failure> {
    note(desk, "slow", "begins").await?;
    sleep(RUN).await;
    note(desk, "slow", "ends").await?;
    Ok(Done::of("it took a while"))
}

async fn failing(desk: &Desk<'_>) -> Result<Done, Failure> {
    note(desk, "failing", "begins").await?;
    Err(Failure::Invalid("nothing works today".into()))
}

async fn hanging(desk: &Desk<'_>) -> Result<Done, Failure> {
    note(desk, "hanging", "begins").await?;
    future::pending().await
}

async fn crashing(desk: &Desk<'_>) -> Result<Done, Failure> {
    note(desk, "crashing", "begins").await?;
    std::process::abort()
}

/// `<task> <due> <epoch> <host> <now> <what>`
async fn note(desk: &Desk<'_>, task: &str, what: &str) -> Result<(), Failure> {
    let Some(Write::Check { guard, .. }) = &desk.fence else { panic!("it is reserved") };
    let epoch = guard.claim.as_ref().map_or(0, |claim| claim.epoch);
    let due = desk.bus.get::<Task>(task).await?.map_or(0, |task| task.record.due);
    let (host, now) = desk.bus.here().await?;
    desk.write(vec![desk.note(format!("{task} {due} {epoch} {host} {now} {what}"))]).await.map(drop)
}

/// A host. No test by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the tests below"]
async fn host() {
    let (Ok(uri), Ok(host)) = (env::var(URI), env::var(HOST)) else { return };
    let host = host.parse().expect("a host's id");
    let (_folder, _stop, bus) = join(&uri, host).await;
    culvert_tasks::attend_to(&bus, if env::var_os(CRASHES).is_some() { &CRASHING } else { &TASKS }).await;
}

/// What the tasks of a host have, over a store of its own.
async fn join(uri: &str, host: HostId) -> (tempfile::TempDir, watch::Sender<bool>, Bus) {
    let store = Arc::new(Mongo::connect(uri, host).await.expect("the store opens"));
    let (folder, stop) = (tempfile::tempdir().expect("a temporary folder"), watch::Sender::new(false));
    let bus = Bus::new(serve(folder.path(), store, host, Role::Tasks, stop.subscribe()));
    (folder, stop, bus)
}

/// A host in a process of its own, killed when dropped.
struct Host {
    id: HostId,
    process: Child,
}

impl Host {
    fn start(uri: &str) -> Self {
        Self::start_with(uri, &[])
    }

    fn start_with(uri: &str, more: &[(&str, &str)]) -> Self {
        let id = HostId::new();
        let process = Command::new(env::current_exe().expect("this program has a name"))
            .args(["--ignored", "--exact", "host"])
            .envs([(URI, uri), (HOST, &id.to_string())])
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started again");
        Self { id, process }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().cast_signed()), signal).expect("it is our child");
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("it is our child").is_some()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a run noted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    task: String,
    due: u64,
    epoch: u64,
    host: HostId,
    at: u64,
    ends: bool,
}

impl Note {
    fn of(log: &str) -> Option<Self> {
        let [task, due, epoch, host, at, what] = log.split(' ').collect::<Vec<_>>()[..] else { return None };
        let (due, epoch, at) = (due.parse().ok()?, epoch.parse().ok()?, at.parse().ok()?);
        Some(Self { task: task.into(), due, epoch, host: host.parse().ok()?, at, ends: what == "ends" })
    }
}

async fn logs(bus: &Bus) -> Vec<String> {
    let logs = bus.list::<Log>(Query::all()).await.expect("the bus answers");
    logs.into_iter().map(|log| log.record.message).collect()
}

async fn notes(bus: &Bus, task: &str) -> Vec<Note> {
    let mut notes: Vec<_> = logs(bus).await.iter().filter_map(|log| Note::of(log)).collect();
    notes.retain(|note| note.task == task);
    notes.sort_by_key(|note| (note.due, note.epoch, note.ends));
    notes
}

/// A run of `slow` that has begun and not ended.
async fn begun(bus: &Bus) -> Note {
    until("a run that has begun", async || {
        let notes = notes(bus, "slow").await;
        notes.last().filter(|last| !last.ends).cloned()
    })
    .await
}

/// The end of the run of this slot.
async fn end_of(bus: &Bus, due: u64) -> Note {
    let ended = async || notes(bus, "slow").await.into_iter().find(|note| note.due == due && note.ends);
    until("the slot's end", ended).await
}

fn of(hosts: &[Host], id: HostId) -> usize {
    hosts.iter().position(|host| host.id == id).expect("one of the hosts")
}

/// What administrators are told of a task that was begun three times and is left alone then.
async fn left_alone(bus: &Bus, task: &str, why: &str) {
    let told = until(task, async || {
        let about = |log: &&String| log.contains(&format!("The task {task} "));
        logs(bus).await.iter().find(about).cloned()
    })
    .await;
    assert!(told.contains(why) && told.contains("3 times") && told.contains("left until it is next due"), "{told}");
    assert_eq!(notes(bus, task).await.len(), 3);
    let record = bus.get::<Task>(task).await.expect("the bus answers").expect("it is there").record;
    assert!(record.attempts == 0 && record.result.is_some_and(|result| told.contains(&result)));
}

/// Each host in its turn goes down with it. The fourth leaves it alone, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_brings_hosts_down_is_left_alone() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let (_folder, _stop, bus) = join(&uri, HostId::new()).await;
    for begun in 1..=3 {
        let mut host = Host::start_with(&uri, &[(CRASHES, "1")]);
        until("a host that crashes", async || host.has_ended().then_some(())).await;
        assert_eq!(notes(&bus, "crashing").await.len(), begun);
    }
    let mut host = Host::start_with(&uri, &[(CRASHES, "1")]);
    left_alone(&bus, "crashing", "without an end").await;
    assert!(!host.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_slot_has_one_holder() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let (_folder, _stop, bus) = join(&uri, HostId::new()).await;
    let mut hosts: Vec<Host> = (0..3).map(|_| Host::start(&uri)).collect();
    left_alone(&bus, "failing", "nothing works today").await;
    left_alone(&bus, "hanging", "it did not end within").await;

    // kill -9 in the middle of a run.
    let killed = begun(&bus).await;
    let place = of(&hosts, killed.host);
    hosts[place] = Host::start(&uri);
    let end = end_of(&bus, killed.due).await;
    assert!(end.host != killed.host && end.epoch > killed.epoch, "{killed:?}, {end:?}");

    // SIGSTOP in the middle of a run, past its lease, until another has ended it.
    let stopped = begun(&bus).await;
    let place = of(&hosts, stopped.host);
    hosts[place].signal(Signal::SIGSTOP);
    let end = end_of(&bus, stopped.due).await;
    assert!(end.host != stopped.host && end.epoch > stopped.epoch, "{stopped:?}, {end:?}");
    hosts[place].signal(Signal::SIGCONT);
    // It has its turn again, with nothing but a note that was refused in between.
    until("it takes part again", async || {
        notes(&bus, "slow")
            .await
            .iter()
            .any(|note| note.host == stopped.host && note.due > stopped.due && note.ends)
            .then_some(())
    })
    .await;
    check(&notes(&bus, "slow").await, &[killed, stopped]);
}

/// One end for each slot; more than one beginning only where the holder was lost; nobody beside anybody else.
fn check(notes: &[Note], lost: &[Note]) {
    let last = notes.last().map_or(0, |note| note.due);
    let mut slots: BTreeMap<u64, Vec<&Note>> = BTreeMap::new();
    // The newest may still be running.
    for note in notes.iter().filter(|note| note.due < last) {
        slots.entry(note.due).or_default().push(note);
    }
    let hosts: BTreeSet<_> = notes.iter().map(|note| note.host).collect();
    println!("{} slots on {} hosts", slots.len(), hosts.len());
    for (due, notes) in slots {
        let (ends, begins): (Vec<_>, Vec<_>) = notes.into_iter().partition(|note| note.ends);
        let [end] = ends[..] else { panic!("the slot {due} has {} ends", ends.len()) };
        let crashed = begins.iter().filter(|begin| begin.epoch != end.epoch).count();
        let expected = lost.iter().filter(|lost| lost.due == due).count();
        assert_eq!(crashed, expected, "{due}: {begins:?}");
        let own = begins.iter().find(|begin| begin.epoch == end.epoch).expect("whoever ends it began it");
        assert_eq!(own.host, end.host);
        let beside = begins.iter().filter(|begin| begin.epoch != end.epoch && (own.at..=end.at).contains(&begin.at));
        assert_eq!(beside.count(), 0, "{due}");
        let epochs: BTreeSet<_> = begins.iter().map(|begin| begin.epoch).collect();
        assert_eq!(epochs.len(), begins.len(), "{due}: each under an epoch of its own");
    }
}
