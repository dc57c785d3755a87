//! The tail of the messages across breaks: each message in order, or a gap.

use culvert_bus::store::{Store, Tail};
use culvert_model::Kind;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::*;

/// What was heard of one record.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Heard {
    Revision(u64),
    Gap,
}

/// Listens until this revision of the record, or a gap behind which it is.
async fn listen(mut tail: Receiver<Tail>, id: String, last: impl Fn() -> Option<u64>) -> Vec<Heard> {
    let (mut heard, mut latest) = (Vec::new(), 0);
    let ends = Instant::now() + Duration::from_secs(60);
    while last().is_none_or(|last| latest < last) {
        assert!(Instant::now() < ends, "the end is never heard: {heard:?}");
        match timeout(Duration::from_millis(100), tail.recv()).await {
            Ok(Ok(Tail::Change(change))) if change.record == id => {
                latest = change.revision;
                heard.push(Heard::Revision(latest));
            }
            Ok(Ok(Tail::Change(_))) | Err(_) => {}
            Ok(Ok(Tail::Gap)) => heard.push(Heard::Gap),
            Ok(Err(error)) => panic!("{error}"),
        }
    }
    heard
}

/// No revision is missing but behind a gap.
fn check(heard: &[Heard]) {
    let (mut last, mut gap) = (0, false);
    for (place, it) in heard.iter().enumerate() {
        match it {
            Heard::Gap => gap = true,
            Heard::Revision(revision) => {
                assert!(gap || *revision == last + 1, "{revision} after {last} without a gap: {:?}", &heard[..=place]);
                (last, gap) = (*revision, false);
            }
        }
    }
}

fn gaps(heard: &[Heard]) -> usize {
    heard.iter().filter(|it| **it == Heard::Gap).count()
}

/// Writes a record again and again while something happens, and gives what another host heard of it.
async fn while_writing(set: &ReplicaSet, happens: impl AsyncFnOnce()) -> Vec<Heard> {
    let (writer, listener) = (open(set).await, open(set).await);
    let (id, tail) = (fresh(), listener.store.tail());
    let last = std::sync::Arc::new(std::sync::Mutex::new(None));
    let known = last.clone();
    let listening = tokio::spawn(listen(tail, id.clone(), move || *known.lock().expect("nobody panicked")));
    writer.make(Kind::Server, &id, &json!({})).await;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            // What it came to is seen in the end.
            let _ = writer.write(vec![update(Kind::Server, &id, always(), &json!({}))]).await;
        }
    };
    let then_stop = async {
        happens().await;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(write, then_stop);
    // One more that is acknowledged, after everything is over.
    let revision = loop {
        if let Ok(done) = writer.write(vec![update(Kind::Server, &id, always(), &json!({}))]).await {
            break done[0];
        }
    };
    *last.lock().expect("nobody panicked") = Some(revision);
    listening.await.expect("it listens to the end")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_or_a_gap_across_a_failover() {
    let _turn = alone().await;
    let set = ReplicaSet::start(3).expect("a replica set");
    for freeze in [false, true] {
        set.settle().expect("the set settles");
        let primary = set.primary().expect("a primary");
        let heard = while_writing(&set, async || {
            sleep(Duration::from_secs(1)).await;
            if freeze {
                set.freeze(primary).expect("it can be frozen");
            } else {
                set.command(primary, json!({ "replSetStepDown": 20 })).expect("it steps down");
            }
            sleep(Duration::from_secs(9)).await;
            if freeze {
                set.thaw(primary).expect("it goes on");
                sleep(Duration::from_secs(2)).await;
            }
        })
        .await;
        println!("failover (frozen: {freeze}): {} messages, {} gaps", heard.len(), gaps(&heard));
        check(&heard);
        assert!(gaps(&heard) > 0, "another primary is a gap");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_same_primary_is_no_gap() {
    let _turn = alone().await;
    let set = ReplicaSet::start(1).expect("a replica set");
    let heard = while_writing(&set, async || {
        sleep(Duration::from_millis(500)).await;
        set.freeze(0).expect("it can be frozen");
        sleep(Duration::from_millis(2500)).await;
        set.thaw(0).expect("it goes on");
        sleep(Duration::from_secs(2)).await;
    })
    .await;
    check(&heard);
    assert_eq!(gaps(&heard), 0, "the tail goes on where it was");
    assert!(heard.len() > 10, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_thrown_away_are_a_gap() {
    let _turn = alone().await;
    let set = ReplicaSet::start(1).expect("a replica set");
    let client = mongodb::Client::with_uri_str(set.uri("culvert")).await.expect("a client");
    let messages = client.database("culvert").collection::<mongodb::bson::Document>("messages");
    let heard = while_writing(&set, async || {
        sleep(Duration::from_millis(500)).await;
        messages.drop().await.expect("it can be dropped");
        sleep(Duration::from_secs(2)).await;
    })
    .await;
    println!("dropped: {} messages, {} gaps", heard.len(), gaps(&heard));
    check(&heard);
    assert!(gaps(&heard) > 0, "they are a gap");
}
