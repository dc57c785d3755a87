//! The embedded store does what every store must, and keeps it.

mod conformance;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use conformance::{Subject, always, body, fresh, insert, query, random, suite, text, update};
use culvert_bus::store::embedded::{Clock, Embedded, OpenError};
use culvert_bus::store::{Store, Trouble};
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Claim, Fault, Find, Write};
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder can be made")
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("store.sqlite")
}

fn open(path: &Path) -> Subject<Embedded> {
    let host = HostId::new();
    // The threads of the one before may take a moment to end.
    Subject { store: Embedded::open(path, host).expect("the store opens"), host }
}

#[tokio::test]
async fn conforms() {
    let folder = folder();
    let subject = open(&file(&folder));
    suite(&subject).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = folder();
    let subject = open(&file(&folder));
    let number = random();
    let writes = vec![insert(Kind::User, "u", &json!({ "organization": "o", "name": "n", "n": 1 }))];
    assert_eq!(subject.store.write(number, writes.clone()).await, Ok(vec![1]));
    subject.make(Kind::Job, "j", &json!({})).await;
    let row = subject.store.claim(Kind::Job, "j", None, subject.owner("a"), 60_000).await.expect("it is free");
    let host = subject.host;
    drop(subject);

    let subject = Subject { store: Embedded::open(&file(&folder), host).expect("the store opens"), host };
    let row_again = subject.get(Kind::Job, "j").await.expect("it is there");
    let [before, after] = [row, row_again].map(|row| row.lease.expect("it is held"));
    assert_eq!((before.host, &before.owner, before.epoch), (after.host, &after.owner, after.epoch));
    assert!(after.left > 0 && after.left <= before.left);
    let claim = Claim { owner: "a".into(), epoch: 1 };
    assert!(subject.store.renew(Kind::Job, "j", host, claim, 60_000).await.is_ok());
    assert_eq!(subject.store.write(number, writes).await, Ok(vec![1]), "a write is done once, across a restart");
    let found = subject.ids(query(Kind::User, "by_organization", vec![text("o"), text("n")])).await;
    assert_eq!(found, ["u"]);
}

/// The boot's clock begins anew: what it said before means nothing.
#[tokio::test]
async fn leases_of_another_boot_have_run_out() {
    let folder = folder();
    let host = HostId::new();
    let at = |boot| Embedded::open_at(&file(&folder), host, Clock::of_boot(boot)).expect("the store opens");
    let subject = Subject { store: at("first"), host };
    subject.make(Kind::Job, "j", &json!({})).await;
    subject.store.claim(Kind::Job, "j", None, subject.owner("a"), 86_400_000).await.expect("it is free");
    drop(subject);
    let subject = Subject { store: at("first"), host };
    assert!(subject.get(Kind::Job, "j").await.and_then(|row| row.lease).is_some_and(|lease| lease.left > 0));
    drop(subject);
    let subject = Subject { store: at("second"), host };
    let lease = subject.get(Kind::Job, "j").await.and_then(|row| row.lease).expect("somebody had it");
    assert_eq!((lease.left, lease.epoch), (0, 1));
    let row = subject.store.claim(Kind::Job, "j", None, subject.owner("b"), 1000).await.expect("it is free");
    assert_eq!(row.lease.map(|lease| lease.epoch), Some(2));
}

#[tokio::test]
async fn files_that_are_no_store_are_refused() {
    let folder = folder();
    let path = file(&folder);
    drop(open(&path));
    settle(&path);
    let execute = |sql: &str| rusqlite::Connection::open(&path).expect("it opens").execute_batch(sql).expect("it runs");
    let refusal = || Embedded::open(&path, HostId::new()).expect_err("it is refused").to_string();

    execute("PRAGMA user_version = 99");
    assert!(matches!(Embedded::open(&path, HostId::new()), Err(OpenError::Newer(_, 99))));
    assert!(refusal().contains("newer version of Culvert"));
    execute("PRAGMA user_version = 1; PRAGMA application_id = 7");
    assert!(refusal().contains("belongs to another program"));
    execute("PRAGMA application_id = 1131771500");

    let garbage = folder.path().join("garbage");
    fs::write(&garbage, "this is no database, but it is long enough to be looked at as one. ".repeat(100))
        .expect("room");
    let refused = Embedded::open(&garbage, HostId::new()).expect_err("it is refused");
    assert!(matches!(&refused, OpenError::Damaged(..)), "{refused}");
    let nowhere = Embedded::open(&folder.path().join("none/store"), HostId::new()).expect_err("it is refused");
    assert!(matches!(nowhere, OpenError::Io(..)), "{nowhere}");
}

/// A store that was dropped is closed: its file is whole without the log.
fn settle(path: &Path) {
    assert!(!path.with_file_name("store.sqlite-wal").exists(), "the store is closed");
}

/// Overwritten pages are noticed when they are met, and nothing crashes.
#[tokio::test]
async fn a_damaged_file_is_a_fault() {
    let folder = folder();
    let path = file(&folder);
    let subject = open(&path);
    for n in 0..200 {
        subject.make(Kind::Nonce, &format!("{n}"), &json!({ "expires": n, "x": "x".repeat(2000) })).await;
    }
    drop(subject);
    settle(&path);
    let mut bytes = fs::read(&path).expect("it is there");
    let pages = bytes.len() / 4096;
    // The first pages hold the schema: without it, the file does not open.
    bytes[8 * 4096..(pages - 1) * 4096].fill(0x5a);
    fs::write(&path, bytes).expect("there is room");
    let store = Embedded::open(&path, HostId::new()).expect("the schema is whole");
    let all = Find { limit: 1000, ..query(Kind::Nonce, "", vec![]) };
    assert_eq!(store.find(all).await, Err(Trouble::Fault(Fault::Unavailable)));
    for n in 0..200 {
        let _ = store.get(Kind::Nonce, &n.to_string()).await;
        let add = Write::Add { kind: Kind::Nonce, id: n.to_string(), field: "expires".into(), delta: 1 };
        let _ = store.write(random(), vec![add]).await;
    }
}

/// When the declared indexes are others than those that the file was written with, they are made anew.
#[tokio::test]
async fn indexes_are_made_anew() {
    let folder = folder();
    let path = file(&folder);
    let subject = open(&path);
    subject.make(Kind::Server, "s", &json!({ "name": "a" })).await;
    drop(subject);
    settle(&path);
    let database = rusqlite::Connection::open(&path).expect("it opens");
    database.execute_batch("DELETE FROM keys; UPDATE facts SET value = '' WHERE name = 'indexes'").expect("it runs");
    drop(database);
    let subject = open(&path);
    assert_eq!(subject.ids(query(Kind::Server, "by_name", vec![text("a")])).await, ["s"]);
}

const CRASH: &str = "CULVERT_TEST_CRASH_STORE";

/// Writes until it is killed, and says which writes were acknowledged. Run by the test below in a process of its own.
#[tokio::test]
async fn writer_that_is_killed() {
    let Some(path) = std::env::var_os(CRASH) else { return };
    let subject = open(Path::new(&path));
    let prefix = fresh();
    for n in 0.. {
        let one = async |k: u32| {
            let id = format!("{prefix}-{n}-{k}");
            let pair = vec![
                insert(Kind::Nonce, &id, &json!({ "expires": n })),
                insert(Kind::Log, &id, &json!({ "timestamp": n })),
            ];
            assert_eq!(subject.write(pair).await, Ok(vec![1, 1]));
            println!("done {id}");
        };
        join_all((0..8).map(one)).await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = folder();
    let path = file(&folder);
    let mut acknowledged = 0;
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().expect("this program has a name"))
            .args(["writer_that_is_killed", "--exact", "--nocapture"])
            .env(CRASH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut done = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.strip_prefix("done ") {
                done.push(id.to_string());
            }
            if done.len() == round * 150 {
                child.kill().expect("it still runs");
            }
        }
        child.wait().expect("it ended");
        assert!(done.len() >= round * 150);
        acknowledged += done.len();
        let subject = open(&path);
        for id in done {
            assert!(subject.get(Kind::Nonce, &id).await.is_some(), "{id}");
            assert!(subject.get(Kind::Log, &id).await.is_some(), "{id}");
        }
        let [nonces, logs] = [
            subject.store.count(query(Kind::Nonce, "", vec![])).await,
            subject.store.count(query(Kind::Log, "", vec![])).await,
        ];
        assert_eq!(nonces, logs, "all or none");
        assert!(nonces.is_ok_and(|count| count >= acknowledged as u64));
    }
}

/// A file system that is too small, if this runs as root.
struct Small(TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = folder();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(folder.path()).status();
        done.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_fault_and_passes() {
    let Some(small) = Small::mount() else {
        println!("skipped: this needs root, to mount a small file system");
        return;
    };
    let subject = open(&file(&small.0));
    let ballast = small.0.path().join("ballast");
    let mut made = 0;
    let fault = loop {
        let body = json!({ "expires": made, "x": "x".repeat(20_000) });
        match subject.write(vec![insert(Kind::Nonce, &made.to_string(), &body)]).await {
            Ok(_) => made += 1,
            Err(trouble) => break trouble,
        }
        if made == 3 {
            fs::write(&ballast, vec![0; 300_000]).expect("there is room for that");
        }
        assert!(made < 1000, "the disk is small");
    };
    assert_eq!(fault, Trouble::Fault(Fault::Unavailable));
    assert_eq!(subject.store.count(query(Kind::Nonce, "", vec![])).await, Ok(made), "reading goes on");
    let renewal = subject.get(Kind::Nonce, "0").await.expect("it is there");
    assert_eq!(body(&renewal)["expires"], json!(0));
    fs::remove_file(&ballast).expect("it is there");
    subject.make(Kind::Nonce, "after", &json!({ "expires": 1 })).await;
}

/// Many at a time share a transaction, and each is told its own outcome.
#[tokio::test]
async fn a_group_keeps_its_members_apart() {
    let folder = folder();
    let subject = open(&file(&folder));
    let writes = (0..500).map(|n| {
        let id = format!("{}", n % 100);
        let server = if n < 250 { "a" } else { "b" };
        subject.write(vec![insert(Kind::Address, &id, &json!({ "server": server, "user": "u", "address": "x" }))])
    });
    let answers = timeout(Duration::from_secs(20), join_all(writes)).await.expect("that is soon done");
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(subject.store.count(query(Kind::Address, "", vec![])).await, Ok(2));
    assert_eq!(subject.store.count(query(Kind::Address, "by_address", vec![])).await, Ok(2));
}

/// A sweep of more than fits into one transaction.
#[tokio::test]
async fn a_long_sweep() {
    let folder = folder();
    let subject = open(&file(&folder));
    for round in 0..13 {
        let writes = (0..100).map(|n| insert(Kind::Nonce, &format!("{round}-{n}"), &json!({ "expires": round })));
        subject.write(writes.collect()).await.expect("they are new");
    }
    let swept = subject.store.sweep(Kind::Nonce, "by_expiry", 12);
    let other = subject.write(vec![update(Kind::Nonce, "12-1", always(), &json!({ "expires": 99 }))]);
    let (swept, other) = tokio::join!(swept, other);
    assert_eq!((swept, other), (Ok(1200), Ok(vec![2])));
    assert_eq!(subject.store.count(query(Kind::Nonce, "by_expiry", vec![])).await, Ok(100));
}
