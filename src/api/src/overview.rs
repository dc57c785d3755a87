//! The cluster in numbers, and what happened.

use std::collections::BTreeSet;

use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::{Connection, Log, Organization, User};
use culvert_records::Query;
use http::StatusCode;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::server::Scene;
use crate::{host, server};

/// Lines of the log that are shown.
const LINES: u16 = 50;

/// Culvert's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version as the contract's number: four groups of four digits, the last with 4000 for a release.
pub fn version_number() -> u64 {
    let mut groups = VERSION.split('.').filter_map(|group| group.parse::<u64>().ok());
    let number = (0..3).fold(0, |number, _| number * 10_000 + groups.next().unwrap_or(0));
    number * 10_000 + 4000
}

/// The cluster in numbers.
///
/// # Errors
///
/// The store can't be reached.
pub async fn status(api: &Api) -> Answer<reply::Status> {
    let hosts = host::list(api).await?;
    let servers = server::list(api).await?;
    let scene = Scene::all(api, &[]).await?;
    let connections = api.bus.list::<Connection>(Query::by("by_server")).await?;
    let users: BTreeSet<Id> = connections.iter().map(|found| found.record.user).collect();
    let current_host = api.host().await?;
    let own = hosts.iter().find(|host| host.record.id == current_host).map(|host| &host.record);
    let online = |server: &&culvert_model::record::Server| scene.status(server) == reply::ServerStatus::Online;
    Ok(reply::Status {
        org_count: api.bus.count::<Organization>(Query::by("by_name")).await?,
        users_online: users.len() as u64,
        user_count: api.bus.count::<User>(Query::by("by_organization")).await?,
        servers_online: servers.iter().filter(online).count() as u64,
        server_count: servers.len() as u64,
        hosts_online: hosts.iter().filter(|found| host::online(found)).count() as u64,
        host_count: hosts.len() as u64,
        server_version: VERSION.into(),
        current_host,
        public_ip: own.and_then(|host| host.public_address.clone().or(host.local_address.clone())),
        local_networks: own.map(|host| host.local_networks.clone()).unwrap_or_default(),
        notification: String::new(),
    })
}

/// What happened, newest first.
///
/// # Errors
///
/// The store can't be reached.
pub async fn log(api: &Api) -> Answer<Vec<Log>> {
    let page = api.bus.find::<Log>(Query::by("by_time").descending().limit(LINES)).await?;
    Ok(page.items.into_iter().map(|found| found.record).collect())
}

/// `OK` while this host's heartbeat reaches the store.
///
/// # Errors
///
/// It does not.
pub async fn ping(api: &Api) -> Answer<reply::Page> {
    let alive = match api.own_host().await {
        Ok(host) => host.is_some_and(|host| host.held_for() > 0),
        Err(_) => false,
    };
    let text = "This host's heartbeat does not reach the database.";
    if alive { Ok(reply::Page("OK".into())) } else { Err(No::new(StatusCode::GATEWAY_TIMEOUT, "host_late", text)) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_a_number_of_four_groups() {
        assert_eq!(super::version_number() % 10_000, 4000);
    }
}
