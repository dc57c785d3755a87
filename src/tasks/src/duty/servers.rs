//! Instances that a lost host left behind, and those of servers that are gone or have fewer of them; and servers that
//! other hosts are to run.
//!
//! Where an instance is missing, or free, the hosts of its server take it by themselves (`vpn`, its plan). What nobody
//! there can do is done here: free what belongs to a host that is not there.

use std::collections::HashSet;

use culvert_model::record::{Host, HostStatus, Instance, InstanceState, Output, Server, ServerKey};
use culvert_model::{HostId, Millis};
use culvert_records::{Claim, Failure, Guard, Query, Stored, delete, update};

use super::{Done, clients, counted, failover};
use crate::desk::{Desk, unless_changed};

/// How long an instance's lease lasts at most, milliseconds.
const LEASE: Millis = 15_000;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    // What belongs to something is read before that: it can only have been made while that was there.
    let instances = desk.all::<Instance>(Query::all()).await?;
    let servers = desk.all::<Server>(Query::all()).await?;
    let hosts = desk.all::<Host>(Query::all()).await?;
    if desk.bus.uninterrupted() < LEASE {
        return Ok(Done::of("waits until every host had the time to report"));
    }
    let there = there(&hosts);
    let (mut freed, mut removed) = (0, 0);
    for instance in instances.iter().filter(|instance| abandoned(instance, &there)) {
        let server = servers.iter().find(|server| server.record.id == instance.record.server);
        if server.is_some_and(|server| surplus(instance, server)) || gone(desk, instance, server).await? {
            removed += u64::from(remove(desk, instance, server).await?);
        } else if instance.record.host.is_some() {
            freed += u64::from(free(desk, instance).await?);
        }
    }
    let moved = counted(failover::run(desk, &servers, &hosts).await?, "server");
    let connections = counted(clients::of_the_lost(desk, &hosts, &instances).await?, "connection");
    let [freed, removed] = [freed, removed].map(|number| counted(number, "instance"));
    Ok(Done::of(format!("{freed} freed, {removed} and {connections} removed, {moved} moved")))
}

/// The hosts that are there.
pub fn there(hosts: &[Stored<Host>]) -> HashSet<HostId> {
    hosts.iter().filter(|host| host.record.status == HostStatus::Online).map(|host| host.record.id).collect()
}

/// Whether nobody holds the instance and whoever last did is not there. A host that is there starts it again by itself.
fn abandoned(instance: &Stored<Instance>, there: &HashSet<HostId>) -> bool {
    instance.held_for() == 0 && instance.record.host.is_none_or(|host| !there.contains(&host))
}

/// Whether the server has fewer instances by now.
fn surplus(instance: &Stored<Instance>, server: &Stored<Server>) -> bool {
    let number = instance.record.id.rsplit_once('-').and_then(|(_, number)| number.parse::<u16>().ok());
    number.is_none_or(|number| number >= server.record.replica_count)
}

/// Whether its server, which was not found, is not there: it may be one that cannot be read.
async fn gone(desk: &Desk<'_>, instance: &Stored<Instance>, found: Option<&Stored<Server>>) -> Result<bool, Failure> {
    Ok(found.is_none() && desk.is_absent::<Server>(instance.record.server).await?)
}

/// Under a claim: a host that comes back in this moment holds it, or claims it after us.
async fn free(desk: &Desk<'_>, found: &Stored<Instance>) -> Result<bool, Failure> {
    let Some((mut held, claim)) = desk.take(found).await? else { return Ok(false) };
    held.record.state = InstanceState::Idle;
    held.record.host = None;
    held.record.slot = None;
    held.record.since = desk.now;
    held.record.reason = Some("The host that ran it was lost.".into());
    let written = desk.write(vec![update(&held.record, under(&held, &claim))]).await;
    desk.bus.release::<Instance>(&held.record.id, &claim).await?;
    written
}

/// With what it printed and, of a server that is gone, the key that its clients shared.
async fn remove(desk: &Desk<'_>, found: &Stored<Instance>, server: Option<&Stored<Server>>) -> Result<bool, Failure> {
    let Some((held, claim)) = desk.take(found).await? else { return Ok(false) };
    let id = &held.record.id;
    let mut writes = vec![delete::<Instance>(id, under(&held, &claim))];
    writes.extend(server.map(unless_changed));
    if !desk.write(writes).await? {
        desk.bus.release::<Instance>(id, &claim).await?;
        return Ok(false);
    }
    desk.erase::<Output>(id).await?;
    if server.is_none() {
        desk.erase::<ServerKey>(held.record.server).await?;
    }
    Ok(true)
}

fn under(held: &Stored<Instance>, claim: &Claim) -> Guard {
    Guard { revision: Some(held.revision), claim: Some(claim.clone()) }
}
