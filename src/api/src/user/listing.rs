//! Users as lists, pages and searches, with what they are doing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use culvert_contract::query::UserFilter;
use culvert_contract::reply::{UserDetail, UserList, UserPage, UserSearch, UserServer};
use culvert_model::Id;
use culvert_model::record::{Address, Connection, Organization, Server, User, UserSecret};
use culvert_records::{Query, Stored};

use super::show;
use crate::answer::Answer;
use crate::api::Api;
use crate::{server, user};

/// Users on a page.
const PAGE: usize = 10;

/// Up to so many users, each one's connections are asked for; beyond it, all connections.
const FEW: usize = 20;

/// Users of an organisation, in the shape that was asked for.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn list(api: &Api, id: Id, filter: &UserFilter) -> Answer<UserList> {
    let begun = Instant::now();
    let organization = user::organization(api, id).await?;
    let all = api.bus.list::<User>(Query::by("by_organization").equal(id)).await?;
    let mut users: Vec<User> = all.into_iter().map(|stored| stored.record).collect();
    if filter.last_active == Some(true) {
        users.sort_by_key(|user| user.last_active);
    }
    let servers = server::attached(api, id).await?;
    if let Some(search) = &filter.search {
        let status = search.strip_prefix("status:").map(|text| text.split(':').next() == Some("online"));
        let online = match status {
            Some(_) => connections(api, &users, usize::MAX).await?,
            None => BTreeMap::new(),
        };
        let search = search.to_lowercase();
        users.retain(|user| matches(user, &search, online.contains_key(&user.id)));
    }
    let count = users.len();
    let server_count = servers.len() as u64;
    if let Some(page) = filter.page {
        let users: Vec<User> = users.into_iter().skip(page as usize * PAGE).take(PAGE).collect();
        let page_total = (count.max(1) as u64 - 1) / PAGE as u64;
        let users = details(api, &organization, users, &servers).await?;
        return Ok(UserList::Page(UserPage { page: page.into(), page_total, server_count, users }));
    }
    let Some(search) = &filter.search else {
        return Ok(UserList::All(details(api, &organization, users, &servers).await?));
    };
    let limit = filter.limit.unwrap_or(10) as usize;
    users.truncate(limit);
    let users = details(api, &organization, users, &servers).await?;
    Ok(UserList::Search(UserSearch {
        search: search.clone(),
        search_more: count > limit,
        search_limit: limit as u64,
        search_count: count as u64,
        search_time: (begun.elapsed().as_secs_f64() * 10_000.0).round() / 10_000.0,
        server_count,
        users,
    }))
}

/// Whether a user is what somebody looks for. `search` is in lower case.
fn matches(user: &User, search: &str, online: bool) -> bool {
    let has = |text: &str, part: &str| text.to_lowercase().contains(part);
    match search.split_once(':') {
        Some(("id", id)) => user.id.to_string() == id,
        Some(("type", kind)) => kind == "client",
        Some(("group", group)) => user.groups.iter().any(|known| has(known, group)),
        Some(("email", part)) => user.email.as_deref().is_some_and(|email| has(email, part)),
        Some(("status", status)) => (status.split(':').next() == Some("online")) == online,
        _ => has(&user.name, search),
    }
}

/// A user with what the user is doing.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn detail(api: &Api, organization: Id, id: Id) -> Answer<UserDetail> {
    let user = user::find(api, organization, id).await?.record;
    let shown = user::organization(api, organization).await?;
    let servers = server::attached(api, organization).await?;
    let secret = api.bus.get::<UserSecret>(id).await?;
    let connections = connections(api, std::slice::from_ref(&user), FEW).await?;
    let addresses = addresses(api, std::slice::from_ref(&user), &servers).await?;
    let mut detail = tell(&shown, user, &servers, &connections, &addresses);
    detail.user.otp_secret = secret.and_then(|secret| secret.record.otp_secret);
    Ok(detail)
}

type Connections = BTreeMap<Id, Vec<Connection>>;

async fn connections(api: &Api, users: &[User], few: usize) -> Answer<Connections> {
    let mut found = Connections::new();
    let mut take = |connection: Connection| found.entry(connection.user).or_default().push(connection);
    if users.len() <= few.min(FEW) {
        for user in users {
            let of = api.bus.list::<Connection>(Query::by("by_user").equal(user.id)).await?;
            of.into_iter().for_each(|stored| take(stored.record));
        }
    } else {
        let all = api.bus.list::<Connection>(Query::by("by_server")).await?;
        all.into_iter().for_each(|stored| take(stored.record));
    }
    Ok(found)
}

async fn details(
    api: &Api,
    organization: &Organization,
    users: Vec<User>,
    servers: &[Server],
) -> Answer<Vec<UserDetail>> {
    let connections = connections(api, &users, FEW).await?;
    let addresses = addresses(api, &users, servers).await?;
    Ok(users.into_iter().map(|user| tell(organization, user, servers, &connections, &addresses)).collect())
}

/// The addresses of users' first devices, by the records' ids.
type Addresses = BTreeMap<String, Address>;

/// Those of these users on these servers.
async fn addresses(api: &Api, users: &[User], servers: &[Server]) -> Answer<Addresses> {
    let mut found = Addresses::new();
    let mut take =
        |all: Vec<Stored<Address>>| found.extend(all.into_iter().map(|it| (it.record.id.clone(), it.record)));
    if users.len() <= FEW {
        for user in users {
            take(api.bus.list::<Address>(Query::by("by_user").equal(user.id)).await?);
        }
    } else {
        for server in servers {
            take(api.bus.list::<Address>(Query::by("by_address").equal(server.id)).await?);
        }
    }
    Ok(found)
}

fn tell(
    organization: &Organization,
    user: User,
    servers: &[Server],
    connections: &Connections,
    addresses: &Addresses,
) -> UserDetail {
    let of = connections.get(&user.id).map_or(&[][..], Vec::as_slice);
    let in_groups =
        |server: &&Server| server.groups.is_empty() || server.groups.iter().any(|group| user.groups.contains(group));
    let address = |server: &Server| addresses.get(&Address::name(server.id, user.id, 0))?.within(server.network);
    let shown = servers.iter().filter(in_groups).flat_map(|server| on_server(server, of, address(server))).collect();
    UserDetail {
        gravatar: false,
        audit: false,
        status: !of.is_empty(),
        sso: None,
        auth_modes: if user.pin { vec!["pin".into()] } else { Vec::new() },
        dns_mapping: None,
        network_links: user.network_links.clone(),
        servers: shown,
        user: show(user, organization, None),
    }
}

/// One entry for each connection to the server, or one that says there is none, with the address that the user will have.
fn on_server(server: &Server, of: &[Connection], address: Option<Ipv4Addr>) -> Vec<UserServer> {
    let online: Vec<UserServer> = of
        .iter()
        .filter(|connection| connection.server == server.id)
        .map(|connection| UserServer {
            id: connection.id,
            name: server.name.clone(),
            status: true,
            server_id: connection.id,
            device_name: connection.device_name.clone(),
            platform: connection.platform.clone(),
            real_address: Some(connection.real_address.clone()),
            virt_address: Some(connection.virtual_address.to_string()),
            virt_address6: None,
            connected_since: Some(connection.since),
        })
        .collect();
    if !online.is_empty() {
        return online;
    }
    vec![UserServer {
        id: server.id,
        name: server.name.clone(),
        status: false,
        server_id: server.id,
        device_name: None,
        platform: None,
        real_address: None,
        virt_address: address.map(|address| address.to_string()),
        virt_address6: None,
        connected_since: None,
    }]
}
