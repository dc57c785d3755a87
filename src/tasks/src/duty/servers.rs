//! Instances that a lost host left behind, and those of servers that are gone or have fewer of them.
//!
//! Where an instance is missing, or free, the hosts of its server take it by themselves (`vpn`, its plan). What nobody
//! there can do is done here: free what belongs to a host that is not there.

use std::collections::BTreeSet;

use culvert_model::record::{Host, HostStatus, Instance, InstanceState, Output, Server, ServerKey};
use culvert_model::{HostId, Millis};
use culvert_records::{Failure, Key, Query, Stored, delete, update};

use super::hosts::{MARGIN, early};
use super::{Done, clients, counted};
use crate::desk::{Desk, unless_changed};

/// How long an instance's lease lasts at most, milliseconds.
pub const LEASE: Millis = 15_000;

/// As many instances as a run surely clears in its time, each under its lease.
const MOST: u64 = 250;

/// What hosts have that are not there. Nothing else is read: this is looked for every few seconds, and a cluster may have
/// ten thousand servers that run.
pub async fn lost(desk: &Desk<'_>) -> Result<Done, Failure> {
    let hosts = desk.all::<Host>(Query::all()).await?;
    if let Some(early) = early(desk, LEASE) {
        return Ok(early);
    }
    let (mut cleared, mut connections) = (Cleared::default(), 0);
    let queries = elsewhere(&there(&hosts));
    // Clients wait for the instances: those of all hosts come first.
    for query in &queries {
        clear(desk, query.clone(), &mut cleared).await?;
    }
    if cleared.is_enough() {
        return Ok(cleared.done().or_more(true));
    }
    for query in queries {
        connections += clients::of(desk, query).await?;
    }
    let done = cleared.done();
    let text = format!("{}, {} removed", done.text, counted(connections, "connection"));
    Ok(Done { text, again: cleared.held.map(|left| left + MARGIN) })
}

/// Instances that no host has. Nobody waits for those to go that are too many.
pub async fn spare(desk: &Desk<'_>) -> Result<Done, Failure> {
    if let Some(early) = early(desk, LEASE) {
        return Ok(early);
    }
    let mut cleared = Cleared::default();
    clear(desk, Query::by("by_host").nothing(), &mut cleared).await?;
    let text = format!("{} removed", counted(cleared.removed, "instance"));
    Ok(Done::of(text).or_more(cleared.is_enough()))
}

/// The hosts that are there.
pub fn there(hosts: &[Stored<Host>]) -> BTreeSet<HostId> {
    hosts.iter().filter(|host| host.record.status == HostStatus::Online).map(|host| host.record.id).collect()
}

/// What belongs to any other host, known or not: in the index, what lies before, between and behind these.
fn elsewhere(there: &BTreeSet<HostId>) -> Vec<Query> {
    let ids: BTreeSet<String> = there.iter().map(HostId::to_string).collect();
    let from = |text: String| Query::by("by_host").from(Key::Text(text));
    let begins = std::iter::once(String::new()).chain(ids.iter().map(|id| format!("{id}\0")));
    let ends = ids.iter().map(|id| Some(Key::Text(id.clone()))).chain([None]);
    begins.zip(ends).map(|(begin, end)| end.into_iter().fold(from(begin), Query::to)).collect()
}

/// What became of instances.
#[derive(Debug, Default)]
struct Cleared {
    freed: u64,
    removed: u64,
    /// How much longer the first of their leases lasts that are still held, milliseconds.
    held: Option<Millis>,
}

impl Cleared {
    fn is_enough(&self) -> bool {
        self.freed + self.removed >= MOST
    }

    fn done(&self) -> Done {
        let [freed, removed] = [self.freed, self.removed].map(|number| counted(number, "instance"));
        Done::of(format!("{freed} freed, {removed} removed"))
    }
}

/// Frees or removes those of these instances that nobody holds and whose host is not there. One that is there starts them
/// again by itself.
async fn clear(desk: &Desk<'_>, query: Query, cleared: &mut Cleared) -> Result<(), Failure> {
    let mut pages = desk.bus.pages::<Instance>(query);
    while let Some(mut page) = pages.next().await? {
        let held = page.iter().map(Stored::held_for).filter(|left| *left > 0).min();
        cleared.held = cleared.held.into_iter().chain(held).min();
        page.retain(|instance| instance.held_for() == 0);
        if page.is_empty() {
            continue;
        }
        // What something belongs to is read after it: it can only have been made while that was there.
        let there = there(&desk.all::<Host>(Query::all()).await?);
        page.retain(|instance| instance.record.host.is_none_or(|host| !there.contains(&host)));
        let servers = page.iter().map(|instance| instance.record.server.to_string()).collect();
        let servers = desk.see::<Server>(&servers).await?;
        for instance in &page {
            if cleared.is_enough() {
                return Ok(());
            }
            let id = instance.record.server.to_string();
            let server = servers.there.get(&id);
            if servers.absent.contains(&id) || server.is_some_and(|server| surplus(instance, server)) {
                cleared.removed += u64::from(remove(desk, instance, server).await?);
            } else if instance.record.host.is_some() {
                cleared.freed += u64::from(free(desk, instance).await?);
            }
        }
    }
    Ok(())
}

/// Whether the server has fewer instances by now.
fn surplus(instance: &Stored<Instance>, server: &Stored<Server>) -> bool {
    Instance::number(&instance.record.id).is_none_or(|number| number >= server.record.replica_count)
}

/// Under its lease: a host that comes back in this moment holds it, or claims it after us.
async fn free(desk: &Desk<'_>, found: &Stored<Instance>) -> Result<bool, Failure> {
    let idle = Instance {
        state: InstanceState::Idle,
        host: None,
        slot: None,
        since: desk.now,
        reason: Some("The host that ran it was lost.".into()),
        ..found.record.clone()
    };
    desk.settle(found, |guard| vec![update(&idle, guard)]).await
}

/// With what it printed and, of a server that is gone, the key that its clients shared.
async fn remove(desk: &Desk<'_>, found: &Stored<Instance>, server: Option<&Stored<Server>>) -> Result<bool, Failure> {
    let id = &found.record.id;
    let as_seen = server.map(unless_changed);
    if !desk.settle(found, |guard| [delete::<Instance>(id, guard)].into_iter().chain(as_seen).collect()).await? {
        return Ok(false);
    }
    desk.erase::<Output>(id).await?;
    if server.is_none() {
        desk.erase::<ServerKey>(found.record.server).await?;
    }
    Ok(true)
}
