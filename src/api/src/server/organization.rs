//! Which organisations' users may connect to a server. The first one signs the server's certificate.

use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::{Certificate, Organization, Server};
use culvert_pool::Stock;
use culvert_records::{Failure, Stored, Write, update};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::certificate;
use crate::take::take;

/// The most organisations of one server: what the helper takes.
const MOST: usize = culvert_wire::helper::CAS;

/// The organisations of a server, by name.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn organizations(api: &Api, server: Id) -> Answer<Vec<reply::ServerOrg>> {
    let server = api.have::<Server>(server, "server").await?.record;
    let mut shown = Vec::new();
    for id in server.organizations {
        if let Some(organization) = api.bus.get::<Organization>(id).await? {
            shown.push(reply::ServerOrg { id, name: organization.record.name, server: server.id });
        }
    }
    shown.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    Ok(shown)
}

/// Attaches an organisation, whose users get addresses. A server without a certificate takes one of it.
///
/// # Errors
///
/// The server runs, one of them is not there, no certificate was made in time, or the store can't be reached.
pub async fn attach(api: &Api, server: Id, organization: Id) -> Answer<reply::ServerOrg> {
    let found = api.have::<Organization>(organization, "organization").await?.record;
    if found.ca.is_none() {
        return Err(No::late("The organization's CA is still being made. Try again in a moment."));
    }
    for _ in 0..5 {
        let stored = api.have::<Server>(server, "server").await?;
        let name = found.name.clone();
        if stored.record.organizations.contains(&organization) && stored.record.certificate.is_some() {
            return Ok(reply::ServerOrg { id: organization, name, server });
        }
        if stored.record.online {
            return Err(No::bad("server_not_offline", "Stop the server before you attach an organization."));
        }
        if stored.record.organizations.len() >= MOST {
            return Err(No::bad("value_invalid", format!("A server has at most {MOST} organizations.")));
        }
        let with = |server: &mut Server| {
            if !server.organizations.contains(&organization) {
                server.organizations.push(organization);
            }
        };
        let addresses = super::assign_addresses(api, server).await?;
        if write(api, stored, organization, vec![addresses], with).await? {
            api.note(format!("Organization {name} was attached to a server.")).await;
            return Ok(reply::ServerOrg { id: organization, name, server });
        }
    }
    Err(No::raced())
}

/// Detaches an organisation, whose users lose their addresses. Where it signed the server's certificate, another takes over.
///
/// # Errors
///
/// The server runs (unless `force`), is not there, no certificate was made in time, or the store can't be reached.
pub async fn detach(api: &Api, server: Id, organization: Id, force: bool) -> Answer<()> {
    for _ in 0..5 {
        let stored = api.have::<Server>(server, "server").await?;
        if !stored.record.organizations.contains(&organization) {
            return Ok(());
        }
        if stored.record.online && !force {
            return Err(No::bad("server_not_offline", "Stop the server before you detach an organization."));
        }
        let signer = match stored.record.certificate {
            Some(id) => api.bus.get::<Certificate>(id).await?.map(|found| found.record.organization),
            None => None,
        };
        let others = stored.record.organizations.iter().copied();
        let next = others.into_iter().find(|other| *other != organization);
        let mut stored = stored;
        let mut gone = vec![super::assign_addresses(api, server).await?];
        if signer.is_none_or(|signer| signer == organization)
            && let Some(certificate) = stored.record.certificate.take()
        {
            gone.extend(certificate::withdrawal(api, certificate).await?);
        }
        let without = |server: &mut Server| server.organizations.retain(|other| *other != organization);
        if write(api, stored, next.unwrap_or(organization), gone, without).await? {
            api.note("An organization was detached from a server.".into()).await;
            return Ok(());
        }
    }
    Err(No::raced())
}

/// Writes the server with a change, and with a certificate of `signer` if it has none but has organisations. False if
/// somebody else wrote it meanwhile.
async fn write(
    api: &Api,
    stored: Stored<Server>,
    signer: Id,
    also: Vec<Write>,
    change: impl Fn(&mut Server),
) -> Answer<bool> {
    let guard = stored.unchanged();
    let mut server = stored.record;
    change(&mut server);
    if server.certificate.is_some() || server.organizations.is_empty() {
        let writes = [vec![update(&server, guard)], also].concat();
        return match api.bus.write(writes).await {
            Ok(_) => Ok(true),
            Err(Failure::Refused { .. }) => Ok(false),
            Err(failure) => Err(failure.into()),
        };
    }
    let with = |certificate: &Certificate| {
        let server = Server { certificate: Some(certificate.id), ..server.clone() };
        [vec![update(&server, guard.clone())], also.clone()].concat()
    };
    match take(api, Stock::Server(signer), with).await {
        Ok(_) => Ok(true),
        Err(no) if no.status == http::StatusCode::CONFLICT || no.status == http::StatusCode::NOT_FOUND => Ok(false),
        Err(no) => Err(no),
    }
}
