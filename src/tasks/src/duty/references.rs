//! Organisations, hosts and certificates that servers refer to and that are gone.
//!
//! A server of which nothing is left to run with is not to run. One without a certificate takes one that is ready; if none
//! is, it waits for the pool.

use std::collections::BTreeSet;

use culvert_model::Id;
use culvert_model::record::{Certificate, CertificateState, Host, Organization, Server};
use culvert_records::{Failure, Query, Stored, update};

use super::{Done, counted};
use crate::desk::Desk;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let mut mended = 0;
    for server in desk.all::<Server>(Query::all()).await? {
        mended += u64::from(mend(desk, &server).await?);
    }
    Ok(Done::of(format!("{} mended", counted(mended, "server"))))
}

/// What a server refers to is read after the server: it was there before it was referred to.
async fn mend(desk: &Desk<'_>, seen: &Stored<Server>) -> Result<bool, Failure> {
    let mut server = seen.record.clone();
    let gone = desk.absent::<Organization>(&server.organizations.iter().map(Id::to_string).collect()).await?;
    server.organizations.retain(|organization| !gone.contains(&organization.to_string()));
    let gone = desk.absent::<Host>(&server.hosts.iter().map(ToString::to_string).collect()).await?;
    server.hosts.retain(|host| !gone.contains(&host.to_string()));
    if let Some(certificate) = server.certificate
        && !good(desk, &server, certificate).await?
    {
        server.certificate = None;
    }
    server.online &= !server.organizations.is_empty() && !server.hosts.is_empty();
    let mut writes = Vec::new();
    if server.certificate.is_none()
        && let Some(mut ready) = ready(desk, &server).await?
    {
        let unchanged = ready.unchanged();
        ready.record.state = CertificateState::Taken;
        writes.push(update(&ready.record, unchanged));
        server.certificate = Some(ready.record.id);
    }
    if server == seen.record {
        return Ok(false);
    }
    let text = format!("Server {} referred to something that is gone, and was mended.", server.name);
    writes.extend([update(&server, seen.unchanged()), desk.note(text)]);
    desk.write(writes).await
}

/// Whether the server can have this certificate: it is there, and signed for one of its organisations. A damaged one is
/// an administrator's business.
async fn good(desk: &Desk<'_>, server: &Server, certificate: Id) -> Result<bool, Failure> {
    match desk.bus.get::<Certificate>(certificate).await {
        Ok(Some(found)) => Ok(server.organizations.contains(&found.record.organization)),
        Ok(None) => Ok(false),
        Err(Failure::Invalid(_)) => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// One out of the pool of the first of its organisations that has one.
async fn ready(desk: &Desk<'_>, server: &Server) -> Result<Option<Stored<Certificate>>, Failure> {
    for organization in server.organizations.iter().collect::<BTreeSet<_>>() {
        let pool = Query::by("by_pool").equal(organization).equal("server").equal("ready").limit(1);
        if let Some(ready) = desk.bus.find::<Certificate>(pool).await?.items.pop() {
            return Ok(Some(ready));
        }
    }
    Ok(None)
}
