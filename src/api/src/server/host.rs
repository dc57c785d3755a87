//! Which hosts may run a server.

use std::collections::BTreeSet;

use culvert_contract::reply;
use culvert_model::record::{Host, Server};
use culvert_model::{HostId, Id};

use super::Scene;
use crate::answer::Answer;
use crate::api::Api;

/// The hosts of a server, by name.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn hosts(api: &Api, server: Id) -> Answer<Vec<reply::ServerHost>> {
    let server = api.have::<Server>(server, "server").await?.record;
    let running = Scene::of(api, &server).await?.hosts(&server);
    let mut shown = Vec::new();
    for id in &server.hosts {
        if let Some(host) = api.bus.get::<Host>(id).await? {
            shown.push(show(server.id, host.record, &running));
        }
    }
    shown.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(shown)
}

fn show(server: Id, host: Host, running: &BTreeSet<HostId>) -> reply::ServerHost {
    reply::ServerHost {
        id: host.id,
        server,
        status: Some(if running.contains(&host.id) { "online" } else { "offline" }),
        address: host.public_address.or(host.local_address),
        address6: host.public_address6,
        name: host.name,
    }
}

/// Lets a host run a server.
///
/// # Errors
///
/// One of them is not there, or the store can't be reached.
pub async fn attach_host(api: &Api, server: Id, host: HostId) -> Answer<reply::ServerHost> {
    let host = api.have::<Host>(host, "host").await?.record;
    let attach = |server: &mut Server| {
        if !server.hosts.contains(&host.id) {
            server.hosts.push(host.id);
        }
        Ok(())
    };
    let (server, ()) = api.change::<Server, ()>(server, "server", attach).await?;
    api.note(format!("Host {} was attached to server {}.", host.name, server.name)).await;
    Ok(show(server.id, host, &BTreeSet::new()))
}

/// Lets a host run a server no more. A server without a host is not to run.
///
/// # Errors
///
/// The server is not there, or the store can't be reached.
pub async fn detach_host(api: &Api, server: Id, host: HostId) -> Answer<()> {
    let detach = |server: &mut Server| {
        server.hosts.retain(|other| *other != host);
        server.online &= !server.hosts.is_empty();
        Ok(())
    };
    let (server, ()) = api.change::<Server, ()>(server, "server", detach).await?;
    api.note(format!("A host was detached from server {}.", server.name)).await;
    Ok(())
}
