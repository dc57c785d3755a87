//! Records move whole and as they are, between both stores and archives, and a crash anywhere on the way is healed by the
//! next start. Needs mongod: `make setup`.

#[allow(dead_code, reason = "its cases are for the stores' own suites")]
mod conformance;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;

use std::fs;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use conformance::{always, insert, random, update};
use culvert_bus::choice::{Choice, Uri};
use culvert_bus::cluster;
use culvert_bus::store::embedded::{Embedded, snapshot};
use culvert_bus::store::frozen::Frozen;
use culvert_bus::store::mongo::Mongo;
use culvert_bus::store::{Awaited, Owner, Store};
use culvert_bus::transfer::archive::{self, Head, Writer};
use culvert_bus::transfer::export::Export;
use culvert_bus::transfer::import::Import;
use culvert_bus::transfer::journal::{Journal, Phase};
use culvert_bus::transfer::told::Told;
use culvert_bus::transfer::{Summary, copy, file};
use culvert_model::record::ClusterState;
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Guard, Keeper, Write};
use mongod::ReplicaSet;
use serde_json::json;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn uri(set: &ReplicaSet, folder: &Path, database: &str) -> Uri {
    let file = folder.join("uri");
    fs::write(&file, set.uri(database)).expect("it can be written");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("it is ours");
    match Choice::read(Some(&format!("@{}", file.display()))) {
        Ok(Choice::Mongo(uri)) => uri,
        other => panic!("it is a URI: {other:?}"),
    }
}

/// Records with everything that there is to keep: revisions, leases, text of all sorts, several pages.
async fn fill<S: Store>(store: &S, host: HostId) {
    cluster::ensure(store).await.expect("it is in order");
    for page in 0..8 {
        let writes = (0..100).map(|number| {
            let id = format!("{page}-{number}");
            let body = json!({
                "id": id, "organization": "o", "name": format!("user {number} \u{0}$.%é"), "numbers": [1, -2.5, 1e300, 9_007_199_254_740_993_i64],
                "deep": { "a.b": null, "$c": true },
            });
            insert(Kind::User, &id, &body)
        });
        store.write(random(), writes.collect()).await.expect("they are new");
    }
    for id in ["a", "b", "c"] {
        let body = json!({ "state": "open", "priority": 1, "created": 1 });
        store.write(random(), vec![insert(Kind::Job, id, &body)]).await.expect("it is new");
        store.write(random(), vec![update(Kind::Job, id, always(), &body)]).await.expect("it is there");
    }
    let owner = Owner { host, name: "me".into() };
    store.claim(Kind::Job, "a", None, owner.clone(), 60_000).await.expect("it is free");
    let claimed = store.claim(Kind::Job, "b", None, owner, 60_000).await.expect("it is free");
    let lease = claimed.lease.expect("it is held");
    let claim = culvert_wire::bus::Claim { owner: lease.owner, epoch: lease.epoch };
    store.release(Kind::Job, "b", host, claim).await.expect("it is held");
}

#[tokio::test]
async fn what_arrives_is_what_was_sent() {
    let (set, folder, host) = (ReplicaSet::start(1).expect("a replica set"), folder(), HostId::new());
    let path = file::store(folder.path());
    let first = Embedded::open(&path, host).expect("the store opens");
    fill(&first, host).await;
    let sent = Summary::of(snapshot(&path).expect("it can be read"), |_, _| {}).await.expect("it can be read");
    assert_eq!(sent.records(), 803);

    let mongo = Mongo::connect(&set.uri("culvert"), host).await.expect("the database is there");
    let passed = copy(snapshot(&path).expect("it can be read"), &mut &mongo, |_, _| {}).await.expect("it is empty");
    assert_eq!(passed, sent);
    let there = Summary::of(mongo.snapshot().await.expect("it answers"), |_, _| {}).await.expect("it answers");
    assert_eq!(there, sent);
    let held = mongo.get(Kind::Job, "a").await.expect("it answers").expect("it is there");
    let lease = held.lease.expect("it was claimed");
    assert!(lease.left > 10_000 && lease.epoch == 1 && held.revision == 2, "{lease:?}");
    let again = mongo.claim(Kind::Job, "b", None, Owner { host, name: "you".into() }, 1000).await.expect("it is free");
    assert_eq!(again.lease.map(|lease| lease.epoch), Some(2), "epochs go on");

    let sent = Summary::of(mongo.snapshot().await.expect("it answers"), |_, _| {}).await.expect("it answers");
    let back = file::prepare(folder.path(), host).expect("it can be made");
    copy(mongo.snapshot().await.expect("it answers"), &mut &back, |_, _| {}).await.expect("it is empty");
    // Twice is once.
    copy(mongo.snapshot().await.expect("it answers"), &mut &back, |_, _| {}).await.expect("it is the same");
    let back = Summary::of(snapshot(&file::incoming(folder.path())).expect("it can be read"), |_, _| {}).await;
    back.expect("it can be read").arrived(&sent).expect("all of it came back");

    let extra = json!({ "organization": "o", "name": "x" });
    mongo.write(random(), vec![insert(Kind::User, "extra", &extra)]).await.expect("it is new");
    let more = Summary::of(mongo.snapshot().await.expect("it answers"), |_, _| {}).await.expect("it answers");
    let differs = sent.arrived(&more).expect_err("there is one more").to_string();
    assert!(differs.contains("users") && differs.contains("801"), "{differs}");
    mongo.clear().await.expect("it answers");
    let none = Summary::of(mongo.snapshot().await.expect("it answers"), |_, _| {}).await.expect("it answers");
    assert_eq!(none.records(), 0);
}

#[tokio::test]
async fn a_backup_is_whole_or_none() {
    let (folder, host) = (folder(), HostId::new());
    let path = file::store(folder.path());
    fill(&Embedded::open(&path, host).expect("the store opens"), host).await;
    let source = snapshot(&path).expect("it can be read");
    let head = Head { version: "1".into(), format: 1, host, name: "gate".into(), made: 7, records: source.total() };
    let mut writer = Writer::new(Vec::new(), "correct horse", head.clone()).expect("there is room");
    let sent = copy(source, &mut writer, |_, _| {}).await.expect("there is room");
    let bytes = writer.finish(&sent).expect("there is room");
    assert!(!bytes.windows(6).any(|window| window == b"user 7"), "it is encrypted");

    let read = async |bytes: Vec<u8>, passphrase: &str| {
        let (head, source) = archive::open(std::io::Cursor::new(bytes), passphrase)?;
        Summary::of(source, |_, _| {}).await.map(|summary| (head, summary))
    };
    let (found, summary) = read(bytes.clone(), "correct horse").await.expect("it is whole");
    assert_eq!(found, head);
    assert_eq!(summary, sent);
    assert!(read(bytes.clone(), "wrong horse").await.is_err());
    for cut in [0, 3, 30, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(bytes[..cut].to_vec(), "correct horse").await.is_err(), "cut at {cut}");
    }
    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(read(changed, "correct horse").await.is_err());
    let mut unfinished = Writer::new(Vec::new(), "correct horse", head).expect("there is room");
    copy(snapshot(&path).expect("it can be read"), &mut unfinished, |_, _| {}).await.expect("there is room");
    drop(unfinished);
}

/// Two records that are always written together are never seen apart.
async fn snapshots_are_of_one_moment<S: Store>(store: Arc<S>, take: impl AsyncFn() -> culvert_bus::transfer::Source) {
    let pair = |number: i64| {
        let body = json!({ "organization": "o", "name": "n", "number": number });
        ["first", "last"].map(|id| update(Kind::User, id, always(), &body)).to_vec()
    };
    let body = json!({ "number": 0 });
    store
        .write(random(), vec![insert(Kind::User, "first", &body), insert(Kind::User, "last", &body)])
        .await
        .expect("new");
    for page in 0..20 {
        let between = (0..100).map(|number| insert(Kind::User, &format!("i{page}-{number}"), &body));
        store.write(random(), between.collect()).await.expect("they are new");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, writer) = (stop.clone(), store.clone());
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            number += 1;
            writer.write(random(), pair(number)).await.expect("it is there");
        }
        number
    });
    for _ in 0..10 {
        let mut pair = Vec::new();
        let mut keep = Keep(&mut pair);
        copy(take().await, &mut keep, |_, _| {}).await.expect("it can be read");
        assert_eq!(pair.len(), 2, "{pair:?}");
        assert_eq!(pair[0], pair[1], "they are of one moment");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.expect("it writes on") > 10, "it was written all the time");
}

/// Keeps the numbers of the two records.
struct Keep<'k>(&'k mut Vec<serde_json::Value>);

impl culvert_bus::transfer::Target for Keep<'_> {
    async fn put(&mut self, page: culvert_bus::transfer::Page) -> Result<(), culvert_bus::transfer::TransferError> {
        for row in page.rows.iter().filter(|row| row.id == "first" || row.id == "last") {
            self.0.push(conformance::body(row)["number"].clone());
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_the_embedded_store() {
    let (folder, host) = (folder(), HostId::new());
    let path = file::store(folder.path());
    let store = Arc::new(Embedded::open(&path, host).expect("the store opens"));
    snapshots_are_of_one_moment(store, async || snapshot(&path).expect("it can be read")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_a_database() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let store = Arc::new(Mongo::connect(&set.uri("culvert"), HostId::new()).await.expect("the database is there"));
    let taken = store.clone();
    snapshots_are_of_one_moment(store, async || taken.snapshot().await.expect("it answers")).await;
}

/// Lets a process run until it is to be no more, as after kill -9: asked after each step. Whether it ended by itself.
async fn crash_when(mut now: impl FnMut() -> bool, process: impl Future<Output = ()>) -> bool {
    let mut process = pin!(process);
    std::future::poll_fn(|context| match process.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if now() => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// After so many steps.
fn after(mut steps: usize) -> impl FnMut() -> bool {
    move || {
        let now = steps == 0;
        steps = steps.saturating_sub(1);
        now
    }
}

/// So many steps after the journal says that the last write may be done.
fn committing(folder: PathBuf, steps: usize) -> impl FnMut() -> bool {
    let mut after = after(steps);
    move || begun(&folder).phase() == Phase::Committing && after()
}

fn begun(folder: &Path) -> Journal {
    let found = Journal::find(folder).expect("it can be read");
    found.unwrap_or_else(|| Journal::begin(folder).expect("it can be written"))
}

async fn count<S: Store>(store: &S, kind: Kind) -> u64 {
    store.count(culvert_wire::bus::Find::all(kind)).await.expect("the store answers")
}

/// The records move in while the process dies again and again, each time a little later; whatever was acknowledged in
/// between is there in the end.
async fn import_with_crashes<C: FnMut() -> bool>(crash: impl Fn(PathBuf, usize) -> C) -> (u32, Vec<Phase>) {
    let (set, folder, host) = (ReplicaSet::start(1).expect("a replica set"), folder(), HostId::new());
    let path = file::store(folder.path());
    fill(&Embedded::open(&path, host).expect("the store opens"), host).await;
    let import = Import { folder: folder.path().into(), uri: uri(&set, folder.path(), "culvert"), host };
    let (mut acknowledged, mut crashes) = (0_u32, 0_u32);
    let mut phases = Vec::new();
    loop {
        let mut journal = begun(folder.path());
        phases.push(journal.phase());
        if journal.phase() == Phase::Done {
            break;
        }
        let embedded = Arc::new(Embedded::open(&path, host).expect("the store opens"));
        let store = Frozen::new(embedded.clone(), journal.phase() == Phase::Committing);
        let told = Told::of(Keeper::Embedded);
        let body = json!({ "organization": "o", "name": "n" });
        match store.write(random(), vec![insert(Kind::User, &format!("new{acknowledged}"), &body)]).await {
            Ok(_) => acknowledged += 1,
            Err(_) => assert_ne!(journal.phase(), Phase::Copying, "who is still copying serves on"),
        }
        let crash = crash(folder.path().into(), crashes as usize);
        let ended = crash_when(crash, import.run(&mut journal, &store, &told)).await;
        crashes += u32::from(!ended);
    }
    println!("{crashes} crashes, {acknowledged} records came in between");
    let mongo = Mongo::connect(&set.uri("culvert"), host).await.expect("the database is there");
    assert_eq!(count(&mongo, Kind::User).await, 800 + u64::from(acknowledged));
    let known = cluster::read(&mongo).await.expect("it is whole").expect("it is there");
    assert_eq!((known.cluster.state, known.cluster.by), (ClusterState::Ready, Some(host)));
    (crashes, phases)
}

#[tokio::test]
async fn an_import_that_dies_anywhere_is_finished() {
    let (crashes, _) = import_with_crashes(|_, crashes| after(2 * crashes)).await;
    assert!(crashes > 10, "{crashes}");
}

#[tokio::test]
async fn an_import_that_dies_while_it_commits_is_finished() {
    let (crashes, phases) = import_with_crashes(committing).await;
    assert!(crashes > 0 && phases.contains(&Phase::Committing), "{crashes}");
}

#[tokio::test]
async fn an_export_that_dies_anywhere_is_finished() {
    let (set, folder, host) = (ReplicaSet::start(1).expect("a replica set"), folder(), HostId::new());
    let at = set.uri("culvert");
    let mongo = Arc::new(Mongo::connect(&at, host).await.expect("the database is there"));
    fill(&*mongo, host).await;
    mongo.write(random(), vec![insert(Kind::Host, &host.to_string(), &json!({}))]).await.expect("it is new");
    let export = Export { folder: folder.path().into(), host };
    let (mut crashes, mut steps, mut acknowledged) = (0, 0, 0);
    loop {
        let mut journal = begun(folder.path());
        if journal.phase() == Phase::Done {
            break;
        }
        let store = Frozen::new(Arc::new(Awaited::<Mongo>::default()), journal.phase() == Phase::Committing);
        if journal.phase() == Phase::Copying {
            let body = json!({ "organization": "o", "name": "n" });
            let write = vec![insert(Kind::User, &format!("new{acknowledged}"), &body)];
            mongo.write(random(), write).await.expect("it is new");
            acknowledged += 1;
        }
        let told = Told::of(Keeper::Mongo);
        let ended = crash_when(after(steps), export.run(&mut journal, &store, &mongo, &told)).await;
        crashes += u32::from(!ended);
        steps += 2;
    }
    println!("{crashes} crashes, {acknowledged} records came in between");
    assert!(crashes > 10, "{crashes}");
    let store = Embedded::open(&file::incoming(folder.path()), host).expect("the store opens");
    assert_eq!(count(&store, Kind::User).await, 800 + acknowledged);
    assert_eq!(cluster::ensure(&store).await.map(|cluster| cluster.state), Ok(ClusterState::Ready));
    let known = cluster::read(&*mongo).await.expect("it is whole").expect("it is there");
    assert_eq!(known.cluster.state, ClusterState::Left);
}

#[tokio::test]
async fn one_of_several_leaves_empty() {
    let (set, folder, host) = (ReplicaSet::start(1).expect("a replica set"), folder(), HostId::new());
    let mongo = Arc::new(Mongo::connect(&set.uri("culvert"), host).await.expect("the database is there"));
    fill(&*mongo, host).await;
    let other = HostId::new();
    for host in [host, other] {
        mongo.write(random(), vec![insert(Kind::Host, &host.to_string(), &json!({}))]).await.expect("it is new");
    }
    let export = Export { folder: folder.path().into(), host };
    let store = Frozen::new(Arc::new(Awaited::<Mongo>::default()), false);
    let mut journal = begun(folder.path());
    export.run(&mut journal, &store, &mongo, &Told::of(Keeper::Mongo)).await;
    assert_eq!(journal.phase(), Phase::Done);
    assert_eq!(count(&*mongo, Kind::User).await, 800, "the records stay");
    assert!(mongo.get(Kind::Host, &host.to_string()).await.expect("it answers").is_none());
    assert!(mongo.get(Kind::Host, &other.to_string()).await.expect("it answers").is_some());
    assert_eq!(cluster::ensure(&*mongo).await.map(|cluster| cluster.state), Ok(ClusterState::Ready));
    let own = Embedded::open(&file::incoming(folder.path()), host).expect("the store opens");
    assert_eq!(count(&own, Kind::User).await, 0);
}

/// A database that is in use is not moved into, and what is here stays as it was.
#[tokio::test]
async fn a_cluster_takes_no_records_of_another() {
    let (set, folder, host) = (ReplicaSet::start(1).expect("a replica set"), folder(), HostId::new());
    let mongo = Mongo::connect(&set.uri("culvert"), HostId::new()).await.expect("the database is there");
    fill(&mongo, HostId::new()).await;
    let before = Summary::of(mongo.snapshot().await.expect("it answers"), |_, _| {}).await.expect("it answers");
    let path = file::store(folder.path());
    let embedded = Arc::new(Embedded::open(&path, host).expect("the store opens"));
    cluster::ensure(&*embedded).await.expect("it is in order");
    let store = Frozen::new(embedded, false);
    let import = Import { folder: folder.path().into(), uri: uri(&set, folder.path(), "culvert"), host };
    let (mut journal, told) = (begun(folder.path()), Told::of(Keeper::Embedded));
    let refused = async {
        loop {
            if let Some(culvert_wire::bus::Transfer::Refused(why)) = told.now().transfer {
                return why;
            }
            tokio::task::yield_now().await;
        }
    };
    let why = tokio::select! {
        () = import.run(&mut journal, &store, &told) => panic!("it may not"),
        why = refused => why,
    };
    assert!(why.contains("holds a cluster already"), "{why}");
    let delete = Write::Delete { kind: Kind::User, id: "none".into(), guard: Guard::default() };
    let answer = store.write(random(), vec![delete]).await;
    assert!(matches!(answer, Err(culvert_bus::store::Trouble::Refused { .. })), "it serves on: {answer:?}");
    let after = Summary::of(mongo.snapshot().await.expect("it answers"), |_, _| {}).await.expect("it answers");
    assert_eq!(before, after);
}
