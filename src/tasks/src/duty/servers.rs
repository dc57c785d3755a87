//! Instances and connections that a lost host left behind.

use std::collections::HashSet;

use culvert_model::record::{Connection, Host, HostStatus, Instance, InstanceState};
use culvert_model::{HostId, Id, Millis};
use culvert_records::{Failure, Guard, Kept, Query, Stored, update};

use super::{Desk, all, counted};

/// How long an instance's lease lasts at most, milliseconds.
const LEASE: Millis = 15_000;

/// How long the claim under which an instance is freed lasts.
const MOMENT: Millis = 5_000;

pub async fn run(desk: &Desk<'_>) -> Result<String, Failure> {
    let hosts = all::<Host>(desk.bus, Query::all()).await?;
    let instances = all::<Instance>(desk.bus, Query::all()).await?;
    if desk.bus.uninterrupted() < LEASE {
        return Ok("waits until every host had the time to report".into());
    }
    let there = there(&hosts);
    let mut freed = 0;
    for instance in instances.iter().filter(|instance| lost(instance, &there)) {
        freed += u64::from(free(desk, instance).await?);
    }
    let gone = connections(desk, &hosts, &instances).await?;
    Ok(format!("{} freed, {} removed", counted(freed, "instance"), counted(gone, "connection")))
}

/// Removes the connections of hosts that are not there and of servers that do not run. Only those are looked at: all
/// connections of a cluster are many.
async fn connections(desk: &Desk<'_>, hosts: &[Stored<Host>], instances: &[Stored<Instance>]) -> Result<u64, Failure> {
    let there = there(hosts);
    let mut suspects = Vec::new();
    for host in hosts.iter().map(|host| host.record.id).filter(|host| !there.contains(host)) {
        suspects.extend(all::<Connection>(desk.bus, Query::by("by_host").equal(host)).await?);
    }
    let running = running(instances, &there);
    let servers: HashSet<Id> = instances.iter().map(|instance| instance.record.server).collect();
    for server in servers.into_iter().filter(|server| !running.iter().any(|(running, _)| running == server)) {
        suspects.extend(all::<Connection>(desk.bus, Query::by("by_server").equal(server)).await?);
    }
    remove(desk, suspects).await
}

/// Removes connections that no instance has. What runs is looked at after the connections were read: an instance is
/// there before its connections are.
pub async fn remove(desk: &Desk<'_>, suspects: Vec<Stored<Connection>>) -> Result<u64, Failure> {
    if suspects.is_empty() {
        return Ok(0);
    }
    let hosts = all::<Host>(desk.bus, Query::all()).await?;
    let instances = all::<Instance>(desk.bus, Query::all()).await?;
    let running = running(&instances, &there(&hosts));
    let suspects = suspects.into_iter().map(|stored| stored.record);
    let gone: HashSet<Id> = suspects
        .filter(|connection| !running.contains(&(connection.server, connection.host)))
        .map(|connection| connection.id)
        .collect();
    for id in &gone {
        desk.bus.delete::<Connection>(id).await?;
    }
    Ok(gone.len() as u64)
}

fn there(hosts: &[Stored<Host>]) -> HashSet<HostId> {
    hosts.iter().filter(|host| host.record.status == HostStatus::Online).map(|host| host.record.id).collect()
}

/// Whether nobody holds the instance and whoever last did is not there. A host that is there starts it again by itself.
fn lost(instance: &Stored<Instance>, there: &HashSet<HostId>) -> bool {
    instance.held_for() == 0 && instance.record.host.is_some_and(|host| !there.contains(&host))
}

/// Which servers run where.
fn running(instances: &[Stored<Instance>], there: &HashSet<HostId>) -> HashSet<(Id, HostId)> {
    let running = instances.iter().filter_map(|stored| Some((stored.record.server, stored.record.host?)));
    running.filter(|(_, host)| there.contains(host)).collect()
}

/// Under a claim: a host that comes back in this moment holds it, or claims it after us.
async fn free(desk: &Desk<'_>, found: &Stored<Instance>) -> Result<bool, Failure> {
    let id = &found.record.id;
    let Kept::Held(mut held) = desk.bus.claim::<Instance>(id, Some(found.revision), "tasks", MOMENT).await? else {
        return Ok(false);
    };
    let Some(claim) = held.claim() else { return Ok(false) };
    held.record.state = InstanceState::Idle;
    held.record.host = None;
    held.record.slot = None;
    held.record.since = desk.now;
    held.record.reason = Some("The host that ran it was lost.".into());
    let guard = Guard { revision: Some(held.revision), claim: Some(claim.clone()) };
    let written = desk.bus.write(vec![update(&held.record, guard)]).await;
    desk.bus.release::<Instance>(id, &claim).await?;
    match written {
        Ok(_) => Ok(true),
        Err(Failure::Refused { .. }) => Ok(false),
        Err(failure) => Err(failure),
    }
}
