//! VPN servers.

mod check;
mod dh;
mod host;
mod moving;
mod network;
mod operation;
mod organization;
mod output;
pub mod route;
mod view;

use std::iter;

use culvert_contract::body::ServerChange;
use culvert_contract::reply::Done;
use culvert_model::record::{Address, Job, Output, Priority, Server, ServerKey, Work};
use culvert_model::{Bytes, Id, Port, Protocol};
use culvert_records::{Failure, Guard, Query, Write, delete, insert, update as replace};
use ipnet::Ipv4Net;

pub use dh::provide_all;
pub use host::{attach_host, detach_host, hosts};
pub use operation::{halt, operate};
pub use organization::{attach, detach, organizations};
pub use output::{clear, output};
pub use view::{Scene, show};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::server::network::Place;
use crate::{certificate, random};

/// All servers by name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<Vec<Server>> {
    let all = api.bus.list::<Server>(Query::by("by_name")).await?;
    Ok(all.into_iter().map(|stored| stored.record).collect())
}

/// The servers that an organisation is attached to, by name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn attached(api: &Api, organization: Id) -> Answer<Vec<Server>> {
    let all = list(api).await?;
    Ok(all.into_iter().filter(|server| server.organizations.contains(&organization)).collect())
}

/// All servers, and those that are being moved into another network once more, as they will be.
async fn neighbours(api: &Api) -> Answer<Vec<Server>> {
    let mut all = list(api).await?;
    all.extend(moving::destinations(api, &all).await?);
    Ok(all)
}

/// Makes a server on this host, with the default routes.
///
/// # Errors
///
/// It may not be so, or the store can't be reached.
pub async fn create(api: &Api, change: &ServerChange) -> Answer<Server> {
    let host = api.host().await?;
    let server = again(|| async {
        let place = Place::choose(api).await?;
        let server = check::plan(None, change, &neighbours(api).await?, host)?;
        let key = ServerKey { id: server.id, tls_crypt: Bytes(random::bytes::<256>().to_vec()) };
        dh::write(api, server, |server| vec![insert(server), insert(&key), place.taken()]).await
    })
    .await?;
    api.note(format!("Server {} was created.", server.name)).await;
    Ok(server)
}

/// Changes a server. A change of its network waits a while for the addresses of its users.
///
/// # Errors
///
/// It may not be so, is not there, or the store can't be reached.
pub async fn update(api: &Api, id: Id, change: &ServerChange) -> Answer<Done<Server>> {
    let host = api.host().await?;
    let (server, job) = again(|| async {
        let place = Place::choose(api).await?;
        let others = neighbours(api).await?;
        let stored = api.have::<Server>(id, "server").await?;
        let planned = check::plan(Some(&stored.record), change, &others, host)?;
        let place = (place_of(&planned) != place_of(&stored.record)).then_some(place);
        let (server, job) = moving::prepare(api, &stored.record, planned).await?;
        let writes = |server: &Server| {
            let write = replace(server, stored.unchanged());
            iter::once(write).chain(place.as_ref().map(Place::taken)).chain(job.as_ref().map(insert)).collect()
        };
        let server = dh::write(api, server, writes).await?;
        dh::changed(api, &stored.record, &server).await;
        Ok((server, job))
    })
    .await?;
    api.note(format!("Server {} was changed.", server.name)).await;
    match job {
        Some(job) => moving::wait(api, id, &job).await,
        None => Ok(Done::Now(server)),
    }
}

/// What no two servers have in common.
const fn place_of(server: &Server) -> (Ipv4Net, Protocol, Port) {
    (server.network, server.protocol, server.port)
}

/// Does it again, as long as somebody else writes the same at the same time.
async fn again<T, F: Future<Output = Answer<T>>>(attempt: impl Fn() -> F) -> Answer<T> {
    for _ in 0..5 {
        match attempt().await {
            Err(no) if no == No::raced() => {}
            done => return done,
        }
    }
    Err(No::raced())
}

/// The write that has the addresses of a server's users brought up to date.
async fn assign_addresses(api: &Api, server: Id) -> Answer<Write> {
    let work = Work::AssignAddresses { server };
    let job = Job::new(Job::of_addresses(server), work, Priority::Normal, api.now().await?);
    Ok(culvert_jobs::anew(&api.bus, job).await?)
}

/// Stops a server and removes it with all that is its own.
///
/// # Errors
///
/// It was not there (what is left of it is removed nevertheless), or the store can't be reached.
pub async fn remove(api: &Api, id: Id) -> Answer<()> {
    let server = api.bus.get::<Server>(id).await?;
    if server.is_some() {
        halt(api, id).await?;
    }
    drop_record(api, id).await?;
    api.bus.delete::<ServerKey>(id).await?;
    for output in api.bus.list::<Output>(Query::by("by_server").equal(id)).await? {
        api.bus.delete::<Output>(&output.record.id).await?;
    }
    forget_addresses(api, id).await?;
    let server = server.ok_or(No::missing("server"))?;
    dh::give_up(api, id, server.record.dh_size()).await;
    api.note(format!("Server {} was deleted.", server.record.name)).await;
    Ok(())
}

/// Removes the server itself; its certificate is revoked.
async fn drop_record(api: &Api, id: Id) -> Answer<()> {
    for _ in 0..5 {
        let Some(server) = api.bus.get::<Server>(id).await? else { return Ok(()) };
        let mut writes = vec![delete::<Server>(id, server.unchanged())];
        if let Some(certificate) = server.record.certificate {
            writes.extend(certificate::withdrawal(api, certificate).await?);
        }
        match api.bus.write(writes).await {
            Ok(_) => return Ok(()),
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(No::raced())
}

async fn forget_addresses(api: &Api, server: Id) -> Answer<()> {
    loop {
        let page = api.bus.find::<Address>(Query::by("by_address").equal(server).limit(100)).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        let writes: Vec<Write> =
            page.items.iter().map(|found| delete::<Address>(&found.record.id, Guard::default())).collect();
        if api.bus.write(writes).await.is_err() {
            // One is gone already: one by one.
            for found in &page.items {
                api.bus.delete::<Address>(&found.record.id).await?;
            }
        }
    }
}

/// A server as it would be made, without any others.
///
/// # Errors
///
/// It may not be so.
#[cfg(test)]
pub fn planned(change: &ServerChange, host: culvert_model::HostId) -> Answer<Server> {
    check::plan(None, change, &[], host)
}
