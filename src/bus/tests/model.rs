//! Random requests, one after the other, against the simplest store there could be: a map.

#[allow(dead_code, reason = "only what the cases share is used here")]
mod conformance;

use std::collections::BTreeMap;

use conformance::{Subject, bytes, random};
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::{Answer, Store, Trouble, index};
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Claim, Find, Guard, Key, Refusal, Write};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Addresses have a unique index and another, and hold a number besides.
const KIND: Kind = Kind::Address;

/// Long enough never to run out.
const LEASE: u64 = 3_600_000;

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<Write>),
    Claim { id: String, revision: Option<u64>, owner: String },
    Renew { id: String, claim: Claim },
    Release { id: String, claim: Claim },
    Find(Find),
    Again,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    revision: u64,
    body: Value,
    /// Owner, epoch, and whether it is held.
    lease: Option<(String, u64, bool)>,
}

/// What the store should hold, and the greatest epoch of what it held.
#[derive(Debug, Clone, Default)]
struct Model(BTreeMap<String, Entry>, u64);

impl Model {
    fn write(&mut self, writes: &[Write]) -> Result<Vec<u64>, (u16, Refusal)> {
        let before = self.clone();
        let mut revisions = Vec::new();
        for (number, write) in writes.iter().enumerate() {
            match self.one(write) {
                Ok(revision) => revisions.push(revision),
                Err(why) => {
                    *self = before;
                    return Err((number as u16, why));
                }
            }
        }
        Ok(revisions)
    }

    fn one(&mut self, write: &Write) -> Result<u64, Refusal> {
        match write {
            Write::Insert { id, .. } if self.0.contains_key(id) => Err(Refusal::Exists),
            Write::Insert { id, body, .. } => self.put(id, value(body), None),
            Write::Update { id, guard, body, .. } => {
                let entry = self.guarded(id, guard)?.clone();
                self.put(id, value(body), Some(entry))
            }
            Write::Delete { id, guard, .. } => {
                self.guarded(id, guard)?;
                let gone = self.0.remove(id).and_then(|entry| entry.lease);
                self.1 = self.1.max(gone.map_or(0, |(_, epoch, _)| epoch));
                Ok(0)
            }
            Write::Add { id, field, delta, .. } => {
                let entry = self.0.get(id).ok_or(Refusal::Missing)?.clone();
                let mut body = entry.body.clone();
                body[field] = json!(body[field].as_i64().expect("it is a number") + delta);
                self.put(id, body, Some(entry))
            }
            Write::Check { id, guard, .. } => self.guarded(id, guard).map(|_| 0),
            Write::Unheld { id, .. } => self.unheld(id).map(|_| 0),
        }
    }

    fn put(&mut self, id: &str, body: Value, old: Option<Entry>) -> Result<u64, Refusal> {
        let unique = KIND.index("by_address").expect("the kind has it");
        let place =
            |body: &Value| index::keys(unique, body.as_object().expect("bodies are objects")).expect("plain fields");
        let mine = place(&body);
        let taken = self.0.iter().any(|(other, entry)| other != id && place(&entry.body) == mine);
        if taken && !mine.contains(&Key::Null) {
            return Err(Refusal::Taken { index: unique.name.into() });
        }
        let (revision, lease) = old.map_or((1, None), |old| (old.revision + 1, old.lease));
        self.0.insert(id.into(), Entry { revision, body, lease });
        Ok(revision)
    }

    fn guarded(&self, id: &str, guard: &Guard) -> Result<&Entry, Refusal> {
        let entry = self.0.get(id).ok_or(Refusal::Missing)?;
        if guard.revision.is_some_and(|revision| revision != entry.revision) {
            return Err(Refusal::Stale { revision: entry.revision });
        }
        if guard.claim.as_ref().is_some_and(|claim| !holds(entry, claim)) {
            return Err(Refusal::NotHeld { lease: None });
        }
        Ok(entry)
    }

    fn claim(&mut self, id: &str, revision: Option<u64>, owner: &str) -> Result<u64, Refusal> {
        self.guarded(id, &Guard { revision, claim: None })?;
        self.unheld(id)?;
        let Self(entries, greatest) = self;
        let entry = entries.get_mut(id).ok_or(Refusal::Missing)?;
        let epoch = entry.lease.as_ref().map_or(*greatest, |(_, epoch, _)| *epoch) + 1;
        entry.lease = Some((owner.into(), epoch, true));
        Ok(epoch)
    }

    fn unheld(&self, id: &str) -> Result<(), Refusal> {
        let entry = self.0.get(id).ok_or(Refusal::Missing)?;
        let held = entry.lease.as_ref().is_some_and(|(_, _, held)| *held);
        if held { Err(Refusal::NotHeld { lease: None }) } else { Ok(()) }
    }

    fn keep(&mut self, id: &str, claim: &Claim, held: bool) -> Result<u64, Refusal> {
        self.guarded(id, &Guard { revision: None, claim: Some(claim.clone()) })?;
        let lease = self.0.get_mut(id).and_then(|entry| entry.lease.as_mut()).expect("it is held");
        lease.2 = held;
        Ok(lease.1)
    }

    fn find(&self, find: &Find) -> Vec<String> {
        let keys = |id: &str, entry: &Entry| match KIND.index(&find.index) {
            None => vec![Key::Text(id.into())],
            Some(index) => index::keys(index, entry.body.as_object().expect("an object")).expect("plain fields"),
        };
        let next = |keys: &[Key]| keys.get(find.equal.len()).cloned();
        let mut placed: Vec<(Vec<Key>, &String)> = self
            .0
            .iter()
            .map(|(id, entry)| (keys(id, entry), id))
            .filter(|(keys, _)| find.index != "by_address" || !keys.contains(&Key::Null))
            .filter(|(keys, _)| keys.starts_with(&find.equal))
            .filter(|(keys, _)| {
                find.from.is_none() || matches!(next(keys), Some(Key::Text(_))) && next(keys) >= find.from
            })
            .filter(|(keys, _)| find.to.is_none() || matches!(next(keys), Some(Key::Text(_))) && next(keys) < find.to)
            .collect();
        placed.sort();
        if find.descending {
            placed.reverse();
        }
        placed.into_iter().map(|(_, id)| id.clone()).collect()
    }
}

fn holds(entry: &Entry, claim: &Claim) -> bool {
    entry.lease == Some((claim.owner.clone(), claim.epoch, true))
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("it was made from a value")
}

fn id() -> impl Strategy<Value = String> {
    (0..5u8).prop_map(|n| format!("r{n}"))
}

fn word() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 6 => "[ab]".prop_map(Value::from)]
}

fn claim() -> impl Strategy<Value = Claim> {
    ("[xy]", 1..4u64).prop_map(|(owner, epoch)| Claim { owner, epoch })
}

fn guard() -> impl Strategy<Value = Guard> {
    (prop::option::weighted(0.3, 1..5u64), prop::option::weighted(0.3, claim()))
        .prop_map(|(revision, claim)| Guard { revision, claim })
}

fn record() -> impl Strategy<Value = Vec<u8>> {
    (word(), word(), "[uv]", -3..4i64).prop_map(|(server, address, user, n)| {
        bytes(&json!({ "server": server, "address": address, "user": user, "n": n }))
    })
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => (id(), record()).prop_map(|(id, body)| Write::Insert { kind: KIND, id, body }),
        4 => (id(), guard(), record()).prop_map(|(id, guard, body)| Write::Update { kind: KIND, id, guard, body }),
        2 => (id(), guard()).prop_map(|(id, guard)| Write::Delete { kind: KIND, id, guard }),
        2 => (id(), -5..5i64).prop_map(|(id, delta)| Write::Add { kind: KIND, id, field: "n".into(), delta }),
        1 => (id(), guard()).prop_map(|(id, guard)| Write::Check { kind: KIND, id, guard }),
        1 => id().prop_map(|id| Write::Unheld { kind: KIND, id }),
    ]
}

fn find() -> impl Strategy<Value = Find> {
    let bound = || prop::option::weighted(0.3, "[ab]".prop_map(Key::Text));
    let index = prop_oneof![Just(("", 0)), Just(("by_user", 0)), Just(("by_address", 0)), Just(("by_address", 1))];
    (index, "[ab]", bound(), bound(), any::<bool>(), 1..5u16).prop_map(
        |((index, equal), word, from, to, descending, limit)| {
            let equal = vec![Key::Text(word); equal];
            Find { kind: KIND, index: index.into(), equal, from, to, after: None, descending, limit }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(write(), 1..5).prop_map(Step::Write),
        2 => (id(), prop::option::weighted(0.3, 1..5u64), "[xy]")
            .prop_map(|(id, revision, owner)| Step::Claim { id, revision, owner }),
        1 => (id(), claim()).prop_map(|(id, claim)| Step::Renew { id, claim }),
        1 => (id(), claim()).prop_map(|(id, claim)| Step::Release { id, claim }),
        3 => find().prop_map(Step::Find),
        1 => Just(Step::Again),
    ]
}

/// What came of a request, without what a lease says, which the end compares.
fn plain<T>(answer: Answer<T>) -> Result<T, (u16, Refusal)> {
    match answer {
        Ok(value) => Ok(value),
        Err(Trouble::Refused { write, why: Refusal::NotHeld { .. } }) => Err((write, Refusal::NotHeld { lease: None })),
        Err(Trouble::Refused { write, why }) => Err((write, why)),
        Err(trouble) => panic!("the store works: {trouble:?}"),
    }
}

async fn play<S: Store>(subject: &Subject<S>, steps: Vec<Step>) {
    let mut model = Model::default();
    let mut last: Option<(u128, Vec<Write>, Vec<u64>)> = None;
    let Subject { store, host } = subject;
    for step in steps {
        match step {
            Step::Write(writes) => {
                let number = random();
                let done = plain(store.write(number, writes.clone()).await);
                assert_eq!(done, model.write(&writes), "{writes:?}");
                last = done.ok().map(|revisions| (number, writes, revisions)).or(last);
            }
            Step::Again => {
                if let Some((number, writes, revisions)) = &last {
                    assert_eq!(store.write(*number, writes.clone()).await.as_ref(), Ok(revisions));
                }
            }
            Step::Claim { id, revision, owner } => {
                let done = plain(store.claim(KIND, &id, revision, subject.owner(&owner), LEASE).await);
                let expected = model.claim(&id, revision, &owner).map_err(|why| (0, why));
                assert_eq!(done.map(|row| row.lease.expect("it is held").epoch), expected);
            }
            Step::Renew { id, claim } => {
                let done = plain(store.renew(KIND, &id, *host, claim.clone(), LEASE).await);
                let expected = model.keep(&id, &claim, true).map_err(|why| (0, why));
                assert_eq!(done.map(|row| row.lease.expect("it is held").epoch), expected);
            }
            Step::Release { id, claim } => {
                let done = plain(store.release(KIND, &id, *host, claim.clone()).await);
                assert_eq!(done, model.keep(&id, &claim, false).map(drop).map_err(|why| (0, why)));
            }
            Step::Find(mut find) => {
                let expected = model.find(&find);
                assert_eq!(store.count(find.clone()).await, Ok(expected.len() as u64), "{find:?}");
                let mut ids = Vec::new();
                loop {
                    let found = store.find(find.clone()).await.expect("the store works");
                    ids.extend(found.rows.into_iter().map(|row| row.id));
                    find.after = found.next;
                    if find.after.is_none() {
                        break;
                    }
                }
                assert_eq!(ids, expected, "{find:?}");
            }
        }
    }
    for n in 0..5 {
        let id = format!("r{n}");
        let row = subject.get(KIND, &id).await;
        let seen = row.map(|row| Entry {
            revision: row.revision,
            body: value(&row.body),
            lease: row.lease.map(|lease| (lease.owner, lease.epoch, lease.left > 0)),
        });
        assert_eq!(seen.as_ref(), model.0.get(&id), "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn the_embedded_store_is_a_map(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        runtime.block_on(async {
            let folder = tempfile::tempdir().expect("a folder can be made");
            let host = HostId::new();
            let store = Embedded::open(&folder.path().join("store.sqlite"), host).expect("the store opens");
            play(&Subject { store, host }, steps).await;
        });
    }
}
