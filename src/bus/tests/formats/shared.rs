//! Hosts of both releases write the same records in turns.

use std::collections::BTreeMap;
use std::sync::Arc;

use culvert_bus::cluster::{self, Unusable};
use culvert_bus::format::{Release, raise};
use culvert_bus::store::{Store, Versioned};
use culvert_model::record::Cluster;
use culvert_model::{Kind, Record};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::kit::{ONE, TWO, file, host, insert, read, replace, seen, set};
use super::mongod::ReplicaSet;

/// What a process of either release does: reads a record, changes one field that its release knows, writes what it knows.
#[derive(Debug, Clone)]
struct Edit {
    newer: bool,
    field: usize,
    value: String,
}

/// The fields that a process knows: in its own release's words, in the order of what they mean.
struct Shape {
    kind: Kind,
    id: &'static str,
    older: &'static [&'static str],
    newer: &'static [&'static str],
}

const SHAPES: [Shape; 3] = [
    Shape {
        kind: Kind::User,
        id: "u",
        older: &["id", "organization", "name", "email"],
        newer: &["id", "organization", "name", "mail"],
    },
    Shape { kind: Kind::Log, id: "l", older: &["id", "message"], newer: &["id", "topic", "message"] },
    Shape { kind: Kind::Organization, id: "o", older: &["id", "name"], newer: &["id", "name", "quota"] },
];

/// The record as a process of the release before sees it, from what the newer one would.
fn as_older(shape: &Shape, newer: &BTreeMap<&str, String>) -> Value {
    let mut fields: serde_json::Map<String, Value> = serde_json::Map::new();
    for (older, name) in shape.older.iter().zip(shape.newer.iter().filter(|name| **name != "topic")) {
        let value = &newer[name];
        let value = match newer.get("topic") {
            Some(topic) if *older == "message" && !topic.is_empty() => format!("{topic}: {value}"),
            _ => value.clone(),
        };
        fields.insert((*older).into(), value.into());
    }
    fields.into()
}

fn as_newer(newer: &BTreeMap<&str, String>) -> Value {
    json!(newer)
}

async fn play<S: Store>(one: &Versioned<S>, two: &Versioned<S>, shape: &Shape, edits: &[Edit]) {
    let mut model: BTreeMap<&str, String> = shape.newer.iter().map(|name| (*name, format!("first{name}"))).collect();
    let _ = two.repair(shape.kind, shape.id, None).await;
    insert(two, shape.kind, shape.id, &as_newer(&model)).await;
    for edit in edits {
        let known = if edit.newer { shape.newer } else { shape.older };
        // Of the fields behind the id; the topic of a message is the newer release's to change.
        let field = known[1 + edit.field % (known.len() - 1)];
        let store = if edit.newer { two } else { one };
        let mut body = read(store, shape.kind, shape.id).await;
        let fields = body.as_object_mut().expect("it is an object");
        fields.retain(|name, _| known.contains(&name.as_str()));
        if edit.newer {
            model.insert(field, edit.value.clone());
            fields.insert(field.into(), edit.value.clone().into());
        } else {
            let meant = if field == "email" { "mail" } else { field };
            model.insert(meant, edit.value.clone());
            let prefix = model.get("topic").filter(|topic| !topic.is_empty()).map(|topic| format!("{topic}: "));
            let value = format!("{}{}", prefix.filter(|_| field == "message").unwrap_or_default(), edit.value);
            fields.insert(field.into(), value.into());
        }
        replace(store, shape.kind, shape.id, &body).await;
        let (mut older, mut newer) = (read(one, shape.kind, shape.id).await, read(two, shape.kind, shape.id).await);
        for (seen, known) in [(&mut older, shape.older), (&mut newer, shape.newer)] {
            seen.as_object_mut().expect("it is an object").retain(|name, _| known.contains(&name.as_str()));
        }
        if !edit.newer && shape.kind == Kind::Organization {
            // The release before has no place for it, and writes only what it knows.
            assert_eq!(newer["quota"], json!(10));
            model.insert("quota", "10".into());
            newer["quota"] = json!("10");
        } else if newer["quota"] == json!(10) {
            newer["quota"] = json!("10");
        }
        assert_eq!(older, as_older(shape, &model), "{edit:?}");
        assert_eq!(newer, as_newer(&model), "{edit:?}");
    }
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (any::<bool>(), any::<usize>(), "[a-z]{1,6}");
    prop::collection::vec(edit.prop_map(|(newer, field, value)| Edit { newer, field, value }), 1..12)
}

fn neither_loses_the_others_fields<S: Store>(runtime: &Runtime, store: &Arc<S>, cases: u32) {
    let (one, two) = (seen(store, ONE), seen(store, TWO));
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    for shape in &SHAPES {
        let played = runner.run(&edits(), |edits| {
            runtime.block_on(play(&one, &two, shape, &edits));
            Ok(())
        });
        played.unwrap_or_else(|error| panic!("{}: {error}", shape.kind.name()));
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn neither_release_loses_the_others_fields_in_a_file() {
    let (runtime, folder) = (runtime(), tempfile::tempdir().expect("a folder can be made"));
    let store = runtime.block_on(file(&folder.path().join("store.sqlite")));
    neither_loses_the_others_fields(&runtime, &store, 60);
}

#[test]
fn neither_release_loses_the_others_fields_in_a_replica_set() {
    let (runtime, mongod) = (runtime(), ReplicaSet::start(1).expect("a replica set"));
    let store = runtime.block_on(set(&mongod.uri("culvert")));
    neither_loses_the_others_fields(&runtime, &store, 8);
}

/// As long as the format is the older one, the newer release can be taken back.
#[tokio::test]
async fn the_release_can_be_taken_back_until_the_format_is_raised() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = file(&folder.path().join("store.sqlite")).await;
    insert(&seen(&store, TWO), Kind::User, "u", &json!({ "id": "u", "mail": "a@b" })).await;
    // Without any bus that translates: as the release before stored it.
    assert_eq!(read(&*store, Kind::User, "u").await, json!({ "id": "u", "email": "a@b" }));
    host(&*store, "a", &ONE).await;
    assert_eq!(raise(&*store, &TWO, |_| true).await, Ok(false), "a host does not know it");
    assert_eq!(read(&seen(&store, ONE), Kind::User, "u").await["email"], "a@b");
}

/// A bus that serves while others raise the format beyond it ends, and says what to install.
#[tokio::test]
async fn whoever_does_not_know_the_format_ends() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let store = file(&folder.path().join("store.sqlite")).await;
    let (one, two) = (seen(&store, ONE), seen(&store, TWO));
    let raised = async {
        assert_eq!(raise(&*store, &TWO, |_| true).await, Ok(true));
        std::future::pending::<()>().await;
    };
    let unusable = tokio::select! {
        unusable = one.follow() => unusable,
        _ = two.follow() => panic!("it knows the format"),
        () = raised => unreachable!("it never ends"),
    };
    assert_eq!(unusable, Unusable::TooOld { format: 2, version: "2.0.0".into() });
    // From now on, the newer one writes in its own shape.
    insert(&two, Kind::User, "u", &json!({ "id": "u", "mail": "a@b" })).await;
    let heard = async {
        loop {
            replace(&two, Kind::User, "u", &json!({ "id": "u", "mail": "a@b" })).await;
            // Until it has heard of it, it writes in the older one, which is no harm.
            match read(&*store, Kind::User, "u").await {
                stored if stored["v"] == 2 => return stored,
                stored => assert_eq!(stored, json!({ "id": "u", "email": "a@b" })),
            }
        }
    };
    let stored = tokio::select! {
        _ = two.follow() => panic!("it knows the format"),
        stored = tokio::time::timeout(std::time::Duration::from_secs(20), heard) => stored.expect("it hears of it"),
    };
    assert_eq!(stored, json!({ "id": "u", "mail": "a@b", "v": 2 }));
    let known = cluster::read(&*store).await.expect("it is whole").expect("it is there");
    for (release, refused) in
        [(ONE, true), (TWO, false), (Release { format: 3, ..TWO }, false), (Release { format: 4, ..TWO }, true)]
    {
        assert_eq!(cluster::judge(&known.cluster, release.format, 0).is_err(), refused, "{}", release.format);
    }
    assert_eq!(Cluster::KIND, Kind::Cluster);
}
