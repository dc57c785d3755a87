//! Connections of clients whose server does not run where they were.
//!
//! A connection has no lease: `vpn` of its host keeps it in step with OpenVPN. So it is left behind only where that `vpn`
//! is gone, or has forgotten the instance.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use culvert_model::record::{Connection, Host, Instance};
use culvert_model::{HostId, Id};
use culvert_records::{Failure, Query, Stored, Write};

use super::servers::there;
use super::{Done, counted};
use crate::desk::{Desk, TOGETHER, unless_changed};

/// All connections.
pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let removed = of(desk, Query::all()).await?;
    Ok(Done::of(format!("{} removed", counted(removed, "connection"))))
}

/// Only those of a query.
pub async fn of(desk: &Desk<'_>, query: Query) -> Result<u64, Failure> {
    let mut removed = 0;
    let mut pages = desk.bus.pages::<Connection>(query);
    while let Some(page) = pages.next().await? {
        removed += remove(desk, page).await?;
    }
    Ok(removed)
}

/// Removes those that no instance has. What runs is looked at after the connections were read: an instance is there
/// before its connections are.
async fn remove(desk: &Desk<'_>, suspects: Vec<Stored<Connection>>) -> Result<u64, Failure> {
    if suspects.is_empty() {
        return Ok(0);
    }
    let hosts = desk.all::<Host>(Query::all()).await?;
    let there = there(&hosts);
    let every = desk.every::<Instance>().await?;
    // What runs where a damaged instance does not say: on any host that is there.
    let unsure = every.is_none();
    let instances = match every {
        Some(instances) => instances,
        None => desk.all(Query::all()).await?,
    };
    let running = running(&instances, &there);
    let mut left: BTreeMap<(Id, HostId), Vec<Stored<Connection>>> = BTreeMap::new();
    for suspect in suspects {
        let at = (suspect.record.server, suspect.record.host);
        if !(running.contains(&at) || unsure && there.contains(&at.1)) {
            left.entry(at).or_default().push(suspect);
        }
    }
    let mut removed = 0;
    for ((server, host), connections) in left {
        if let Some(grounds) = grounds(desk, server, host, &hosts, &instances).await? {
            removed += desk.remove(&connections, &grounds).await?;
        }
    }
    Ok(removed)
}

/// Which servers run where.
fn running(instances: &[Stored<Instance>], there: &BTreeSet<HostId>) -> HashSet<(Id, HostId)> {
    let running = instances.iter().filter_map(|stored| Some((stored.record.server, stored.record.host?)));
    running.filter(|(_, host)| there.contains(host)).collect()
}

/// On what conditions the server does not run there: the host is as it was, or each of the server's instances is. Nothing
/// if the host's record cannot be read.
async fn grounds(
    desk: &Desk<'_>,
    server: Id,
    host: HostId,
    hosts: &[Stored<Host>],
    instances: &[Stored<Instance>],
) -> Result<Option<Vec<Write>>, Failure> {
    let Some(found) = hosts.iter().find(|found| found.record.id == host) else {
        return Ok(desk.is_absent::<Host>(host).await?.then(Vec::new));
    };
    let elsewhere = instances.iter().filter(|instance| instance.record.server == server).take(TOGETHER - 2);
    Ok(Some(std::iter::once(unless_changed(found)).chain(elsewhere.map(unless_changed)).collect()))
}
