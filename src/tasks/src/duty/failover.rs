//! Which availability group runs a server: the hosts of one group do, those of others stand by.
//!
//! A server moves when its group has too few hosts for all instances and another has more. It does not move back by
//! itself: each move has its clients connect again.

use std::collections::BTreeMap;

use culvert_model::HostId;
use culvert_model::record::{Host, HostStatus, Server};
use culvert_records::{Failure, Query, Stored, update};

use super::hosts::early;
use super::servers::LEASE;
use super::{Done, counted};
use crate::desk::Desk;

/// As many servers as a run surely moves in its time.
const MOST: u64 = 500;

/// Looks at all servers, of which there may be ten thousand: when hosts or servers were changed, and not by the second.
pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    if let Some(early) = early(desk, LEASE) {
        return Ok(early);
    }
    let (mut moved, mut pages) = (0, desk.bus.pages::<Server>(Query::all()));
    while moved < MOST
        && let Some(servers) = pages.next().await?
    {
        // Read after the servers: a host was there before it was attached.
        let hosts = desk.all::<Host>(Query::all()).await?;
        moved += move_some(desk, &servers, &hosts).await?;
    }
    Ok(Done::of(format!("{} moved", counted(moved, "server"))).or_more(moved >= MOST))
}

/// Has those of these servers run by other hosts that need it; how many.
async fn move_some(desk: &Desk<'_>, servers: &[Stored<Server>], hosts: &[Stored<Host>]) -> Result<u64, Failure> {
    let hosts: BTreeMap<HostId, &Host> = hosts.iter().map(|host| (host.record.id, &host.record)).collect();
    let mut moved = 0;
    for server in servers {
        let standby = standby(&server.record, &hosts);
        if standby == server.record.standby || moved >= MOST {
            continue;
        }
        let changed = Server { standby, ..server.record.clone() };
        let group = changed.hosts.iter().find(|host| !changed.standby.contains(host)).and_then(|host| hosts.get(host));
        let group = group.map_or("", |host| &host.availability_group);
        let message = format!("The availability group \"{group}\" runs server {} now.", changed.name);
        moved += u64::from(desk.write(vec![update(&changed, server.unchanged()), desk.note(message)]).await?);
    }
    Ok(moved)
}

/// What speaks for a group: its hosts that are there, that it runs the server already, its best host's priority.
type Merit = (u16, bool, i64);

/// The hosts that are to stand by. One whose record is not there belongs to no group, and cannot run anything.
fn standby(server: &Server, hosts: &BTreeMap<HostId, &Host>) -> Vec<HostId> {
    let known = || server.hosts.iter().filter_map(|host| hosts.get(host).copied());
    // Of several groups, because a host was attached since somebody looked, the one that was there first.
    let current = known().find(|host| !server.standby.contains(&host.id)).map(|host| host.availability_group.as_str());
    let mut merits: BTreeMap<&str, Merit> = BTreeMap::new();
    for host in known() {
        let runs = current == Some(&host.availability_group);
        let (there, _, priority) = merits.entry(&host.availability_group).or_insert((0, runs, i64::MIN));
        if host.status == HostStatus::Online {
            *there += 1;
            *priority = host.priority.max(*priority);
        }
    }
    let enough = current.filter(|group| merits.get(group).is_some_and(|(there, ..)| *there >= server.replica_count));
    let best = merits.iter().max_by_key(|(_, merit)| **merit).map(|(group, _)| *group);
    let chosen = enough.or(best);
    let others = known().filter(|host| Some(host.availability_group.as_str()) != chosen);
    others.map(|host| host.id).collect()
}

#[cfg(test)]
mod tests;
