//! No change in silence: what nobody announced is told as a gap.

use culvert_bus::store::mongo::Mongo;
use culvert_bus::store::{Store, Tail, Trouble};
use culvert_model::record::{Host, HostStatus};
use culvert_model::{HostId, Kind, Record};
use culvert_wire::bus::{Fault, Write};
use mongodb::bson::{Document, Timestamp, doc};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// Longer than what is in doubt may take until it is told.
const TOLD: Duration = Duration::from_secs(10);

/// What is told next.
async fn told(tail: &mut Receiver<Tail>) -> Tail {
    timeout(TOLD, tail.recv()).await.expect("it is told soon").expect("nobody is late")
}

/// Waits for a gap, and gives the records that were told of before it.
async fn gap(tail: &mut Receiver<Tail>) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        match told(tail).await {
            Tail::Gap => return before,
            Tail::Change(change) => before.push(change.record),
        }
    }
}

/// Nothing but changes for a while.
async fn no_gap(tail: &mut Receiver<Tail>) {
    let ends = Instant::now() + Duration::from_secs(3);
    while let Ok(told) = tokio::time::timeout_at(ends, tail.recv()).await {
        assert!(matches!(told, Ok(Tail::Change(_))), "{told:?}");
    }
}

/// How many writes the server has and cannot do yet.
fn waiting(set: &ReplicaSet) -> usize {
    let told = set.command(0, json!({ "currentOp": 1 })).expect("it tells what it does");
    told["inprog"].as_array().expect("a list").iter().filter(|doing| doing["waitingForLock"] == true).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_outcome_is_not_known() {
    let _turn = alone().await;
    let set = ReplicaSet::start(1).expect("a replica set");
    let (writer, listener) = (open(&set).await, open(&set).await);
    let ids: Vec<String> = (0..16).map(|_| fresh()).collect();
    for id in &ids {
        writer.make(Kind::Server, id, &json!({})).await;
    }
    // The server has them all, and cannot do them yet; before it can tell that, it is frozen.
    set.command(0, json!({ "fsync": 1, "lock": true })).expect("it stops writing");
    let write = async |id: &String| writer.write(vec![update(Kind::Server, id, always(), &json!({}))]).await;
    let freeze = async || {
        while waiting(&set) < ids.len() {
            sleep(Duration::from_millis(1)).await;
        }
        set.freeze(0).expect("it can be frozen");
    };
    let (outcomes, ()) = tokio::join!(futures_util::future::join_all(ids.iter().map(write)), freeze());
    // Of one that the server gave up just before, it is known that nothing was done.
    let unknown = outcomes.iter().filter(|it| **it == Err(Trouble::Fault(Fault::Unknown))).count();
    assert!(unknown > 0 && outcomes.iter().all(Result::is_err), "{outcomes:?}");
    let mut tail = listener.store.tail();
    // It does what was sent now, or finds that it took too long. The same primary in the same term is no gap by itself.
    set.thaw(0).expect("it goes on");
    set.command(0, json!({ "fsyncUnlock": 1 })).expect("it writes again");
    let heard = gap(&mut tail).await.len();
    let revisions = async || {
        let mut all = Vec::new();
        for id in &ids {
            all.push(listener.get(Kind::Server, id).await.expect("it is there").revision);
        }
        all
    };
    let read = revisions().await;
    sleep(Duration::from_secs(2)).await;
    println!("unknown: {unknown} writes; {heard} messages before the gap");
    assert_eq!(read, revisions().await, "whoever reads behind the gap knows all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_nobody_waited_for() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let (writer, listener) = (open(&set).await, open(&set).await);
    let mut tail = listener.store.tail();
    let mut ids = Vec::new();
    for round in 0..40 {
        let id = fresh();
        let write = writer.write(vec![insert(Kind::Server, &id, &json!({}))]);
        // As a process that asks and is killed then.
        if timeout(Duration::from_micros(200 * round), write).await.is_err() {
            ids.push(id);
        }
    }
    assert!(!ids.is_empty(), "some were left alone");
    let heard = gap(&mut tail).await;
    let mut silent = 0;
    for id in &ids {
        let there = listener.get(Kind::Server, id).await.is_some();
        silent += u32::from(there && !heard.contains(id));
    }
    println!("left alone: {} writes, {silent} of them done and told by a gap alone", ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_was_killed() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let listener = open(&set).await;
    let mut tail = listener.store.tail();
    let host = HostId::new();
    let begin = async || {
        let store = Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens");
        store.enter().await.expect("the store is there");
        store
    };
    begin().await.close().await;
    let killed = begin().await;
    no_gap(&mut tail).await;
    drop(killed);
    let next = begin().await;
    gap(&mut tail).await;
    // Told by then, so that the next one has nothing to tell.
    next.close().await;
    begin().await;
    no_gap(&mut tail).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_lost() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let (writer, listener) = (open(&set).await, open(&set).await);
    let mut tail = listener.store.tail();
    let mut host = host();
    let body = |host: &Host| serde_json::to_value(host).expect("a host has a form");
    writer.make(Kind::Host, &host.id(), &body(&host)).await;
    host.status = HostStatus::Offline;
    writer.write(vec![update(Kind::Host, &host.id(), always(), &body(&host))]).await.expect("it is there");
    assert_eq!(gap(&mut tail).await, [host.id(), host.id()], "what it changed last it may not have told");
}

fn host() -> Host {
    Host {
        id: HostId::new(),
        format: 1,
        name: "lost".into(),
        hostname: "lost".into(),
        version: "1".into(),
        status: HostStatus::Online,
        started: 1,
        cores: 1,
        public_address: None,
        public_address6: None,
        local_address: None,
        local_networks: vec![],
        sync_address: None,
        availability_group: "default".into(),
        priority: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_cannot_be_read() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let (writer, listener) = (open(&set).await, open(&set).await);
    let mut tail = listener.store.tail();
    let client = mongodb::Client::with_uri_str(set.uri("culvert")).await.expect("a client");
    let messages = client.database("culvert").collection::<Document>("messages");
    let now = Timestamp { time: 0, increment: 0 };
    messages.insert_one(doc! { "t": now, "kind": "servers", "record": 5 }).await.expect("it can be written");
    gap(&mut tail).await;
    let id = fresh();
    writer.make(Kind::Server, &id, &json!({})).await;
    assert!(matches!(told(&mut tail).await, Tail::Change(change) if change.record == id), "the tail goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_again_after_many_others_an_addition_is_not_done_twice() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let s = open(&set).await;
    let id = fresh();
    s.make(Kind::Session, &id, &json!({ "n": 0 })).await;
    let add = || vec![Write::Add { kind: Kind::Session, id: id.clone(), field: "n".into(), delta: 1 }];
    let (first, begun) = (random(), Instant::now());
    s.store.write(first, add()).await.expect("it is there");
    let again = s.store.write_again(first, add(), begun.elapsed()).await;
    assert_eq!(again, Ok(vec![2]), "the record remembers it");
    for _ in 0..20 {
        s.write(add()).await.expect("it is there");
    }
    let again = s.store.write_again(first, add(), begun.elapsed()).await;
    assert_eq!(again, Err(Trouble::Fault(Fault::Unknown)), "the record remembers no more than the last ones");
    let unheard = s.store.write_again(random(), add(), Duration::ZERO).await;
    assert_eq!(unheard, Err(Trouble::Fault(Fault::Unknown)), "nor whether one of them was this");
    let row = s.get(Kind::Session, &id).await.expect("it is there");
    assert_eq!(body(&row), json!({ "n": 21 }));
}
