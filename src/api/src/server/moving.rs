//! Moving a server into another network. Where its users have addresses, the queue moves these: until that has ended the
//! server is locked, and its network is the old one until they all are in the new one.

use std::collections::BTreeSet;
use std::time::Duration;

use culvert_contract::reply::{Background, Done};
use culvert_model::network::room;
use culvert_model::record::{Address, Job, Priority, Server, User, Work};
use culvert_model::{Id, Kind};
use culvert_records::Query;
use http::StatusCode;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::random;
use crate::server::network::fitting;

/// How long one waits for the addresses: most clients wait for half a minute.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is to be written of a server that is to be `new`: with the job, if its addresses are to be moved.
///
/// # Errors
///
/// Its users do not fit into the new network, or the store can't be reached.
pub async fn prepare(api: &Api, old: &Server, new: Server) -> Answer<(Server, Option<Job>)> {
    if new.network == old.network {
        return Ok((new, None));
    }
    let mut holders: Vec<Id> = Vec::new();
    let mut pages = api.bus.pages::<Address>(Query::by("by_address").equal(new.id));
    while let Some(page) = pages.next().await? {
        holders.extend(page.iter().map(|held| held.record.user));
    }
    fits(api, &new, &holders).await?;
    if holders.is_empty() {
        return Ok((new, None));
    }
    let id = format!("network/{}/{}", new.id, random::word(16));
    let work = Work::AssignPool { server: new.id, old: old.network, new: new.network };
    let locked = Server { network: old.network, network_lock: Some(id.clone()), ..new };
    Ok((locked, Some(Job::new(id, work, Priority::High, api.now().await?))))
}

/// Whether the server's network has room for what is given to these, one of whom may have several addresses, and for an
/// address for each user who has none yet.
async fn fits(api: &Api, server: &Server, holders: &[Id]) -> Answer<()> {
    let (given, having) = (holders.len() as u64, holders.iter().collect::<BTreeSet<_>>());
    let (mut users, mut without) = (0_u64, 0_u64);
    for organization in &server.organizations {
        let mut pages = api.bus.pages::<User>(Query::by("by_organization").equal(*organization));
        while let Some(page) = pages.next().await? {
            users += page.len() as u64;
            without += page.iter().filter(|user| !having.contains(&user.record.id)).count() as u64;
        }
    }
    let (room, wanted) = (room(server.network), given + without);
    if wanted <= room {
        return Ok(());
    }
    let advice = match fitting(wanted) {
        Some(prefix) => format!("choose a /{prefix} or larger"),
        None => "no network is large enough for that: detach an organization".into(),
    };
    let text = format!(
        "The network {} has addresses for {room} clients, but {wanted} are needed: {given} are given, and of the \
         server's {users} users {without} have none yet. Nothing was changed: {advice}.",
        server.network
    );
    Err(No::field("network", "network_too_small", text))
}

/// The server in its new network, or that it is still being moved.
///
/// # Errors
///
/// It was not moved, or the store can't be reached.
pub async fn wait(api: &Api, id: Id, job: &Job) -> Answer<Done<Server>> {
    let mut watch = api.watch(&[Kind::Server, Kind::Job], PATIENCE);
    loop {
        let server = api.have::<Server>(id, "server").await?.record;
        if server.network_lock.as_ref() != Some(&job.id) {
            let moved = matches!(job.work, Work::AssignPool { new, .. } if new == server.network);
            return if moved { Ok(Done::Now(server)) } else { Err(unmoved(api, job).await?) };
        }
        if !watch.next().await {
            let status_msg = "The addresses of the server's users are still being moved into the new network. Until that \
                              has ended the server cannot be started. /v1/jobs shows how far it is, and whether a queue \
                              process is doing it."
                .into();
            return Ok(Done::Later(Background { status: "network_moving", status_msg, job: Some(job.id.clone()) }));
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
