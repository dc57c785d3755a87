//! Three hosts in processes of their own that share the tasks over MongoDB: each slot has one holder, whoever is killed
//! or stopped in the middle. Needs mongod: `make setup`.

mod kit;
#[path = "../../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;
mod paused;
#[path = "../../../../tests/kit/stage.rs"]
#[allow(dead_code, reason = "the kit serves other suites, too")]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::time::Duration;

use culvert_model::HostId;
use culvert_model::record::Task;
use culvert_records::{Bus, Failure};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::{Done, Duty};
use kit::{Host, Note, join, logs, note, notes};
use mongod::ReplicaSet;
use nix::sys::signal::Signal;
use stage::until;
use tokio::time::sleep;

/// How long a run of `slow` takes.
const RUN: Duration = Duration::from_millis(1_500);

/// A task that takes a while, and two that come to nothing.
pub static TASKS: [Duty; 3] = [
    Duty {
        name: "slow",
        what: "Takes a while.",
        period: 3_000,
        hears: &[],
        timeout: 6_000,
        work: |desk| Box::pin(slow(desk)),
    },
    Duty {
        name: "failing",
        what: "Fails.",
        period: 900_000,
        hears: &[],
        timeout: 2_000,
        work: |desk| Box::pin(failing(desk)),
    },
    Duty {
        name: "hanging",
        what: "Never ends.",
        period: 900_000,
        hears: &[],
        timeout: 2_000,
        work: |desk| Box::pin(hanging(desk)),
    },
];

/// A task that brings its process down.
pub static CRASHING: [Duty; 1] = [Duty {
    name: "crashing",
    what: "Crashes.",
    period: 900_000,
    hears: &[],
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

/// A host. No test by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the tests below"]
async fn host() {
    kit::host().await;
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
        let mut host = Host::start(&uri, "crashing");
        until("a host that crashes", async || host.has_ended().then_some(())).await;
        assert_eq!(notes(&bus, "crashing").await.len(), begun);
    }
    let mut host = Host::start(&uri, "crashing");
    left_alone(&bus, "crashing", "without an end").await;
    assert!(!host.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_slot_has_one_holder() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let (_folder, _stop, bus) = join(&uri, HostId::new()).await;
    let mut hosts: Vec<Host> = (0..3).map(|_| Host::start(&uri, "tasks")).collect();
    left_alone(&bus, "failing", "nothing works today").await;
    left_alone(&bus, "hanging", "it did not end within").await;

    // kill -9 in the middle of a run.
    let killed = begun(&bus).await;
    let place = of(&hosts, killed.host);
    hosts[place] = Host::start(&uri, "tasks");
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
