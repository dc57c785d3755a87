//! kill -9 of the primary while everybody writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use culvert_bus::store::{Store, Trouble};
use culvert_model::Kind;
use culvert_wire::bus::{Fault, Write};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::*;

/// What a writer did.
struct Diary {
    /// The records whose making was acknowledged.
    made: Vec<String>,
    /// Additions that were acknowledged.
    added: i64,
    /// Additions of which nobody knows.
    unknown: i64,
    /// The longest time from one acknowledgement to the next.
    gap: Duration,
}

async fn keep_writing<S: Store>(s: Arc<Subject<S>>, counter: String, stop: Arc<AtomicBool>) -> Diary {
    let mut diary = Diary { made: Vec::new(), added: 0, unknown: 0, gap: Duration::ZERO };
    let (mut last, mut turn) = (Instant::now(), 0_u32);
    while !stop.load(Ordering::Relaxed) {
        let id = fresh();
        // A deletion makes it a transaction.
        turn += 1;
        let before = turn.is_multiple_of(5).then(|| diary.made.pop()).flatten();
        let insertion = insert(Kind::Nonce, &id, &json!({ "expires": 1 }));
        let deletion = before.as_ref().map(|id| delete(Kind::Nonce, id, always()));
        match s.write(deletion.into_iter().chain([insertion]).collect()).await {
            Ok(_) => diary.made.push(id),
            Err(Trouble::Fault(Fault::Unknown)) => {}
            Err(Trouble::Fault(Fault::Unavailable)) => diary.made.extend(before),
            Err(other) => panic!("{other:?}"),
        }
        let add = Write::Add { kind: Kind::Session, id: counter.clone(), field: "n".into(), delta: 1 };
        match s.write(vec![add]).await {
            Ok(_) => {
                diary.added += 1;
                diary.gap = diary.gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(Trouble::Fault(Fault::Unknown)) => diary.unknown += 1,
            Err(Trouble::Fault(Fault::Unavailable)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    diary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_the_primary() {
    let _turn = alone().await;
    while_it_is_lost("killed", |set, primary| set.kill(primary)).await;
}

/// A frozen one comes back and has in mind what it was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_a_frozen_primary() {
    let _turn = alone().await;
    while_it_is_lost("frozen", |set, primary| {
        set.freeze(primary)?;
        std::thread::sleep(Duration::from_secs(8));
        set.thaw(primary)
    })
    .await;
}

async fn while_it_is_lost(how: &str, lose: impl FnOnce(&mut ReplicaSet, usize) -> anyhow::Result<()>) {
    let mut set = ReplicaSet::start(3).expect("a replica set");
    let s = Arc::new(open(&set).await);
    let stop = Arc::new(AtomicBool::new(false));
    let counter = fresh();
    s.make(Kind::Session, &counter, &json!({ "n": 0 })).await;
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        writers.spawn(keep_writing(s.clone(), counter.clone(), stop.clone()));
    }
    sleep(Duration::from_secs(2)).await;
    let primary = set.primary().expect("a primary");
    tokio::task::block_in_place(|| lose(&mut set, primary)).expect("it can be done");
    sleep(Duration::from_secs(if how == "killed" { 10 } else { 4 })).await;
    stop.store(true, Ordering::Relaxed);
    let diaries = writers.join_all().await;

    let (added, unknown) = diaries.iter().fold((0, 0), |sums, it| (sums.0 + it.added, sums.1 + it.unknown));
    let gap = diaries.iter().map(|diary| diary.gap).max().unwrap_or_default();
    println!("{how}: {added} additions, {unknown} unknown, longest gap {gap:?}");
    assert!(gap < Duration::from_secs(7) + SLACK, "{gap:?}");
    let row = s.get(Kind::Session, &counter).await.expect("it is there");
    let sum = body(&row)["n"].as_i64().expect("a number");
    assert!(
        (added..=added + unknown).contains(&sum),
        "each addition once: {sum}, {added} acknowledged, {unknown} unknown"
    );
    let mut records = 0;
    for id in diaries.iter().flat_map(|diary| &diary.made) {
        assert!(s.get(Kind::Nonce, id).await.is_some(), "{id} was acknowledged");
        records += 1;
    }
    println!("{how}: all of {records} acknowledged records are there");
    assert!(records > 0 && added > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_gone_keeps_nobody_waiting() {
    let _turn = alone().await;
    let mut set = ReplicaSet::start(1).expect("a replica set");
    let s = open(&set).await;
    let id = fresh();
    s.make(Kind::Server, &id, &json!({})).await;
    set.kill(0).expect("it can be killed");
    let mut waits = Vec::new();
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(s.store.get(Kind::Server, &id).await, Err(Trouble::Fault(Fault::Unavailable)));
        waits.push(asked.elapsed());
    }
    println!("gone: reads gave up after {waits:?}");
    assert!(waits[0] <= Duration::from_secs(3) + SLACK && waits[2] < Duration::from_secs(1), "{waits:?}");
    let asked = Instant::now();
    let written = s.write(vec![insert(Kind::Nonce, &fresh(), &json!({ "expires": 1 }))]).await;
    assert_eq!(written, Err(Trouble::Fault(Fault::Unavailable)), "it was never sent");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());

    set.restart(0).expect("it starts again");
    set.primary().expect("it is primary again");
    let back = Instant::now();
    while s.store.get(Kind::Server, &id).await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(5), "the store does not come back");
    }
    println!("gone: back {:?} after the primary", back.elapsed());
    s.make(Kind::Server, &fresh(), &json!({})).await;
}
