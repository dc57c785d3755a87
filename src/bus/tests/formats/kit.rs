//! The two releases, and the databases that they are tried on.

use std::path::Path;
use std::sync::Arc;

use culvert_bus::cluster;
use culvert_bus::format::{Fields, Release, Step};
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::mongo::Mongo;
use culvert_bus::store::{Store, Versioned, write_id};
use culvert_model::record::ClusterState;
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Find, Guard, Row, Write};
use serde_json::{Value, json};

/// The release before.
pub const ONE: Release = Release { format: 1, version: "1.0.0", steps: &[], check: |_, _| None };

/// The release after it: users have a `mail`, no `email`; a log entry has a `topic` beside the `message` that it stood in;
/// an organisation must have a `quota`.
pub const TWO: Release = Release { format: 2, version: "2.0.0", steps: STEPS, check: |_, _| None };

const STEPS: &[Step] = &[
    Step {
        kind: Kind::User,
        format: 2,
        up: |it| renamed(it, "email", "mail"),
        down: |it| renamed(it, "mail", "email"),
    },
    Step { kind: Kind::Log, format: 2, up: split, down: joined },
    // The older release leaves it in place.
    Step { kind: Kind::Organization, format: 2, up: with_quota, down: |it| it },
];

fn renamed(mut fields: Fields, from: &str, to: &str) -> Fields {
    if let Some(value) = fields.remove(from) {
        fields.insert(to.into(), value);
    }
    fields
}

fn split(mut fields: Fields) -> Fields {
    if let Some(Value::String(text)) = fields.get("message").cloned() {
        let (topic, message) = text.split_once(": ").unwrap_or(("", &text));
        fields.insert("topic".into(), topic.into());
        fields.insert("message".into(), message.into());
    }
    fields
}

fn joined(mut fields: Fields) -> Fields {
    let topic = fields.remove("topic");
    if let (Some(Value::String(topic)), Some(Value::String(message))) = (topic, fields.get("message").cloned())
        && !topic.is_empty()
    {
        fields.insert("message".into(), format!("{topic}: {message}").into());
    }
    fields
}

fn with_quota(mut fields: Fields) -> Fields {
    fields.entry("quota").or_insert(json!(10));
    fields
}

/// A store as a release sees it.
pub fn seen<S: Store>(store: &Arc<S>, release: Release) -> Versioned<S> {
    Versioned::new(store.clone(), release)
}

/// A database of the format before, in this file.
pub async fn file(path: &Path) -> Arc<Embedded> {
    let store = Arc::new(Embedded::open(path, HostId::new()).expect("it opens"));
    make(&*store).await;
    store
}

/// The same, in a replica set.
pub async fn set(uri: &str) -> Arc<Mongo> {
    let store = Arc::new(Mongo::connect(uri, HostId::new()).await.expect("it can be used"));
    make(&*store).await;
    store
}

async fn make<S: Store>(store: &S) {
    cluster::make(store, ClusterState::Ready, None, 1).await.expect("the store answers");
}

pub async fn insert<S: Store>(store: &S, kind: Kind, id: &str, body: &Value) {
    let insert = Write::Insert { kind, id: id.into(), body: body.to_string().into_bytes() };
    store.write(write_id(), vec![insert]).await.expect("it is not there");
}

pub async fn replace<S: Store>(store: &S, kind: Kind, id: &str, body: &Value) {
    let guard = Guard::default();
    let update = Write::Update { kind, id: id.into(), guard, body: body.to_string().into_bytes() };
    store.write(write_id(), vec![update]).await.expect("it is there");
}

pub async fn read<S: Store>(store: &S, kind: Kind, id: &str) -> Value {
    let row = store.get(kind, id).await.expect("the store answers").expect("it is there");
    serde_json::from_slice(&row.body).expect("it is JSON")
}

/// A host that runs a release.
pub async fn host<S: Store>(store: &S, name: &str, release: &Release) -> HostId {
    let host = HostId::new();
    let body = json!({ "id": host, "name": name, "version": release.version, "format": release.format });
    insert(store, Kind::Host, &host.to_string(), &body).await;
    host
}

/// All records as they are stored, but for the database's own.
pub async fn dump<S: Store>(store: &S) -> Vec<(Kind, Row)> {
    let mut all = Vec::new();
    for kind in Kind::ALL.iter().copied().filter(|kind| *kind != Kind::Cluster) {
        let mut find = Find::all(kind);
        loop {
            let found = store.find(find.clone()).await.expect("the store answers");
            all.extend(found.rows.into_iter().map(|row| (kind, row)));
            find.after = found.next;
            if find.after.is_none() {
                break;
            }
        }
    }
    all
}
