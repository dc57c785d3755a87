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
    // Connections first: an instance is there before its connections, so what has none by then has lost it.
    let connections = all::<Connection>(desk.bus, Query::all()).await?;
    let instances = all::<Instance>(desk.bus, Query::all()).await?;
    let hosts = all::<Host>(desk.bus, Query::all()).await?;
    if desk.bus.uninterrupted() < LEASE {
        return Ok("waits until every host had the time to report".into());
    }
    let there: HashSet<HostId> =
        hosts.iter().filter(|host| host.record.status == HostStatus::Online).map(|host| host.record.id).collect();
    let mut freed = 0;
    for instance in instances.iter().filter(|instance| lost(instance, &there)) {
        freed += u64::from(free(desk, instance).await?);
    }
    let running = running(&instances, &there);
    let mut gone = 0;
    for connection in connections.iter().map(|stored| &stored.record) {
        if !running.contains(&(connection.server, connection.host)) {
            desk.bus.delete::<Connection>(connection.id).await?;
            gone += 1;
        }
    }
    Ok(format!("{} freed, {} removed", counted(freed, "instance"), counted(gone, "connection")))
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
