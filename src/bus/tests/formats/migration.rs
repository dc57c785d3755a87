//! What is there is brought to the new format, whoever is killed in the middle.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use culvert_bus::cluster;
use culvert_bus::format::{Ended, Release, behind, migrate, prepare, raise, survey};
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::{Store, write_id};
use culvert_model::record::Cluster;
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Claim, Guard, Write};
use serde_json::json;

use super::kit::{ONE, TWO, dump, file, host, insert, read, replace, seen, set};
use super::mongod::ReplicaSet;

/// Two pages of users and a bit, a few others, and one that is damaged.
async fn fill<S: Store>(store: &S) {
    let writes = (0..230).map(|number| {
        let id = format!("u{number:03}");
        let body = json!({ "id": id, "organization": "o", "name": id, "email": format!("{id}@b") });
        Write::Insert { kind: Kind::User, id, body: body.to_string().into_bytes() }
    });
    for batch in writes.collect::<Vec<_>>().chunks(100) {
        store.write(write_id(), batch.to_vec()).await.expect("they are not there");
    }
    insert(store, Kind::Log, "l", &json!({ "id": "l", "message": "users: one was made" })).await;
    insert(store, Kind::Log, "damaged", &json!({ "v": "x" })).await;
    insert(store, Kind::Organization, "o", &json!({ "id": "o", "name": "o" })).await;
    insert(store, Kind::Server, "s", &json!({ "id": "s", "name": "s" })).await;
}

/// Lets the work do so many steps, then drops it: what a kill leaves behind.
async fn killed<T>(work: impl Future<Output = T>, steps: usize) -> Option<T> {
    let (mut work, mut steps) = (pin!(work), steps);
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if steps == 0 => Poll::Ready(None),
        Poll::Pending => {
            steps -= 1;
            Poll::Pending
        }
    })
    .await
}

/// The lease of the one who was killed runs out.
async fn expire<S: Store>(store: &S) {
    let row = store.get(Kind::Cluster, Cluster::ID).await.expect("the store answers").expect("it is there");
    if let Some(lease) = row.lease.filter(|lease| lease.left > 0) {
        let claim = Claim { owner: lease.owner, epoch: lease.epoch };
        // What the dead one had asked for may be done only now.
        let _ = store.release(Kind::Cluster, Cluster::ID, lease.host, claim).await;
    }
}

async fn all_is_migrated<S: Store>(store: &S) {
    for (kind, row) in dump(store).await {
        let body: serde_json::Value = serde_json::from_slice(&row.body).expect("it is JSON");
        let expected = match kind {
            Kind::User | Kind::Organization => json!(2),
            Kind::Log if row.id == "l" => json!(2),
            Kind::Log => json!("x"),
            _ => json!(null),
        };
        assert_eq!(body["v"], expected, "{}/{}", kind.name(), row.id);
        assert!(row.revision <= 2, "{}/{} is written once", kind.name(), row.id);
    }
    assert_eq!(read(store, Kind::User, "u123").await["mail"], "u123@b");
    assert_eq!(read(store, Kind::Log, "l").await["topic"], "users");
    let known = cluster::read(store).await.expect("it is whole").expect("it is there");
    assert_eq!((known.cluster.format, known.cluster.migration), (2, None));
}

/// Killed after every so many steps, and gone on with by the same host or another.
async fn killed_everywhere<S: Store>(store: &S, same: bool, stride: usize) {
    fill(store).await;
    let first = host(store, "a", &TWO).await;
    let (mut lives, mut steps) = (0, 0);
    loop {
        let here = if same { first } else { HostId::new() };
        let work = async {
            assert_eq!(raise(store, &TWO, |_| true).await, Ok(true));
            migrate(store, &TWO, here, |_| {}).await
        };
        match killed(work, steps).await {
            // What the one before had asked for was done after it was killed.
            Some(Ok(Ended::Elsewhere)) if !same => expire(store).await,
            Some(ended) => {
                assert_eq!(ended, Ok(Ended::Done));
                break;
            }
            None if !same => expire(store).await,
            None => {}
        }
        lives += 1;
        steps += stride;
    }
    assert!(lives > 3, "it was killed {lives} times");
    all_is_migrated(store).await;
    assert_eq!(migrate(store, &TWO, first, |_| panic!("nothing is left to do")).await, Ok(Ended::Done));
}

#[tokio::test]
async fn killed_and_gone_on_with_in_a_file() {
    for (same, stride) in [(true, 1), (false, 1), (false, 2)] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        killed_everywhere(&*file(&folder.path().join("store.sqlite")).await, same, stride).await;
    }
}

#[tokio::test]
async fn killed_and_gone_on_with_in_a_replica_set() {
    let mongod = ReplicaSet::start(1).expect("a replica set");
    for (same, name) in [(true, "same"), (false, "others")] {
        killed_everywhere(&*set(&mongod.uri(name)).await, same, 13).await;
    }
}

/// Others read and write all the while, and nothing of theirs is lost.
#[tokio::test]
async fn what_others_write_in_the_meantime_stays() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = file(&folder.path().join("store.sqlite")).await;
    fill(&*store).await;
    assert_eq!(raise(&*store, &TWO, |_| true).await, Ok(true));
    let two = seen(&store, TWO);
    let others = async {
        for round in 0..40 {
            let id = format!("u{:03}", round * 5);
            let mut body = read(&two, Kind::User, &id).await;
            body["mail"] = format!("{round}@c").into();
            replace(&two, Kind::User, &id, &body).await;
        }
    };
    let (ended, ()) = tokio::join!(migrate(&*store, &TWO, HostId::new(), |_| {}), others);
    assert_eq!(ended, Ok(Ended::Done));
    for round in 0..40 {
        let id = format!("u{:03}", round * 5);
        assert_eq!(read(&two, Kind::User, &id).await["mail"], format!("{round}@c"), "{id}");
    }
    // Whoever had not heard of the format yet wrote in the older one: that is no harm, and looked at again next time.
    assert_eq!(read(&two, Kind::User, "u001").await["mail"], "u001@b");
}

/// Two hosts are at it at the same time: one does it.
#[tokio::test]
async fn one_host_does_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = file(&folder.path().join("store.sqlite")).await;
    fill(&*store).await;
    assert_eq!(raise(&*store, &TWO, |_| true).await, Ok(true));
    let [a, b] = [HostId::new(), HostId::new()].map(|host| migrate(&*store, &TWO, host, |_| {}));
    let (a, b) = tokio::join!(a, b);
    assert!(
        matches!((&a, &b), (Ok(Ended::Done), Ok(Ended::Elsewhere)) | (Ok(Ended::Elsewhere), Ok(Ended::Done))),
        "{a:?} {b:?}"
    );
    all_is_migrated(&*store).await;
}

async fn looking_changes_nothing<S: Store>(store: &Arc<S>) {
    fill(&**store).await;
    let (old, new) = (host(&**store, "old", &ONE).await, host(&**store, "new", &TWO).await);
    let before = dump(&**store).await;
    let survey = survey(&**store, &TWO).await.expect("the store answers");
    assert_eq!(dump(&**store).await, before);
    let of = |kind| survey.kinds.iter().find(|tally| tally.kind == kind).map(|it| (it.records, it.older, it.failing));
    assert_eq!((of(Kind::User), of(Kind::Log)), (Some((230, 230, 0)), Some((2, 1, 1))));
    assert_eq!((of(Kind::Server), of(Kind::Tls)), (Some((1, 0, 0)), None));
    let named = survey.kinds.iter().flat_map(|tally| &tally.named).map(|damage| &*damage.id).collect::<Vec<_>>();
    assert_eq!(named, ["damaged"]);
    assert_eq!(survey.behind.iter().map(|host| host.is(old)).collect::<Vec<_>>(), [true]);
    assert!(survey.behind[0].to_string().contains("old (1.0.0, offline)"), "{}", survey.behind[0]);
    // It waits for that host, and no longer once that is removed or knows the format.
    assert_eq!(raise(&**store, &TWO, |_| true).await, Ok(false));
    let delete = Write::Delete { kind: Kind::Host, id: old.to_string(), guard: Guard::default() };
    store.write(write_id(), vec![delete]).await.expect("it is there");
    assert_eq!(behind(&**store, 2).await, Ok(Vec::new()));
    assert_eq!(raise(&**store, &TWO, |_| true).await, Ok(true));
    assert_eq!(migrate(&**store, &TWO, new, |_| {}).await, Ok(Ended::Done));
    all_is_migrated(&**store).await;
}

#[tokio::test]
async fn looking_changes_nothing_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    looking_changes_nothing(&file(&folder.path().join("store.sqlite")).await).await;
}

#[tokio::test]
async fn looking_changes_nothing_in_a_replica_set() {
    let mongod = ReplicaSet::start(1).expect("a replica set");
    looking_changes_nothing(&set(&mongod.uri("culvert")).await).await;
}

/// The embedded store is raised at start, and a copy of before is kept beside it: one.
#[tokio::test]
async fn a_copy_of_the_file_is_kept() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("store.sqlite");
    let store = file(&path).await;
    fill(&*store).await;
    // Its own record, of before the update.
    host(&*store, "a", &ONE).await;
    let before = dump(&*store).await;
    prepare(&store, &path, &TWO).await.expect("there is room");
    assert_eq!(migrate(&*store, &TWO, HostId::new(), |_| {}).await, Ok(Ended::Done));
    prepare(&store, &path, &TWO).await.expect("there is nothing to do");
    assert_ne!(dump(&*store).await, before);
    let copy = folder.path().join("store.sqlite.format-1");
    let kept = Embedded::open(&copy, HostId::new()).expect("it is a store");
    assert_eq!(dump(&kept).await, before);
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&copy).expect("it is there").permissions()) & 0o777,
        0o600
    );
    let third = Release { format: 3, version: "3.0.0", ..TWO };
    prepare(&store, &path, &third).await.expect("there is room");
    assert!(!copy.exists() && folder.path().join("store.sqlite.format-2").exists());
}
