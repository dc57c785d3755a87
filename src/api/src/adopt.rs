//! Binding this machine to the record of a host whose machine was lost, so that what was set up for that host is this
//! machine's from now on.

use culvert_model::HostId;
use culvert_model::record::{Host, Instance, Server};
use culvert_records::{Failure, Query, Refusal, Stored};
use http::StatusCode;
use serde::Serialize;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::host;

/// Who this machine was, and who it is from now on.
#[derive(Debug, Serialize)]
pub struct Adopted {
    /// The host's id.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// The id that this machine had, whose record is removed.
    pub before: HostId,
}

/// Makes this machine the host of this name or id. The bus starts again after that, and everybody who asked it with it.
///
/// # Errors
///
/// There is no such host or several, it is online or this one; this one is in use; or the store can't be reached. Each
/// says what to do.
pub async fn adopt(api: &Api, wanted: &str) -> Answer<Adopted> {
    let here = api.host().await?;
    let host = find(&host::list(api).await?, wanted)?;
    let (id, name) = (host.record.id, host.record.name.clone());
    if id == here {
        let text = format!("This machine is the host {name} already: there is nothing to adopt.");
        return Err(No::new(StatusCode::CONFLICT, "host_here", text));
    }
    if host::online(&host) {
        return Err(online(&name));
    }
    unused(api, here).await?;
    match api.bus.adopt(id).await {
        Ok(()) => {}
        Err(Failure::Refused { why: Refusal::NotHeld { .. }, .. }) => return Err(online(&name)),
        Err(Failure::Refused { .. }) => return Err(unknown(wanted)),
        Err(failure) => return Err(failure.into()),
    }
    Ok(Adopted { host: id, name, before: here })
}

/// By id, or else by name.
fn find(hosts: &[Stored<Host>], wanted: &str) -> Answer<Stored<Host>> {
    let by_id = hosts.iter().find(|host| host.record.id.to_string() == wanted);
    let mut by_name = hosts.iter().filter(|host| host.record.name == wanted);
    match (by_id, by_name.next(), by_name.next()) {
        (Some(host), ..) | (None, Some(host), None) => Ok(host.clone()),
        (None, Some(_), Some(_)) => {
            let text = format!("Several hosts are called {wanted}. Give the id instead: culvert host list shows it.");
            Err(No::new(StatusCode::CONFLICT, "host_ambiguous", text))
        }
        (None, None, _) => Err(unknown(wanted)),
    }
}

fn unknown(wanted: &str) -> No {
    let text = format!("There is no host {wanted}: culvert host list shows all. Is this machine in the same cluster?");
    No::new(StatusCode::NOT_FOUND, "not_found", text)
}

fn online(name: &str) -> No {
    let text = format!(
        "The host {name} is online, or was until a moment ago. Two machines can't be one host: stop Culvert on the other \
         one; ten seconds later it is offline."
    );
    No::new(StatusCode::CONFLICT, "host_online", text)
}

/// What this machine runs or is meant to run under its own id would be lost with it.
async fn unused(api: &Api, here: HostId) -> Answer<()> {
    let servers = api.bus.list::<Server>(Query::by("by_name")).await?;
    let instances = api.bus.list::<Instance>(Query::by("by_host").equal(here)).await?;
    let runs = |server: &Server| instances.iter().any(|instance| instance.record.server == server.id);
    let of = servers.iter().map(|stored| &stored.record).filter(|server| server.hosts.contains(&here) || runs(server));
    let names: Vec<&str> = of.map(|server| server.name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let text = format!(
        "This machine is in use as a host of its own. First detach it from these servers, and wait until they run \
         elsewhere: {}.",
        names.join(", ")
    );
    Err(No::new(StatusCode::CONFLICT, "host_in_use", text))
}
