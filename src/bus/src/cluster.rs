//! The database as a whole: its one record says whether it may be used, and in which format its records are.
//!
//! Only the buses touch this record, past the role table. Its fields that a release does not know stay as they are.

use culvert_model::record::{Cluster, ClusterState};
use culvert_model::{FORMAT, HostId, Kind, Millis, RELEASES, Record};
use culvert_wire::bus::{Fault, Find, Guard, Refusal, Write};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::store::{Answer, Store, Trouble, write_id};

/// How often a record that others change at the same time is tried.
const TRIES: usize = 20;

/// Why a bus must not serve from a database. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unusable {
    /// A host moves its records in.
    #[error(
        "{0} has been moving its records into this database for {1}: wait until `culvert join` ends there; if it was broken off, \
         run it there again"
    )]
    Importing(String, String),
    /// Its only host takes the records along.
    #[error(
        "{0} has been taking this database's records along for {1}: wait until `culvert leave` ends there; if it was broken off, \
         run it there again"
    )]
    Leaving(String, String),
    /// They were taken along.
    #[error(
        "{0} took this database's records along, {1} ago, and they live on there: join another database, or empty this one"
    )]
    Left(String, String),
    /// This release is too old for it.
    #[error(
        "the database is in use by a newer version of Culvert (its format is {format}, this version knows {FORMAT}): \
         install version {version} or later on this host; nothing was changed"
    )]
    TooOld {
        /// The database's format.
        format: u32,
        /// The version that it needs.
        version: String,
    },
    /// This release is too new for it.
    #[error(
        "the database is of an older version of Culvert (its format is {format}, this version needs {least} at least): \
         install version {version} on all hosts, wait until it has brought the records up to date, then install this \
         one; nothing was changed"
    )]
    TooNew {
        /// The database's format.
        format: u32,
        /// The least that this release works on.
        least: u32,
        /// The version that is to be installed first.
        version: String,
    },
    /// The record is damaged.
    #[error("the database's own record (cluster/cluster) is damaged: {0}; run `culvert store damaged`")]
    Damaged(String),
    /// The store does not answer.
    #[error("the database cannot be asked whether it may be used; it is asked again")]
    Away,
}

impl From<Trouble> for Unusable {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fault(Fault::Invalid(why)) => Self::Damaged(why),
            Trouble::Damaged(damage) => Self::Damaged(damage.why),
            _ => Self::Away,
        }
    }
}

/// The record as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it says.
    pub cluster: Cluster,
    /// How often it was written.
    pub revision: u64,
    body: Map<String, Value>,
}

/// Reads the record, if there is one.
///
/// # Errors
///
/// It is damaged, or the store does not answer.
pub async fn read<S: Store>(store: &S) -> Result<Option<Known>, Unusable> {
    let Some(row) = store.get(Kind::Cluster, Cluster::ID).await? else { return Ok(None) };
    // What the parser says may quote a value; there is no secret in this record.
    let damaged = |error: serde_json::Error| Unusable::Damaged(error.to_string());
    let body: Map<String, Value> = serde_json::from_slice(&row.body).map_err(damaged)?;
    let cluster = serde_json::from_slice(&row.body).map_err(damaged)?;
    Ok(Some(Known { cluster, revision: row.revision, body }))
}

/// Reads the record, and makes it if there is none; whether this release may serve from this database.
///
/// # Errors
///
/// It may not: says why, and what to do.
pub async fn ensure<S: Store>(store: &S) -> Result<Cluster, Unusable> {
    for _ in 0..TRIES {
        if let Some(known) = read(store).await? {
            judge(&known.cluster, FORMAT, store.now().await?)?;
            return Ok(known.cluster);
        }
        // Databases had no such record before there was more than one format.
        let format = if is_empty(store).await? { FORMAT } else { 1 };
        make(store, ClusterState::Ready, None, format).await?;
    }
    Err(Unusable::Away)
}

/// Makes the record, unless it is there: whether this one is what stands there now.
///
/// # Errors
///
/// As the store's.
pub async fn make<S: Store>(store: &S, state: ClusterState, by: Option<HostId>, format: u32) -> Answer<bool> {
    let version = version_of(format).to_owned();
    let since = store.now().await?;
    let id = Cluster::ID.into();
    insert(store, &Cluster { id, state, by, transfer: None, since, format, version, migration: None }).await
}

/// Makes the record as it is given, unless there is one: whether this one is what stands there now.
///
/// # Errors
///
/// As the store's.
pub async fn insert<S: Store>(store: &S, cluster: &Cluster) -> Answer<bool> {
    let body = serde_json::to_vec(cluster).expect("a record has a form in JSON");
    let insert = Write::Insert { kind: Kind::Cluster, id: cluster.id(), body };
    match store.write(write_id(), vec![insert]).await {
        Ok(_) => Ok(true),
        Err(Trouble::Refused { why: Refusal::Exists, .. }) => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

/// Replaces what the record says, if nobody has written it since it was read: whether that was done. Fields that this
/// release does not know stay.
///
/// # Errors
///
/// As the store's.
pub async fn change<S: Store>(store: &S, known: &Known, cluster: &Cluster) -> Answer<bool> {
    let mut body = known.body.clone();
    if let Value::Object(fields) = serde_json::to_value(cluster).expect("a record has a form in JSON") {
        body.extend(fields);
    }
    let body = serde_json::to_vec(&body).expect("an object has a form in JSON");
    let guard = Guard { revision: Some(known.revision), claim: None };
    let update = Write::Update { kind: Kind::Cluster, id: Cluster::ID.into(), guard, body };
    match store.write(write_id(), vec![update]).await {
        Ok(_) => Ok(true),
        Err(Trouble::Refused { .. }) => Ok(false),
        Err(trouble) => Err(trouble),
    }
}

/// Whether a release of this format may serve from the database now.
///
/// # Errors
///
/// It may not: says why, and what to do.
pub fn judge(cluster: &Cluster, format: u32, now: Millis) -> Result<(), Unusable> {
    let who = cluster.by.map_or_else(|| "a host".to_owned(), |host| format!("the host {host}"));
    let since = span(now.saturating_sub(cluster.since));
    match cluster.state {
        ClusterState::Ready => {}
        ClusterState::Importing => return Err(Unusable::Importing(who, since)),
        ClusterState::Leaving => return Err(Unusable::Leaving(who, since)),
        ClusterState::Left => return Err(Unusable::Left(who, since)),
    }
    let least = format.saturating_sub(1);
    if cluster.format > format {
        let version = if cluster.version.is_empty() { "with that format".into() } else { cluster.version.clone() };
        return Err(Unusable::TooOld { format: cluster.format, version });
    }
    if cluster.format < least {
        let version = version_of(cluster.format + 1).to_owned();
        return Err(Unusable::TooNew { format: cluster.format, least, version });
    }
    Ok(())
}

/// Whether the database holds no record of any kind.
///
/// # Errors
///
/// As the store's.
pub async fn is_empty<S: Store>(store: &S) -> Answer<bool> {
    for kind in Kind::ALL.iter().copied() {
        let found = store.find(Find { limit: 1, ..Find::all(kind) }).await?;
        if !found.rows.is_empty() || !found.damaged.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first release that knew a format, as far as this one can tell.
#[must_use]
pub fn version_of(format: u32) -> &'static str {
    let place = (format as usize).saturating_sub(1);
    RELEASES.get(place).copied().unwrap_or(env!("CARGO_PKG_VERSION"))
}

fn span(length: Millis) -> String {
    let minutes = length / 60_000;
    match minutes {
        0 => "less than a minute".into(),
        1 => "a minute".into(),
        2..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::embedded::Embedded;

    fn open(folder: &tempfile::TempDir) -> Embedded {
        Embedded::open(&folder.path().join("store.sqlite"), HostId::new()).expect("the store opens")
    }

    async fn put(store: &Embedded, kind: Kind, id: &str, body: Value) {
        let insert = Write::Insert { kind, id: id.into(), body: body.to_string().into_bytes() };
        store.write(write_id(), vec![insert]).await.expect("it is not there");
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder can be made")
    }

    #[tokio::test]
    async fn it_is_made_once() {
        let folder = folder();
        let store = open(&folder);
        let made = ensure(&store).await.expect("it may be used");
        assert_eq!((made.state, made.format), (ClusterState::Ready, FORMAT));
        assert_eq!(ensure(&store).await, Ok(made.clone()));
        assert_eq!(
            read(&store).await.expect("it is there").map(|known| (known.cluster, known.revision)),
            Some((made, 1))
        );
        assert_eq!(make(&store, ClusterState::Importing, None, 1).await, Ok(false), "it is there already");
    }

    #[tokio::test]
    async fn a_database_without_it_is_of_the_first_format() {
        let folder = folder();
        let store = open(&folder);
        put(&store, Kind::Log, "l", json!({ "timestamp": 1 })).await;
        assert_eq!(ensure(&store).await.map(|cluster| cluster.format), Ok(1));
    }

    #[tokio::test]
    async fn a_change_keeps_what_it_does_not_know() {
        let folder = folder();
        let store = open(&folder);
        let body = json!({ "id": "cluster", "state": "importing", "by": null, "since": 1, "format": 1, "more": [1] });
        put(&store, Kind::Cluster, Cluster::ID, body).await;
        assert!(matches!(ensure(&store).await, Err(Unusable::Importing(..))));
        let known = read(&store).await.expect("it is whole").expect("it is there");
        let ready = Cluster { state: ClusterState::Ready, ..known.cluster.clone() };
        assert_eq!(change(&store, &known, &ready).await, Ok(true));
        assert_eq!(change(&store, &known, &ready).await, Ok(false), "somebody was faster");
        let known = read(&store).await.expect("it is whole").expect("it is there");
        assert_eq!((known.cluster.state, &known.body["more"]), (ClusterState::Ready, &json!([1])));
    }

    #[tokio::test]
    async fn a_damaged_one_is_named() {
        let folder = folder();
        let store = open(&folder);
        put(&store, Kind::Cluster, Cluster::ID, json!({ "format": "x" })).await;
        let error = ensure(&store).await.expect_err("it is damaged").to_string();
        assert!(error.contains("cluster/cluster") && error.contains("culvert store damaged"), "{error}");
    }

    #[test]
    fn whoever_may_not_serve_is_told_why() {
        let host = HostId::new();
        let of = |state, format| Cluster {
            id: Cluster::ID.into(),
            state,
            by: Some(host),
            transfer: None,
            since: 0,
            format,
            version: "7.7.7".into(),
            migration: None,
        };
        let said = |cluster: Cluster, format| judge(&cluster, format, 180_000).expect_err("it may not").to_string();
        for (state, command) in [(ClusterState::Importing, "culvert join"), (ClusterState::Leaving, "culvert leave")] {
            let said = said(of(state, 1), 1);
            assert!(said.contains(&host.to_string()) && said.contains("3 minutes") && said.contains(command), "{said}");
        }
        assert!(said(of(ClusterState::Left, 1), 1).contains("join another database"));
        assert_eq!(judge(&of(ClusterState::Ready, 4), 4, 0), Ok(()));
        assert_eq!(judge(&of(ClusterState::Ready, 4), 5, 0), Ok(()), "its release may come one by one");
        assert!(said(of(ClusterState::Ready, 4), 3).contains("install version 7.7.7 or later"));
        let too_new = said(of(ClusterState::Ready, 4), 6);
        assert!(too_new.contains("format is 4") && too_new.contains("needs 5"), "{too_new}");
    }

    #[test]
    fn every_format_has_its_release() {
        assert_eq!(RELEASES.len(), FORMAT as usize);
    }
}
