//! What a database holds already.

use culvert_model::record::{Cluster, ClusterState};
use culvert_model::{Kind, Millis};
use culvert_wire::bus::Find;

use super::judge::many;
use crate::store::mongo::base::Base;
use crate::store::mongo::connect::{self, ConnectError, Step};
use crate::store::mongo::schema;
use crate::store::{Answer, Trouble};

/// Looks, without making anything.
pub async fn look(base: &Base) -> Result<String, ConnectError> {
    let database = base.database();
    let names = schema::look(database).await.map_err(|error| connect::of_schema(&error, database.name()))?;
    for name in &names {
        let clear = schema::find_obstacle(database, name).await;
        clear.map_err(|error| connect::of_schema(&error, database.name()))?;
    }
    let strangers = names.iter().filter(|name| !schema::is_ours(name) && !name.starts_with("system.")).count();
    let beside = match strangers {
        0 => String::new(),
        count => format!("; beside {} of others, which Culvert leaves alone", many(count, "collection", "collections")),
    };
    let there = |kind: Kind| names.iter().any(|name| name == kind.name());
    let hosts = if there(Kind::Host) { answered(hosts(base).await)? } else { (0, 0) };
    let cluster = if there(Kind::Cluster) { cluster(base).await? } else { None };
    let now = answered(base.now().await)?;
    Ok(describe(database.name(), cluster.as_ref(), hosts, now) + &beside)
}

/// How many hosts there are, and how many of them are there now.
async fn hosts(base: &Base) -> Answer<(usize, usize)> {
    let found = base.find(&Find::all(Kind::Host)).await?;
    let there = found.rows.iter().filter(|row| row.lease.as_ref().is_some_and(|lease| lease.left > 0)).count();
    Ok((found.rows.len(), there))
}

async fn cluster(base: &Base) -> Result<Option<Cluster>, ConnectError> {
    let Some(row) = answered(base.get(Kind::Cluster, Cluster::ID).await)? else { return Ok(None) };
    serde_json::from_slice(&row.body).map(Some).map_err(|error| {
        let why = format!("the cluster's record cannot be read ({error})");
        ConnectError::new(Step::Content, why, "check that this is no older version of Culvert than the cluster's")
    })
}

fn answered<T>(answer: Answer<T>) -> Result<T, ConnectError> {
    answer.map_err(|trouble| match trouble {
        Trouble::Fault(culvert_wire::bus::Fault::Invalid(why)) => {
            ConnectError::new(Step::Content, why, "restore the record from a backup, or remove it")
        }
        _ => connect::late("say what is in it"),
    })
}

fn describe(database: &str, cluster: Option<&Cluster>, (hosts, there): (usize, usize), now: Millis) -> String {
    let state = cluster.map(|cluster| (cluster.state, cluster));
    let who = |cluster: &Cluster| {
        let seconds = now.saturating_sub(cluster.since) / 1000;
        let host = cluster.by.map_or("a host".into(), |host| format!("the host {host}"));
        format!("{host}, for {seconds} s")
    };
    match state {
        None if hosts == 0 => format!("{database} holds no cluster yet: a host that joins makes one there"),
        None | Some((ClusterState::Ready, _)) => {
            format!("{database} holds a cluster of {}, {there} of which online", many(hosts, "host", "hosts"))
        }
        Some((ClusterState::Importing, cluster)) => {
            format!("{database} is not ready: records are being moved in by {}", who(cluster))
        }
        Some((ClusterState::Leaving, cluster)) => {
            format!("{database} is being left: its records are taken along by {}", who(cluster))
        }
        Some((ClusterState::Left, _)) => format!("{database} was left: its records were taken along"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_words() {
        let by = |state| Cluster {
            id: Cluster::ID.into(),
            state,
            by: None,
            transfer: None,
            since: 1000,
            format: 1,
            version: String::new(),
            migration: None,
        };
        let said = |state, hosts| describe("culvert", Some(&by(state)), hosts, 31_000);
        assert!(describe("culvert", None, (0, 0), 0).contains("no cluster yet"));
        assert!(said(ClusterState::Ready, (3, 2)).contains("3 hosts, 2 of which online"));
        assert!(said(ClusterState::Importing, (1, 1)).ends_with("moved in by a host, for 30 s"));
        assert!(said(ClusterState::Leaving, (1, 1)).contains("taken along by a host"));
        assert!(said(ClusterState::Left, (0, 0)).contains("was left"));
    }
}
