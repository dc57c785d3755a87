//! The heart on a real store. Machines that are copies of each other share the store under one id.

use std::path::Path;

use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Guard, Row, Write};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::store::embedded::Embedded;
use crate::store::write_id;

const SOON: Duration = Duration::from_secs(20);

/// A store, and a folder per machine.
struct Scene {
    folder: TempDir,
    store: Embedded,
    host: HostId,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::create_dir(folder.path().join("a")).expect("a folder can be made");
        let host = Identity::keep(&folder.path().join("a")).expect("it is made").host;
        let store = Embedded::open(&folder.path().join("store.sqlite"), host).expect("the store opens");
        Self { folder, store, host }
    }

    fn path(&self, machine: &str) -> std::path::PathBuf {
        self.folder.path().join(machine)
    }

    /// A bus that starts on this machine.
    fn heart(&self, machine: &str) -> Heart {
        heart(&self.path(machine))
    }

    /// Copies a machine's disk, as it is now.
    fn copy(&self, from: &str, to: &str) {
        std::fs::create_dir_all(self.path(to)).expect("a folder can be made");
        for entry in std::fs::read_dir(self.path(from)).expect("a folder").map(|entry| entry.expect("an entry")) {
            std::fs::copy(entry.path(), self.path(to).join(entry.file_name())).expect("it can be copied");
        }
    }

    async fn row(&self, host: HostId) -> Option<Row> {
        self.store.get(Kind::Host, &host.to_string()).await.expect("the store answers")
    }

    async fn write(&self, write: Write) {
        self.store.write(write_id(), vec![write]).await.expect("it can be written");
    }

    /// Lets a machine go on until a copy of it does not know its word any more.
    async fn until_unknown_to(&self, copy: &str, first: &mut Heart) {
        let words = Words::keep(&self.path(copy)).expect("the words are kept");
        self.beat(&mut [first], |row| !words.knows(&owner(row))).await;
    }

    /// Lets the hearts beat until the host's record is as it should be.
    async fn beat(&self, hearts: &mut [&mut Heart], until: impl Fn(&Row) -> bool) -> Row {
        let host = self.host;
        let seen = async {
            loop {
                if let Some(row) = self.row(host).await.filter(&until) {
                    return row;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let beating = futures_util::future::select_all(hearts.iter_mut().map(|heart| Box::pin(heart.run(&self.store))));
        tokio::select! {
            (ended, place, _) = beating => panic!("heart {place} ended: {ended:?}"),
            row = timeout(SOON, seen) => row.expect("that comes soon"),
        }
    }
}

fn heart(folder: &Path) -> Heart {
    let identity = Identity::keep(folder).expect("it is kept");
    let mut heart = Heart::new(identity, Words::keep(folder).expect("the words are kept"));
    heart.machine.hostname = "gate.example.org".into();
    heart
}

fn owner(row: &Row) -> String {
    row.lease.clone().map(|lease| lease.owner).unwrap_or_default()
}

fn epoch(row: &Row) -> u64 {
    row.lease.as_ref().map_or(0, |lease| lease.epoch)
}

fn held(row: &Row) -> bool {
    !offline(row) && row.lease.as_ref().is_some_and(|lease| lease.left > 0)
}

fn object(row: &Row) -> Map<String, Value> {
    serde_json::from_slice(&row.body).expect("an object")
}

fn standing(heart: &Heart) -> Standing {
    *heart.standing().borrow()
}

#[tokio::test]
async fn what_an_administrator_set_stays() {
    let scene = Scene::new();
    let row = scene.beat(&mut [&mut scene.heart("a")], held).await;
    let mut body = object(&row);
    assert_eq!((&body["name"], &body["status"]), (&json!("gate"), &json!("online")));
    body.extend([("name".into(), json!("mine")), ("status".into(), json!("offline")), ("more".into(), json!(1))]);
    body.insert("hostname".into(), json!("old"));
    let body = serde_json::to_vec(&body).expect("an object");
    scene.write(Write::Update { kind: Kind::Host, id: row.id, guard: Guard::default(), body }).await;

    let body = object(&scene.beat(&mut [&mut scene.heart("a")], held).await);
    let fields = (&body["name"], &body["more"], &body["hostname"]);
    assert_eq!(fields, (&json!("mine"), &json!(1), &json!("gate.example.org")));
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_lease_at_once() {
    let scene = Scene::new();
    let first = scene.beat(&mut [&mut scene.heart("a")], held).await;
    let begun = Instant::now();
    let mut again = scene.heart("a");
    let second = scene.beat(&mut [&mut again], |row| owner(row) != owner(&first)).await;
    assert_eq!(epoch(&second), 1);
    assert_eq!(standing(&again), Standing::Held);
    assert!(begun.elapsed() < Duration::from_millis(Host::LEASE) / 2, "the lease need not run out");
}

#[tokio::test]
async fn a_record_that_was_removed_is_made_again() {
    let scene = Scene::new();
    let mut heart = scene.heart("a");
    let row = scene.beat(&mut [&mut heart], held).await;
    scene.write(Write::Delete { kind: Kind::Host, id: row.id, guard: Guard::default() }).await;
    let mut body = object(&scene.beat(&mut [&mut heart], held).await);
    assert_eq!(body.remove("name"), Some(json!("gate")));
}

#[tokio::test]
async fn who_says_goodbye_is_offline_at_once_and_comes_back_at_once() {
    let scene = Scene::new();
    let mut heart = scene.heart("a");
    scene.beat(&mut [&mut heart], held).await;
    heart.farewell(&scene.store).await;
    let gone = scene.row(scene.host).await.expect("the record stays");
    assert!(offline(&gone) && gone.lease.as_ref().is_some_and(|lease| lease.left == 0), "{gone:?}");
    let begun = Instant::now();
    // Another boot, which lost its words.
    std::fs::remove_file(scene.path("a").join("host-lease")).expect("it was there");
    let row = scene.beat(&mut [&mut scene.heart("a")], held).await;
    assert_eq!(epoch(&row), 2);
    assert!(begun.elapsed() < Duration::from_millis(Host::LEASE) / 2);
}

#[tokio::test]
async fn a_copy_of_the_disk_is_refused_and_the_first_is_not_disturbed() {
    let scene = Scene::new();
    let mut first = scene.heart("a");
    scene.beat(&mut [&mut first], held).await;
    scene.copy("a", "b");
    // The first goes on, so that the copy's words are old.
    scene.until_unknown_to("b", &mut first).await;
    let mut copy = scene.heart("b");
    let standings = first.standing();
    let refused = tokio::select! {
        ended = first.run(&scene.store) => panic!("the first ended: {ended:?}"),
        refused = timeout(SOON, copy.run(&scene.store)) => refused.expect("it is refused soon"),
    };
    let text = refused.expect_err("it is refused").to_string();
    assert!(text.contains(&scene.host.to_string()) && text.contains("host-id"), "{text}");
    assert_eq!((standing(&copy), *standings.borrow()), (Standing::Refused, Standing::Held));
    assert_eq!(epoch(&scene.row(scene.host).await.expect("it is there")), 1, "the first never lost its lease");
}

/// A snapshot of a running machine: the same disk, the same boot, the same memory.
#[tokio::test]
async fn of_two_machines_with_one_memory_the_second_is_refused() {
    let scene = Scene::new();
    let mut first = scene.heart("a");
    scene.beat(&mut [&mut first], held).await;
    scene.copy("a", "b");
    let mut twin = scene.heart("b");
    twin.words = Words::keep(&scene.path("b")).expect("the words are kept");
    twin.attempt.clone_from(&first.attempt);
    twin.stand(Standing::Held);
    let claim = scene.row(scene.host).await.and_then(|row| row.lease).map(claim_of).expect("it is held");
    let store = &scene.store;
    // Both believe that they hold the lease under this claim: the first renews it, then the twin tries to.
    let (claim_of_first, _) = first.pass(store, claim.clone()).await.expect("it is held");
    let twins = async {
        twin.renew(store, claim).await;
        twin.run(store).await
    };
    let refused = tokio::select! {
        () = first.renew(store, claim_of_first) => panic!("the first lost its lease"),
        refused = timeout(SOON, twins) => refused.expect("it is refused soon"),
    };
    assert!(refused.is_err());
    assert_eq!((standing(&twin), epoch(&scene.row(scene.host).await.expect("it is there"))), (Standing::Refused, 1));
}

#[tokio::test]
async fn a_restored_machine_takes_its_id_back_once_the_original_is_gone() {
    let scene = Scene::new();
    let mut first = scene.heart("a");
    scene.beat(&mut [&mut first], held).await;
    scene.copy("a", "b");
    scene.until_unknown_to("b", &mut first).await;
    drop(first);
    let begun = Instant::now();
    let row = scene.beat(&mut [&mut scene.heart("b")], |row| epoch(row) == 2 && held(row)).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(Host::LEASE) + Duration::from_secs(2), "{took:?}");
    assert!(!owner(&row).is_empty());
}

#[tokio::test]
async fn an_answer_that_is_lost_does_not_lose_the_lease() {
    let scene = Scene::new();
    let mut heart = scene.heart("a");
    scene.beat(&mut [&mut heart], held).await;
    let claim = scene.row(scene.host).await.and_then(|row| row.lease).map(claim_of).expect("it is held");
    let (passed, _) = heart.pass(&scene.store, claim.clone()).await.expect("it is held");
    // As if the answer had not come.
    heart.attempt = Some((claim.owner.clone(), passed.owner.clone()));
    let (again, _) = heart.pass(&scene.store, claim).await.expect("it is still held");
    assert_eq!(again, passed);
}

#[tokio::test]
async fn a_host_that_is_gone_is_adopted() {
    let scene = Scene::new();
    let mut lost = scene.heart("a");
    scene.beat(&mut [&mut lost], held).await;
    std::fs::create_dir(scene.path("new")).expect("a folder can be made");
    let mut interim = scene.heart("new");
    let new = interim.host();
    tokio::select! {
        _ = interim.run(&scene.store) => panic!("it runs"),
        () = async { while scene.row(new).await.is_none_or(|row| !held(&row)) { sleep(PAUSE / 100).await } } => {}
    }
    let online = interim.adopt(&scene.store, scene.host).await;
    assert!(matches!(online, Err(Trouble::Refused { why: Refusal::NotHeld { .. }, .. })), "{online:?}");
    let unknown = interim.adopt(&scene.store, HostId::new()).await;
    assert!(matches!(unknown, Err(Trouble::Refused { why: Refusal::Missing, .. })), "{unknown:?}");
    assert!(matches!(interim.adopt(&scene.store, new).await, Err(Trouble::Fault(_))), "that is this host itself");

    lost.farewell(&scene.store).await;
    interim.adopt(&scene.store, scene.host).await.expect("it is gone");
    // What the record says is written by the store of that host, which this is not.
    let old = scene.row(new).await.and_then(|row| row.lease).expect("it was held");
    assert_eq!(old.left, 0, "it is not there any more under its old id");
    let mut adopted = scene.heart("new");
    assert_eq!(adopted.host(), scene.host);
    scene.beat(&mut [&mut adopted], held).await;
    tokio::select! {
        _ = adopted.run(&scene.store) => panic!("it runs"),
        () = async { while scene.row(new).await.is_some() { sleep(PAUSE / 100).await } } => {}
    }
    assert_eq!(scene.heart("new").identity.before, None, "nothing is left to do");
}

#[tokio::test]
async fn an_interim_record_that_somebody_holds_stays() {
    let scene = Scene::new();
    let mut heart = scene.heart("a");
    scene.beat(&mut [&mut heart], held).await;
    let other = HostId::new();
    scene.write(Write::Insert { kind: Kind::Host, id: other.to_string(), body: b"{}".to_vec() }).await;
    let owner = Owner { host: other, name: "host x".into() };
    scene.store.claim(Kind::Host, &other.to_string(), None, owner, 60_000).await.expect("it is free");
    heart.identity.before = Some(other);
    heart.forget_before(&scene.store).await;
    assert!(scene.row(other).await.is_some());
    assert_eq!(heart.identity.before, Some(other), "it is looked at again");
}
