//! A host that is stopped in the middle of a run, for longer than the reservation lasts, and goes on.

use std::time::Duration;

use culvert_model::HostId;
use culvert_model::record::Task;
use culvert_records::{Bus, Failure};
use culvert_tasks::desk::Desk;
use culvert_tasks::duty::{Done, Duty};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use crate::kit::{Host, Note, join, logs, note, notes};
use crate::mongod::ReplicaSet;
use crate::stage::until;

/// How long a run takes, and when something is sent off besides.
const RUN: Duration = Duration::from_millis(2_000);
const LATE: Duration = Duration::from_millis(1_500);

/// How long its reservation lasts, milliseconds.
const LEASE: u64 = 3_000;

pub static TASKS: [Duty; 1] = [Duty {
    name: "paused",
    what: "Takes a while.",
    period: 900_000,
    hears: &[],
    timeout: LEASE,
    work: |desk| Box::pin(paused(desk)),
}];

/// Besides, what could be under way at the worst moment: a write that was made ready under the reservation as it was, and
/// is sent off however long after.
async fn paused(desk: &Desk<'_>) -> Result<Done, Failure> {
    let fence = desk.fence.as_ref().expect("it is reserved").check().await?;
    let (bus, late) = (desk.bus.clone(), desk.note("a write that came late".into()));
    tokio::spawn(async move {
        sleep(LATE).await;
        let done = bus.write(vec![fence, late]).await;
        tracing::info!("the late write: {done:?}");
    });
    note(desk, "paused", "begins").await?;
    sleep(RUN).await;
    note(desk, "paused", "ends").await?;
    Ok(Done::of("it took a while"))
}

/// A host that was stopped as soon as it had begun, until its reservation ran out.
async fn stopped(bus: &Bus, host: &Host) -> Note {
    let begun = until("a run that has begun", async || notes(bus, "paused").await.pop()).await;
    host.signal(Signal::SIGSTOP);
    until("the end of the reservation", async || {
        (bus.get::<Task>("paused").await.expect("the bus answers")?.held_for() == 0).then_some(())
    })
    .await;
    begun
}

async fn goes_on(host: &Host) {
    host.signal(Signal::SIGCONT);
    until("the late write", async || host.log().contains("the late write").then_some(())).await;
    let log = host.log();
    assert!(log.contains("the late write: Err(Refused { write: 0, why: NotHeld"), "{log}");
}

async fn ends(bus: &Bus) -> Vec<Note> {
    until("the end", async || Some(notes(bus, "paused").await).filter(|notes| notes.iter().any(|note| note.ends))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_stopped_writes_nothing_and_notices() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let (_folder, _stop, bus) = join(&uri, HostId::new()).await;
    let host = Host::start(&uri, "paused");
    let begun = stopped(&bus, &host).await;
    let _other = Host::start(&uri, "paused");
    ends(&bus).await;
    goes_on(&host).await;
    until("it to notice", async || host.log().contains("another has the task now").then_some(())).await;
    let notes = notes(&bus, "paused").await;
    let [first, second, end] = &notes[..] else { panic!("begun twice, ended once: {notes:?}") };
    assert_eq!(first, &begun);
    assert!(second.epoch > begun.epoch && second.host != host.id && end.epoch == second.epoch && end.ends);
    let late = logs(&bus).await.iter().filter(|log| log.contains("came late")).count();
    assert_eq!(late, 1, "only that of the run that was held");
}

/// Nobody else is there: it reserves the task anew, and does it once more.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_stopped_alone_begins_again() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let (_folder, _stop, bus) = join(&uri, HostId::new()).await;
    let host = Host::start(&uri, "paused");
    let begun = stopped(&bus, &host).await;
    goes_on(&host).await;
    assert!(host.log().contains("ran out"), "{}", host.log());
    let end = ends(&bus).await.into_iter().find(|note| note.ends).expect("it has ended");
    assert!(end.epoch > begun.epoch, "{begun:?}, {end:?}");
    let done = async || bus.get::<Task>("paused").await.expect("the bus answers")?.record.succeeded;
    until("it is written down", done).await;
}
