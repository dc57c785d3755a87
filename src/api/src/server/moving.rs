//! Moving a server into another network. Where its users have addresses, the queue moves these: until that has ended the
//! server is locked, and its network is the old one until they all are in the new one.

use std::time::Duration;

use culvert_model::network::room;
use culvert_model::record::{Address, Job, Priority, Server, Work};
use culvert_model::{Id, Kind};
use culvert_records::Query;
use http::StatusCode;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::random;

/// How long one waits for the addresses.
const PATIENCE: Duration = Duration::from_secs(50);

/// What is to be written of a server that is to be `new`: with the job, if its addresses are to be moved.
///
/// # Errors
///
/// They do not fit into the new network, or the store can't be reached.
pub async fn prepare(api: &Api, old: &Server, new: Server) -> Answer<(Server, Option<Job>)> {
    if new.network == old.network {
        return Ok((new, None));
    }
    let given = api.bus.count::<Address>(Query::by("by_address").equal(new.id)).await?;
    let room = room(new.network);
    if given > room {
        let text = format!(
            "The network {} has addresses for {room} clients, but {given} are given away on this server. Nothing was changed: choose a larger one.",
            new.network
        );
        return Err(No::field("network", "network_too_small", text));
    }
    if given == 0 {
        return Ok((new, None));
    }
    let id = format!("network/{}/{}", new.id, random::word(16));
    let work = Work::AssignPool { server: new.id, old: old.network, new: new.network };
    let locked = Server { network: old.network, network_lock: Some(id.clone()), ..new };
    Ok((locked, Some(Job::new(id, work, Priority::High, api.now().await?))))
}

/// The server in its new network.
///
/// # Errors
///
/// It was not moved, or not in time, or the store can't be reached.
pub async fn wait(api: &Api, id: Id, job: &Job) -> Answer<Server> {
    let mut watch = api.watch(&[Kind::Server, Kind::Job], PATIENCE);
    loop {
        let server = api.have::<Server>(id, "server").await?.record;
        if server.network_lock.as_ref() != Some(&job.id) {
            let moved = matches!(job.work, Work::AssignPool { new, .. } if new == server.network);
            return if moved { Ok(server) } else { Err(unmoved(api, job).await?) };
        }
        if !watch.next().await {
            let text = "The addresses of the server's users are still being moved into the new network; until that has ended the server cannot be started. Is a queue process running?";
            return Err(No::late(text));
        }
    }
}

async fn unmoved(api: &Api, job: &Job) -> Answer<No> {
    let why = api.bus.get::<Job>(&job.id).await?.and_then(|job| job.record.error);
    let why = why.unwrap_or_else(|| "The job that moves the addresses was cancelled.".into());
    let text = format!("The server has its old network, and its users their old addresses: {why}");
    Ok(No::new(StatusCode::CONFLICT, "network_not_changed", text))
}

/// The servers that are being moved, as they will be: nobody else is to have their networks.
///
/// # Errors
///
/// The store can't be reached.
pub async fn destinations(api: &Api, servers: &[Server]) -> Answer<Vec<Server>> {
    let mut found = Vec::new();
    for server in servers {
        let Some(lock) = &server.network_lock else { continue };
        let job = api.bus.get::<Job>(lock).await?;
        if let Some(Work::AssignPool { new, .. }) = job.map(|job| job.record.work) {
            found.push(Server { network: new, ..server.clone() });
        }
    }
    Ok(found)
}
