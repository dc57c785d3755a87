//! The routes of a server.

use culvert_contract::RouteNetwork;
use culvert_contract::body::RouteChange;
use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::{Route, Server};
use ipnet::IpNet;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::filter;

/// The most routes of one server: what the helper takes (`wire::helper::ROUTES`).
const MOST: usize = culvert_wire::helper::ROUTES;

/// The routes in the contract's order: the default route, the clients' own network, the others by their text.
pub fn list(server: &Server) -> Vec<reply::RouteListItem> {
    let mut routes = server.routes.clone();
    routes.sort_by_key(|route| route.network.to_string());
    let (mut listed, rest): (Vec<_>, Vec<_>) = routes.into_iter().partition(|route| route.network.prefix_len() == 0);
    let own = listed.len();
    listed.push(plain(server.network.into()));
    listed.extend(rest);
    let item = |(place, route): (usize, &Route)| reply::RouteListItem {
        route: shown(server.id, route),
        virtual_network: place == own,
        network_link: false,
        server_link: false,
        link_virtual_network: false,
    };
    listed.iter().enumerate().map(item).collect()
}

fn plain(network: IpNet) -> Route {
    Route {
        network,
        comment: None,
        metric: None,
        nat: false,
        nat_interface: None,
        nat_netmap: None,
        net_gateway: false,
    }
}

fn shown(server: Id, route: &Route) -> reply::Route {
    reply::Route {
        id: RouteNetwork::id(route.network),
        server,
        network: route.network.to_string(),
        comment: route.comment.clone(),
        metric: route.metric,
        nat: route.nat,
        nat_interface: route.nat_interface.clone(),
        nat_netmap: route.nat_netmap.clone(),
        advertise: Some(false),
        advertise_resource: None,
        vpc_region: None,
        vpc_id: None,
        net_gateway: route.net_gateway,
    }
}

/// Adds routes, or changes those to the same networks: all or none. Answers the last.
///
/// # Errors
///
/// One may not be so, the server runs or is not there, or the store can't be reached.
pub async fn put(api: &Api, server: Id, changes: &[(IpNet, RouteChange)]) -> Answer<reply::Route> {
    let put = |server: &mut Server| {
        let mut last = Err(No::field("body", "server_route_invalid", "There must be at least one route."));
        for (network, change) in changes {
            last = Ok(apply(server, *network, change)?);
        }
        offline(server)?;
        last
    };
    let (server, route) = api.change::<Server, Route>(server, "server", put).await?;
    api.note(format!("Routes of server {} were changed.", server.name)).await;
    Ok(shown(server.id, &route))
}

/// Removes a route. That there is none is no error.
///
/// # Errors
///
/// The server runs or is not there, or the store can't be reached.
pub async fn remove(api: &Api, server: Id, network: IpNet) -> Answer<()> {
    let remove = |server: &mut Server| {
        offline(server)?;
        server.routes.retain(|route| route.network != network);
        Ok(())
    };
    let (server, ()) = api.change::<Server, ()>(server, "server", remove).await?;
    api.note(format!("A route of server {} was removed.", server.name)).await;
    Ok(())
}

fn offline(server: &Server) -> Answer<()> {
    if server.online {
        Err(No::bad("server_route_online", "Stop the server before you change its routes."))
    } else {
        Ok(())
    }
}

/// The network that an administrator wrote, `::/0` being the default route like `0.0.0.0/0`.
///
/// # Errors
///
/// It is none, or has host bits.
pub fn network(text: &str) -> Answer<IpNet> {
    let invalid = || {
        let text = "The route must be a network without host bits, such as 10.20.0.0/16.";
        No::field("network", "server_route_invalid", text)
    };
    let text = text.trim();
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| invalid())?;
    match network {
        _ if network.trunc() != network => Err(invalid()),
        IpNet::V6(_) if network.prefix_len() == 0 => Ok("0.0.0.0/0".parse().expect("a constant network")),
        IpNet::V6(_) => Err(No::unsupported("network", "IPv6 inside the tunnel is not there yet.")),
        IpNet::V4(_) => Ok(network),
    }
}

fn apply(server: &mut Server, network: IpNet, change: &RouteChange) -> Answer<Route> {
    let own = network == server.network.into();
    let fault = if own && change.nat {
        Some(("nat", "server_route_virtual_nat", "The clients' own network cannot have NAT."))
    } else if change.net_gateway && change.nat {
        Some(("net_gateway", "server_route_net_gateway_nat", "A route past the tunnel cannot have NAT."))
    } else if !change.nat_netmap.is_empty() && !change.nat {
        Some(("nat_netmap", "server_route_non_nat_netmap", "A NAT mapping needs NAT."))
    } else if !change.nat_netmap.is_empty() {
        Some(("nat_netmap", "not_supported", "Mapping of whole networks is not there yet."))
    } else if !change.nat_interface.is_empty() {
        Some(("nat_interface", "not_supported", "NAT takes the interface that the host's own routes name."))
    } else if change.advertise {
        Some(("advertise", "not_supported", "Routes cannot be made known to clouds."))
    } else {
        None
    };
    if let Some((field, id, text)) = fault {
        return Err(No::field(field, id, text));
    }
    let metric = u32::try_from(change.metric).ok().filter(|metric| *metric <= 65_535);
    let metric = metric.ok_or_else(|| No::field("metric", "value_invalid", "The metric must be from 0 to 65535."))?;
    let route = Route {
        comment: filter::trimmed(Some(&change.comment)),
        metric: (metric != 0).then_some(metric),
        nat: change.nat,
        net_gateway: change.net_gateway,
        ..plain(network)
    };
    if own {
        // It is there in any case, and has nothing that could be changed.
        return Ok(plain(network));
    }
    if let Some(known) = server.routes.iter_mut().find(|known| known.network == network) {
        known.clone_from(&route);
    } else if server.routes.len() < MOST {
        server.routes.push(route.clone());
    } else {
        return Err(No::bad("server_route_invalid", format!("A server has at most {MOST} routes.")));
    }
    Ok(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(network("::/0").map(|network| network.to_string()), Ok("0.0.0.0/0".into()));
        assert_eq!(network("10.1.0.0/16").map(|network| network.to_string()), Ok("10.1.0.0/16".into()));
        for bad in ["10.1.0.1/16", "", "x", "2001:db8::/32"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
