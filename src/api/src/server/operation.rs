//! Starting and stopping a server: the record says what is to be; `vpn` on some host does it, and is waited for.

use std::collections::BTreeMap;
use std::time::Duration;

use culvert_contract::Operation;
use culvert_model::record::{Instance, InstanceState, Server};
use culvert_model::{Id, Kind};
use culvert_records::{Query, Stored};
use http::StatusCode;

use super::dh;
use crate::answer::{Answer, No};
use crate::api::Api;

/// How long the hosts may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does what was asked, and waits for it.
///
/// # Errors
///
/// It could not be started, is not there, or the store can't be reached.
pub async fn operate(api: &Api, id: Id, operation: Operation) -> Answer<Server> {
    let name = api.have::<Server>(id, "server").await?.record.name;
    if operation != Operation::Stop {
        // Before anything is stopped: what could not be started again is left running.
        dh::provide(api, id).await?;
    }
    match operation {
        Operation::Start => start(api, id).await?,
        Operation::Stop => halt(api, id).await?,
        Operation::Restart => {
            halt(api, id).await?;
            start(api, id).await?;
        }
    }
    let done = match operation {
        Operation::Start => "started",
        Operation::Stop => "stopped",
        Operation::Restart => "restarted",
    };
    api.note(format!("Server {name} was {done}.")).await;
    Ok(api.have::<Server>(id, "server").await?.record)
}

async fn instances(api: &Api, server: Id) -> Answer<Vec<Stored<Instance>>> {
    Ok(api.bus.list::<Instance>(Query::by("by_server").equal(server)).await?)
}

async fn start(api: &Api, id: Id) -> Answer<()> {
    let mut watch = api.watch(&[Kind::Instance, Kind::Server], PATIENCE);
    // What failed before does not tell how it goes this time.
    let before: BTreeMap<String, u64> =
        instances(api, id).await?.into_iter().map(|found| (found.record.id, found.revision)).collect();
    let now = api.now().await?;
    let (server, began) = api
        .change::<Server, bool>(id, "server", |server| {
            startable(server)?;
            let began = !server.online;
            if began {
                server.online = true;
                server.started = Some(now);
            }
            Ok(began)
        })
        .await?;
    if !began {
        return Ok(());
    }
    let mut reason = None;
    loop {
        let all = instances(api, id).await?;
        if all.iter().any(|found| found.record.state == InstanceState::Online) {
            return Ok(());
        }
        let anew = |found: &&Stored<Instance>| before.get(&found.record.id).is_none_or(|old| *old != found.revision);
        let mut failed = all.iter().filter(anew).filter(|found| found.record.state == InstanceState::Failed);
        if let Some(failed) = failed.next() {
            reason = failed.record.reason.clone().or(reason);
            // With several hosts, another may still do it.
            if server.hosts.len() == 1 {
                return fail(api, id, reason).await;
            }
        }
        if !watch.next().await {
            return fail(api, id, reason).await;
        }
    }
}

fn startable(server: &Server) -> Answer<()> {
    let fault = if server.organizations.is_empty() || server.certificate.is_none() {
        ("server_no_organization", "Attach an organization before you start the server.")
    } else if server.hosts.is_empty() {
        ("server_no_host", "Attach a host before you start the server.")
    } else if server.network_lock.is_some() {
        let text =
            "The addresses of the server's users are being moved into another network. Start it when that has ended.";
        ("server_network_locked", text)
    } else {
        return Ok(());
    };
    Err(No::bad(fault.0, fault.1))
}

/// The server is as before: not to run.
async fn fail(api: &Api, id: Id, reason: Option<String>) -> Answer<()> {
    let stop = |server: &mut Server| {
        server.online = false;
        Ok(())
    };
    api.change::<Server, ()>(id, "server", stop).await?;
    let (error, text) = match reason {
        Some(reason) => ("server_start_failed", format!("The server could not be started: {reason}.")),
        None => (
            "server_start_timeout",
            "The server was not started: no host did so in ten seconds. Is a host of the server online?".into(),
        ),
    };
    Err(No::new(StatusCode::INTERNAL_SERVER_ERROR, error, text))
}

/// Stops a server, and waits until no host runs it, as long as a host may take. A host that is not there can't be waited
/// for: it ends its instance when it is back.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn halt(api: &Api, id: Id) -> Answer<()> {
    let mut watch = api.watch(&[Kind::Instance], PATIENCE);
    let stored = api.have::<Server>(id, "server").await?;
    if stored.record.online {
        let stop = |server: &mut Server| {
            server.online = false;
            Ok(())
        };
        api.change::<Server, ()>(id, "server", stop).await?;
    }
    loop {
        let all = instances(api, id).await?;
        let runs = |found: &Stored<Instance>| {
            matches!(found.record.state, InstanceState::Online | InstanceState::Starting) && found.held_for() > 0
        };
        if !all.iter().any(runs) || !watch.next().await {
            return Ok(());
        }
    }
}
