//! Whether a server may be as an administrator wants it: the contract's checks, in its order; the first fault wins.

use std::net::IpAddr;

use culvert_contract::body::ServerChange;
use culvert_model::network::overlap;
use culvert_model::record::{Route, Server};
use culvert_model::{HostId, Id, Port};

use super::network;
use crate::answer::{Answer, No};
use crate::filter;

/// The comment of the default route to the name server, which follows the server's first name server.
pub const DNS_COMMENT: &str = "DNS Server";

/// The server as it is to be. A new one has a new id, this host and the default routes.
///
/// # Errors
///
/// It may not be so.
pub fn plan(old: Option<&Server>, change: &ServerChange, others: &[Server], host: HostId) -> Answer<Server> {
    supported(change)?;
    let others = || others.iter().filter(|other| old.is_none_or(|old| old.id != other.id));
    let network = match (change.network.trim(), old) {
        ("", Some(old)) => old.network,
        ("", None) => network::choose(others())?,
        (text, _) => network::read(text)?,
    };
    let protocol = change.protocol.to_lowercase().parse();
    let protocol =
        protocol.map_err(|_| No::field("protocol", "protocol_invalid", "The protocol must be udp or tcp."))?;
    let port = match (change.port, old) {
        (0, Some(old)) => old.port,
        (0, None) => network::choose_port(protocol, others())?,
        (port, _) => Port::try_from(port)
            .map_err(|_| No::field("port", "port_invalid", "The port must be a number from 1 to 65535."))?,
    };
    let dns_servers = name_servers(&change.dns_servers)?;
    let dh_param_bits = dh_param_bits(change.dh_param_bits, old)?;
    let server = Server {
        id: old.map_or_else(Id::new, |old| old.id),
        name: filter::name(&change.name),
        online: old.is_some_and(|old| old.online),
        started: old.and_then(|old| old.started),
        network,
        bind_address: bind_address(&change.bind_address)?,
        protocol,
        port,
        organizations: old.map_or_else(Vec::new, |old| old.organizations.clone()),
        hosts: old.map_or_else(|| vec![host], |old| old.hosts.clone()),
        standby: old.map_or_else(Vec::new, |old| old.standby.clone()),
        replica_count: within("replica_count", change.replica_count, 1, 1, 1000)?,
        routes: routes(old, &dns_servers),
        certificate: old.and_then(|old| old.certificate),
        groups: filter::set(&change.groups),
        dns_servers,
        search_domain: search_domain(&change.search_domain),
        cipher: change.cipher.parse().map_err(|_| {
            let text = "The cipher must be none, bf128, bf256, aes128, aes192, aes256 or chacha20poly1205.";
            No::field("cipher", "cipher_invalid", text)
        })?,
        hash: change
            .hash
            .parse()
            .map_err(|_| No::field("hash", "hash_invalid", "The hash must be none, md5, sha1, sha256 or sha512."))?,
        dh_param_bits,
        // Those of another size are not what was asked for.
        dh_params: old.filter(|old| old.dh_param_bits == dh_param_bits).and_then(|old| old.dh_params.clone()),
        network_lock: old.and_then(|old| old.network_lock.clone()),
        multi_device: change.multi_device,
        inter_client: change.inter_client,
        restrict_routes: change.restrict_routes,
        otp_auth: false,
        ping_interval: within("ping_interval", change.ping_interval, 10, 1, 3600)?,
        ping_timeout: within("ping_timeout", change.ping_timeout, 60, 1, 65_535)?,
        inactive_timeout: optional("inactive_timeout", change.inactive_timeout, 1, u32::MAX.into())?,
        session_timeout: None,
        max_clients: within("max_clients", change.max_clients, 2000, 1, 65_535)?,
        max_devices: within("max_devices", change.max_devices, 0, 0, 65_535)?,
        tun_mtu: optional("tun_mtu", change.tun_mtu, 576, 9000)?,
        mss_fix: change.mss_fix.0,
        debug: change.debug,
        block_outside_dns: change.block_outside_dns,
        pre_connect_msg: filter::trimmed(Some(&change.pre_connect_msg)),
    };
    whole(old, &server, others())?;
    Ok(server)
}

/// What concerns the server as a whole, and the others.
fn whole<'a>(
    old: Option<&Server>,
    server: &Server,
    mut others: impl Iterator<Item = &'a Server> + Clone,
) -> Answer<()> {
    if old.is_some_and(|old| old.online && !changeable_online(old, server)) {
        return Err(No::bad("server_not_offline", "Stop the server before you change this."));
    }
    if old.is_some_and(|old| old.network_lock.is_some() && old.network != server.network) {
        let text =
            "The server is being moved into another network already. Wait until that has ended, or cancel the job.";
        return Err(No::field("network", "server_network_locked", text));
    }
    if others.clone().any(|other| overlap(other.network, server.network)) {
        let text = "Another server's network overlaps with this one. Choose another.";
        return Err(No::field("network", "network_in_use", text));
    }
    if others.any(|other| (other.port, other.protocol) == (server.port, server.protocol)) {
        let text = "Another server has this port with this protocol. Choose another.";
        return Err(No::field("port", "port_protocol_in_use", text));
    }
    if server.ping_interval + 5 > server.ping_timeout {
        let text = "The ping timeout must be at least five seconds longer than the ping interval.";
        return Err(No::field("ping_interval", "ping_interval_too_high", text));
    }
    if server.search_domain.is_some() && server.dns_servers.is_empty() {
        let text = "A search domain needs a DNS server.";
        return Err(No::field("search_domain", "server_domain_no_dns", text));
    }
    Ok(())
}

/// Whether the two differ in nothing but what may be changed while the server runs.
fn changeable_online(old: &Server, new: &Server) -> bool {
    let as_before = Server {
        name: old.name.clone(),
        block_outside_dns: old.block_outside_dns,
        replica_count: old.replica_count,
        pre_connect_msg: old.pre_connect_msg.clone(),
        ..new.clone()
    };
    *old == as_before
}

/// Refuses what this version does not do, rather than not doing it in silence.
fn supported(change: &ServerChange) -> Answer<()> {
    let refused = [
        ("wg", change.wg, "WireGuard is not there yet."),
        ("ipv6", change.ipv6, "IPv6 inside the tunnel is not there yet."),
        ("network_mode", change.network_mode == "bridge", "Bridged servers are not there."),
        ("ovpn_dco", change.ovpn_dco, "Data channel offload is not there yet."),
        ("dynamic_firewall", change.dynamic_firewall, "The dynamic firewall is not there yet."),
        ("bypass_sso_auth", change.bypass_sso_auth, "Single sign-on is not there yet."),
        ("sso_auth", change.sso_auth, "Single sign-on is not there yet."),
        ("device_auth", change.device_auth, "Device registration is not there yet."),
        ("otp_auth", change.otp_auth, "One-time codes are not asked for at connect yet."),
        ("hide_ovpn", change.hide_ovpn, "Profiles cannot be hidden yet."),
        ("geo_sort", change.geo_sort, "Hosts are not sorted by place."),
        ("force_connect", change.force_connect, "Clients cannot be made to stay connected yet."),
        ("route_dns", change.route_dns, "Give the name servers a route instead."),
        ("dns_mapping", change.dns_mapping, "Names for clients are not there yet."),
        (
            "lzo_compression",
            change.lzo_compression,
            "Compression inside a VPN leaks what is sent; it is refused for good.",
        ),
        ("jumbo_frames", change.jumbo_frames, "Set tun_mtu instead."),
        ("multihome", change.multihome, "Name a bind_address instead."),
        ("allowed_devices", !change.allowed_devices.is_empty(), "Clients are not told apart by device yet."),
        (
            "session_timeout",
            change.session_timeout != 0,
            "Sessions are not ended by their length yet; inactive_timeout is there.",
        ),
        ("fragment", change.fragment != 0, "Fragmenting by OpenVPN is not there; set mss_fix."),
    ];
    match refused.into_iter().find(|(_, asked, _)| *asked) {
        Some((field, _, why)) => Err(No::unsupported(field, why)),
        None => Ok(()),
    }
}

fn dh_param_bits(bits: i64, old: Option<&Server>) -> Answer<u16> {
    match bits {
        0 => Ok(old.map_or(2048, |old| old.dh_param_bits)),
        1024 | 1536 | 2048 | 3072 | 4096 => Ok(bits as u16),
        _ => {
            let text = "The DH parameters must have 1024, 1536, 2048, 3072 or 4096 bits.";
            Err(No::field("dh_param_bits", "dh_param_bits_invalid", text))
        }
    }
}

fn name_servers(texts: &[String]) -> Answer<Vec<IpAddr>> {
    let address = |text: &String| {
        text.trim().parse().map_err(|_| {
            No::field("dns_servers", "dns_server_invalid", "A DNS server must be given by its IP address.")
        })
    };
    texts.iter().map(address).collect()
}

fn bind_address(text: &str) -> Answer<Option<IpAddr>> {
    let text = text.trim();
    let address = (!text.is_empty()).then(|| text.parse()).transpose();
    address.map_err(|_| No::field("bind_address", "bind_address_invalid", "The bind address must be an IP address."))
}

fn search_domain(text: &str) -> Option<String> {
    let names: Vec<_> = text.split(',').map(filter::name).filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// A new server's default routes, or the old one's, of which the one to the name server follows it.
fn routes(old: Option<&Server>, dns_servers: &[IpAddr]) -> Vec<Route> {
    let route = |network: &str, comment: Option<&str>| Route {
        network: network.parse().expect("a constant network"),
        comment: comment.map(Into::into),
        metric: None,
        nat: true,
        nat_interface: None,
        nat_netmap: None,
        net_gateway: false,
    };
    let new = || vec![route("0.0.0.0/0", None), route("8.8.8.8/32", Some(DNS_COMMENT))];
    let mut routes = old.map_or_else(new, |old| old.routes.clone());
    let first = dns_servers.iter().find(|address| address.is_ipv4());
    if let (Some(address), Some(place)) =
        (first, routes.iter().position(|route| route.comment.as_deref() == Some(DNS_COMMENT)))
    {
        let network = (*address).into();
        if routes.iter().all(|route| route.network != network) {
            routes[place].network = network;
        }
    }
    routes
}

/// A number within bounds; zero is the default.
fn within<T: TryFrom<i64>>(field: &'static str, number: i64, default: i64, least: i64, most: i64) -> Answer<T> {
    let number = if number == 0 { default } else { number };
    let fits = (least..=most).contains(&number).then_some(number);
    fits.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        let field_text = field.replace('_', " ");
        No::field(field, "value_invalid", format!("The {field_text} must be a number from {least} to {most}."))
    })
}

/// A number within bounds; zero is nothing.
fn optional<T: TryFrom<i64>>(field: &'static str, number: i64, least: i64, most: i64) -> Answer<Option<T>> {
    if number == 0 { Ok(None) } else { within(field, number, 0, least, most).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> ServerChange {
        ServerChange {
            name: "s".into(),
            protocol: "UDP".into(),
            cipher: "aes256".into(),
            hash: "sha256".into(),
            ..ServerChange::default()
        }
    }

    fn made(change: &ServerChange, others: &[Server]) -> Answer<Server> {
        plan(None, change, others, HostId::new())
    }

    fn id_of(result: Answer<Server>) -> String {
        result.expect_err("it is refused").id.into_owned()
    }

    #[test]
    fn a_new_server_has_the_contracts_defaults() {
        let server = made(&change(), &[]).expect("fine");
        assert_eq!((server.ping_interval, server.ping_timeout, server.max_clients), (10, 60, 2000));
        assert_eq!((server.dh_param_bits, server.replica_count, server.hosts.len()), (2048, 1, 1));
        assert!((10_000..=19_998).contains(&server.port.get()));
        assert!(server.network.to_string().starts_with("192.168.") && server.network.prefix_len() == 24);
        let routes: Vec<_> = server.routes.iter().map(|route| route.network.to_string()).collect();
        assert_eq!(routes, ["0.0.0.0/0", "8.8.8.8/32"]);
    }

    #[test]
    fn the_route_to_the_name_server_follows_it() {
        let server = made(&ServerChange { dns_servers: vec!["10.1.2.3".into()], ..change() }, &[]).expect("fine");
        assert_eq!(server.routes[1].network.to_string(), "10.1.2.3/32");
    }

    #[test]
    fn faults_in_their_order() {
        assert_eq!(id_of(made(&ServerChange::default(), &[])), "protocol_invalid");
        assert_eq!(id_of(made(&ServerChange { cipher: String::new(), ..change() }, &[])), "cipher_invalid");
        assert_eq!(id_of(made(&ServerChange { hash: "x".into(), ..change() }, &[])), "hash_invalid");
        assert_eq!(id_of(made(&ServerChange { port: 70_000, ..change() }, &[])), "port_invalid");
        assert_eq!(id_of(made(&ServerChange { port: -1, ..change() }, &[])), "port_invalid");
        assert_eq!(id_of(made(&ServerChange { dh_param_bits: 1, ..change() }, &[])), "dh_param_bits_invalid");
        assert_eq!(id_of(made(&ServerChange { ping_interval: 56, ..change() }, &[])), "ping_interval_too_high");
        assert_eq!(id_of(made(&ServerChange { search_domain: "x".into(), ..change() }, &[])), "server_domain_no_dns");
        assert_eq!(id_of(made(&ServerChange { dns_servers: vec!["x".into()], ..change() }, &[])), "dns_server_invalid");
        assert_eq!(id_of(made(&ServerChange { max_clients: -5, ..change() }, &[])), "value_invalid");
        assert_eq!(id_of(made(&ServerChange { wg: true, ..change() }, &[])), "not_supported");
        let other = made(&ServerChange { port: 1194, network: "10.9.0.0/16".into(), ..change() }, &[]).expect("fine");
        let same = ServerChange { network: "10.9.8.0/24".into(), ..change() };
        assert_eq!(id_of(made(&same, std::slice::from_ref(&other))), "network_in_use");
        let same = ServerChange { port: 1194, ..change() };
        assert_eq!(id_of(made(&same, &[other])), "port_protocol_in_use");
    }

    #[test]
    fn what_may_change_while_it_runs() {
        let mut old = made(&ServerChange { port: 1194, ..change() }, &[]).expect("fine");
        old.online = true;
        let others = [old.clone()];
        let host = HostId::new();
        let renamed = ServerChange { name: "t".into(), pre_connect_msg: "hello".into(), ..change() };
        assert_eq!(plan(Some(&old), &renamed, &others, host).expect("fine").name, "t");
        let moved = ServerChange { port: 1195, ..change() };
        assert_eq!(id_of(plan(Some(&old), &moved, &others, host)), "server_not_offline");
    }
}
