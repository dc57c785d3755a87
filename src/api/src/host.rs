//! The cluster's machines. Each makes its own record; administrators name it and say how it is reached.

use std::collections::{BTreeMap, BTreeSet};

use culvert_contract::body::HostChange;
use culvert_contract::reply;
use culvert_model::record::{Connection, Host, HostStatus, Period, Server, Usage, User};
use culvert_model::{HostId, Id, Millis};
use culvert_records::{Query, Stored};
use http::StatusCode;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::{filter, random, server};

/// All hosts by name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<Vec<Stored<Host>>> {
    Ok(api.bus.list::<Host>(Query::by("by_name")).await?)
}

/// Whether a host is there: its heartbeat is its lease.
pub fn online(host: &Stored<Host>) -> bool {
    host.record.status == HostStatus::Online && host.held_for() > 0
}

/// Hosts as they are shown in a list, with how many use them.
///
/// # Errors
///
/// The store can't be reached.
pub async fn show_all(api: &Api, hosts: Vec<Stored<Host>>) -> Answer<Vec<reply::Host>> {
    let mut users: BTreeMap<HostId, BTreeSet<Id>> = BTreeMap::new();
    for connection in api.bus.list::<Connection>(Query::by("by_host")).await? {
        users.entry(connection.record.host).or_default().insert(connection.record.user);
    }
    let servers = server::list(api).await?;
    let mut counts: BTreeMap<Id, u64> = BTreeMap::new();
    let now = api.now().await?;
    let mut shown = Vec::with_capacity(hosts.len());
    for host in hosts {
        let id = host.record.id;
        let of: BTreeSet<Id> =
            servers.iter().filter(|server| server.hosts.contains(&id)).flat_map(organizations).collect();
        let mut count = 0;
        for organization in of {
            if let std::collections::btree_map::Entry::Vacant(place) = counts.entry(organization) {
                place.insert(api.bus.count::<User>(Query::by("by_organization").equal(organization)).await?);
            }
            count += counts[&organization];
        }
        let here = users.get(&id).map_or(0, |users| users.len() as u64);
        shown.push(show(host, now, Some(count), Some(here)));
    }
    Ok(shown)
}

fn organizations(server: &Server) -> impl Iterator<Item = Id> {
    server.organizations.iter().copied()
}

/// The host as it is shown.
pub fn show(host: Stored<Host>, now: Millis, user_count: Option<u64>, users_online: Option<u64>) -> reply::Host {
    let online = online(&host);
    let host = host.record;
    reply::Host {
        id: host.id,
        name: host.name,
        hostname: Some(host.hostname),
        instance_id: None,
        status: if online { HostStatus::Online } else { HostStatus::Offline },
        uptime: online.then(|| now.saturating_sub(host.started) / 1000),
        version: Some(host.version),
        user_count,
        users_online,
        local_networks: Some(host.local_networks),
        public_addr: host.public_address.clone().or_else(|| host.local_address.clone()),
        public_address: host.public_address,
        public_addr6: host.public_address6.clone(),
        public_address6: host.public_address6,
        routed_subnet6: None,
        routed_subnet6_wg: None,
        proxy_ndp: Some(false),
        link_addr: None,
        link_address: None,
        sync_address: host.sync_address,
        local_address: None,
        local_addr: host.local_address,
        local_address6: None,
        local_addr6: None,
        availability_group: host.availability_group,
        priority: Some(host.priority),
    }
}

/// The host as it is shown alone.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn read(api: &Api, id: HostId) -> Answer<reply::Host> {
    let host = api.have::<Host>(id, "host").await?;
    Ok(show(host, api.now().await?, None, None))
}

/// Changes a host.
///
/// # Errors
///
/// It may not be so, is not there, or the store can't be reached.
pub async fn update(api: &Api, id: HostId, change: &HostChange) -> Answer<reply::Host> {
    let refused = [
        ("routed_subnet6", !change.routed_subnet6.is_empty(), "IPv6 inside the tunnel is not there yet."),
        ("routed_subnet6_wg", !change.routed_subnet6_wg.is_empty(), "WireGuard is not there yet."),
        ("proxy_ndp", change.proxy_ndp, "IPv6 inside the tunnel is not there yet."),
        ("link_address", !change.link_address.is_empty(), "Links between servers are not there."),
        ("local_address", !change.local_address.is_empty(), "The host finds its local address by itself."),
        ("local_address6", !change.local_address6.is_empty(), "The host finds its local address by itself."),
    ];
    if let Some((field, _, why)) = refused.into_iter().find(|(_, asked, _)| *asked) {
        return Err(No::unsupported(field, why));
    }
    let public_address = address("public_address", &change.public_address)?;
    let public_address6 = address("public_address6", &change.public_address6)?;
    let sync_address = address("sync_address", &change.sync_address)?;
    let edit = |host: &mut Host| {
        host.name = filter::name_or_none(Some(&change.name)).unwrap_or_else(|| random::word(12).to_lowercase());
        host.public_address.clone_from(&public_address);
        host.public_address6.clone_from(&public_address6);
        host.sync_address.clone_from(&sync_address);
        host.availability_group =
            filter::name_or_none(Some(&change.availability_group)).unwrap_or_else(|| "default".into());
        host.priority = change.priority;
        Ok(())
    };
    let (host, ()) = api.change::<Host, ()>(id, "host", edit).await?;
    api.note(format!("Host {} was changed.", host.name)).await;
    read(api, id).await
}

/// An address that profiles may name; empty for none.
///
/// # Errors
///
/// It is none.
pub fn address(field: &'static str, text: &str) -> Answer<Option<String>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let text_for_people = "This must be a host name or an IP address.";
    filter::domain(text).map(Some).ok_or_else(|| No::field(field, "address_invalid", text_for_people))
}

/// Removes a host that is gone, and lets it run nothing.
///
/// # Errors
///
/// It is there, there is none, or the store can't be reached.
pub async fn remove(api: &Api, id: HostId) -> Answer<()> {
    let host = api.have::<Host>(id, "host").await?;
    if online(&host) {
        let text = "The host is online. Stop Culvert on it first, then delete it.";
        return Err(No::new(StatusCode::BAD_REQUEST, "host_online", text));
    }
    for server in server::list(api).await? {
        if server.hosts.contains(&id) {
            server::detach_host(api, server.id, id).await?;
        }
    }
    // What it ran is freed by the task that looks for lost servers; what it says of itself goes with it.
    for connection in api.bus.list::<Connection>(Query::by("by_host").equal(id)).await? {
        api.bus.delete::<Connection>(connection.record.id).await?;
    }
    for period in Period::ALL {
        api.bus.delete::<Usage>(Usage::name(id, period)).await?;
    }
    api.bus.delete::<Host>(id).await?;
    api.note(format!("Host {} was deleted.", host.record.name)).await;
    Ok(())
}

/// How busy a host's machine was. Of a host that was not measured yet, nothing.
///
/// # Errors
///
/// There is no such host, or the store can't be reached.
pub async fn usage(api: &Api, id: HostId, period: Period) -> Answer<reply::Usage> {
    let usage = api.bus.get::<Usage>(Usage::name(id, period)).await?;
    if usage.is_none() {
        api.have::<Host>(id, "host").await?;
    }
    let buckets = usage.map(|stored| stored.record.buckets).unwrap_or_default();
    let (cpu, mem) = buckets
        .iter()
        .map(|bucket| {
            let (cpu, memory) = bucket.means();
            ((bucket.begin, cpu), (bucket.begin, memory))
        })
        .unzip();
    Ok(reply::Usage { cpu, mem })
}
