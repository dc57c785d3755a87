//! Servers with their organisations, routes, hosts and output.

use std::net::IpAddr;

use culvert_model::{Cipher, Digest, HostId, Id, Protocol};
use serde::Serialize;

use super::json;

/// How a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerStatus {
    /// It is to run, and no instance does yet.
    Pending,
    /// It is not to run.
    Offline,
    /// An instance runs.
    Online,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the contract's, explained at `body::ServerChange`")]
pub struct Server {
    pub id: Id,
    pub name: String,
    pub status: ServerStatus,
    /// Why it does not run, or can't be started, where that is known. Ours.
    pub reason: Option<String>,
    /// Seconds, at least 1 while online.
    pub uptime: Option<u64>,
    pub users_online: u64,
    pub devices_online: u64,
    /// Users of the attached organisations.
    pub user_count: u64,
    pub network: String,
    pub network_wg: Option<String>,
    pub bind_address: Option<String>,
    pub port: u16,
    pub port_wg: Option<u16>,
    pub protocol: Protocol,
    pub dh_param_bits: u16,
    pub groups: Vec<String>,
    pub wg: bool,
    pub ipv6: bool,
    pub ipv6_firewall: bool,
    pub network_mode: String,
    pub network_start: Option<String>,
    pub network_end: Option<String>,
    pub hide_ovpn: bool,
    pub ovpn_dco: Option<bool>,
    pub dynamic_firewall: bool,
    pub bypass_sso_auth: bool,
    pub geo_sort: bool,
    pub force_connect: bool,
    pub route_dns: bool,
    pub device_auth: bool,
    pub restrict_routes: bool,
    pub multi_device: bool,
    pub dns_servers: Vec<IpAddr>,
    pub search_domain: Option<String>,
    pub otp_auth: bool,
    pub sso_auth: bool,
    pub sso_webauth: bool,
    pub cipher: Cipher,
    pub hash: Digest,
    pub block_outside_dns: bool,
    pub jumbo_frames: bool,
    pub lzo_compression: bool,
    pub inter_client: bool,
    pub ping_interval: u32,
    pub ping_timeout: u32,
    pub ping_interval_wg: u32,
    pub ping_timeout_wg: u32,
    pub link_ping_interval: u32,
    pub link_ping_timeout: u32,
    pub inactive_timeout: Option<u32>,
    pub session_timeout: Option<u32>,
    pub allowed_devices: Option<String>,
    pub max_clients: u32,
    pub max_devices: Option<u32>,
    pub replica_count: u16,
    pub vxlan: bool,
    pub dns_mapping: bool,
    pub debug: bool,
    pub pre_connect_msg: Option<String>,
    pub mss_fix: Option<u16>,
    pub tun_mtu: Option<u16>,
    pub fragment: Option<u16>,
    pub multihome: Option<bool>,
}

/// A page of servers: three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerPage {
    /// Which page, from 0.
    pub page: u64,
    /// The last page's number.
    pub page_total: u64,
    /// Those on it.
    pub servers: Vec<Server>,
}

/// An organisation attached to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerOrg {
    /// The organisation's id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The server's id.
    pub server: Id,
}

/// A route of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The network's text in hex: see [`crate::RouteNetwork::id`].
    pub id: String,
    /// The server's id.
    pub server: Id,
    /// The network.
    pub network: String,
    /// For people.
    pub comment: Option<String>,
    /// The route's metric at the client.
    pub metric: Option<u32>,
    /// Whether clients appear with the host's address there.
    pub nat: bool,
    /// The only interface that address translation is for.
    pub nat_interface: Option<String>,
    /// The network that stands for this one towards the clients.
    pub nat_netmap: Option<String>,
    /// False.
    pub advertise: Option<bool>,
    /// Null.
    pub advertise_resource: Option<Vec<String>>,
    /// Null.
    pub vpc_region: Option<String>,
    /// Null.
    pub vpc_id: Option<String>,
    /// Whether clients send this network past the tunnel.
    pub net_gateway: bool,
}

/// A route in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteListItem {
    /// The route.
    #[serde(flatten)]
    pub route: Route,
    /// Whether it is the clients' own network.
    pub virtual_network: bool,
    /// Whether it is behind a user's machine.
    pub network_link: bool,
    /// False.
    pub server_link: bool,
    /// False.
    pub link_virtual_network: bool,
}

/// A host attached to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerHost {
    /// The host's id.
    pub id: HostId,
    /// The server's id.
    pub server: Id,
    /// `online` if it runs an instance, else `offline`.
    pub status: Option<&'static str>,
    /// The host's name.
    pub name: String,
    /// The address that profiles name.
    pub address: Option<String>,
    /// The IPv6 address that profiles name.
    pub address6: Option<String>,
}

/// What a server's instances printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerOutput {
    /// The server's id.
    pub id: Id,
    /// `[host] text`, oldest first.
    pub output: Vec<String>,
}

json!(Server, ServerOrg, Route, ServerHost, ServerOutput);
