//! Records that somebody damaged in the database, of every kind and in every way: nothing crashes, they are left out of
//! pages, named when they are asked for, and can be removed and replaced. Needs mongod: `make setup`.

#[path = "damaged/embedded.rs"]
mod embedded;
#[path = "damaged/mongo.rs"]
mod mongo;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;
#[path = "../../../tests/kit/samples.rs"]
#[allow(dead_code, reason = "the kit serves other suites, too")]
mod samples;

use culvert_bus::damaged::fault_under;
use culvert_bus::format::Release;
use culvert_bus::store::{Found, Owner, Store, Trouble, Versioned, write_id};
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Find, Guard, Key, Refusal, Write};
use samples::{id, sample};

/// What was done to a record, and whether the store itself sees it. What only the types see is up to whoever reads.
struct Harm {
    name: &'static str,
    seen: bool,
}

/// A store with a good record beside the damaged one, as the bus serves from it.
struct Patient<S> {
    store: Versioned<S>,
    host: HostId,
}

impl<S: Store> Patient<S> {
    fn new(store: S, host: HostId) -> Self {
        Self { store: Versioned::new(std::sync::Arc::new(store), Release::THIS), host }
    }

    /// Makes the record that will be damaged, and one that stays whole.
    async fn make(&self, kind: Kind) {
        for id in [id(&sample(kind)), "whole"] {
            self.write(vec![Write::Insert { kind, id: id.into(), body: body(kind, id) }]).await;
        }
    }

    async fn empty(&self, kind: Kind) {
        for id in [id(&sample(kind)), "whole"] {
            let delete = Write::Delete { kind, id: id.into(), guard: Guard::default() };
            let _ = self.store.write(write_id(), vec![delete]).await;
        }
        // What was told of is in the console's log.
        for row in self.page(Kind::Log, "", Vec::new()).await.rows {
            self.write(vec![Write::Delete { kind: Kind::Log, id: row.id, guard: Guard::default() }]).await;
        }
    }

    async fn write(&self, writes: Vec<Write>) {
        self.store.write(write_id(), writes).await.expect("the store works");
    }

    async fn page(&self, kind: Kind, index: &str, equal: Vec<Key>) -> Found {
        self.store.find(query(kind, index, equal, 1000)).await.expect("pages do not fail")
    }

    /// All that must hold of a record that was damaged.
    async fn examine(&self, kind: Kind, harm: &Harm) {
        let sick = sample(kind);
        let sick = id(&sick);
        let what = format!("{} {}", kind.name(), harm.name);
        println!("{what}");
        self.lists(kind, sick, harm).await;
        match self.store.get(kind, sick).await {
            Err(Trouble::Damaged(damage)) if harm.seen => {
                assert_eq!((damage.kind, damage.id.as_str()), (kind, sick), "{what}");
            }
            // Every setting that is missing has its default.
            Ok(Some(row)) if !harm.seen && row.body == b"{}" && kind == Kind::Settings => {}
            Ok(Some(row)) if !harm.seen => assert!(fault_under(kind, sick, &row.body).is_some(), "{what} is seen"),
            other => panic!("{what}: {other:?}"),
        }
        if harm.seen {
            let log = self.page(Kind::Log, "", Vec::new()).await;
            let told = log.rows.iter().filter(|row| String::from_utf8_lossy(&row.body).contains("is damaged")).count();
            assert_eq!(told, 1, "{what} is in the console's log once");
        }
        self.requests_end(kind, sick).await;
        // A batch beside it works.
        let guard = Guard::default();
        self.write(vec![Write::Update { kind, id: "whole".into(), guard, body: body(kind, "whole") }]).await;
        self.mend(kind, sick, &what).await;
    }

    /// The record that is whole is in every page, and the damaged one is not taken for a good one.
    async fn lists(&self, kind: Kind, sick: &str, harm: &Harm) {
        let whole = |found: &Found| found.rows.iter().any(|row| row.id == "whole");
        let indexes = kind.indexes().iter().map(|index| index.name).chain([""]);
        for index in indexes {
            let found = self.page(kind, index, Vec::new()).await;
            assert!(whole(&found), "{} {} by {index:?}", kind.name(), harm.name);
            if harm.seen {
                assert!(found.rows.iter().all(|row| row.id != sick), "{} {} by {index:?}", kind.name(), harm.name);
            }
            if harm.seen && index.is_empty() {
                assert!(found.damaged.iter().any(|damage| damage.id == sick), "{} {}", kind.name(), harm.name);
            }
            // One by one, none is left out behind a damaged one.
            let mut find = query(kind, index, Vec::new(), 1);
            let mut met = false;
            for _ in 0..100 {
                let found = self.store.find(find.clone()).await.expect("pages do not fail");
                met |= whole(&found);
                find.after = found.next;
                if find.after.is_none() {
                    break;
                }
            }
            assert!(met && find.after.is_none(), "{} {} by {index:?}", kind.name(), harm.name);
            self.store.count(query(kind, index, Vec::new(), 1)).await.expect("counting does not fail");
        }
    }

    /// Whatever is asked of it, an answer comes.
    async fn requests_end(&self, kind: Kind, sick: &str) {
        let owner = Owner { host: self.host, name: "a".into() };
        let _ = self.store.claim(kind, sick, None, owner, 1000).await;
        let guard = Guard { revision: Some(1), claim: None };
        let check = Write::Check { kind, id: sick.into(), guard };
        let _ = self.store.write(write_id(), vec![check]).await;
        let add = Write::Add { kind, id: sick.into(), field: "n".into(), delta: 1 };
        assert!(self.store.write(write_id(), vec![add]).await.is_err());
    }

    /// It can be replaced, and it can be removed, in both ways.
    async fn mend(&self, kind: Kind, sick: &str, what: &str) {
        let good = body(kind, sick);
        assert_eq!(self.store.repair(kind, sick, Some(good.clone())).await, Ok(()), "{what} is replaced");
        let row = self.store.get(kind, sick).await.expect("it is whole").expect("it is there");
        assert_eq!((fault_under(kind, sick, &row.body), row.lease), (None, None), "{what}");
        for index in kind.indexes() {
            let found = self.page(kind, index.name, Vec::new()).await;
            let times = found.rows.iter().filter(|row| row.id == sick).count();
            assert_eq!((times, found.damaged), (1, Vec::new()), "{what} by {}", index.name);
        }
        let guard = Guard { revision: Some(row.revision), claim: None };
        self.write(vec![Write::Update { kind, id: sick.into(), guard, body: good }]).await;
        let gone = self.store.repair(kind, "nobody", None).await;
        assert_eq!(gone, Err(Trouble::Refused { write: 0, why: Refusal::Missing }));
    }

    /// Removed as a process would.
    async fn remove(&self, kind: Kind, harm: &Harm) {
        let sick = sample(kind);
        let sick = id(&sick);
        let delete = Write::Delete { kind, id: sick.into(), guard: Guard::default() };
        assert_eq!(self.store.write(write_id(), vec![delete]).await, Ok(vec![0]), "{} {}", kind.name(), harm.name);
        assert_eq!(self.store.get(kind, sick).await, Ok(None));
        for index in kind.indexes() {
            let found = self.page(kind, index.name, Vec::new()).await;
            assert!(found.rows.iter().all(|row| row.id != sick) && found.damaged.is_empty(), "{}", harm.name);
        }
    }
}

fn query(kind: Kind, index: &str, equal: Vec<Key>, limit: u16) -> Find {
    Find { kind, index: index.into(), equal, from: None, to: None, after: None, descending: false, limit }
}

/// The sample under another id, with what unique indexes are about made its own.
fn body(kind: Kind, id: &str) -> Vec<u8> {
    let mut body = sample(kind);
    if samples::id(&body) != id {
        body["id"] = id.into();
        for field in kind.indexes().iter().filter(|index| index.unique).flat_map(|index| index.fields) {
            body[*field] = format!("of {id}").into();
        }
    }
    body.to_string().into_bytes()
}

#[test]
fn every_kind_has_a_good_sample() {
    for kind in Kind::ALL.iter().copied() {
        let sample = sample(kind);
        assert_eq!(fault_under(kind, id(&sample), sample.to_string().as_bytes()), None, "{}", kind.name());
    }
}
