//! VPN servers, their instances on hosts, and who is connected.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{Bytes, record};
use crate::network::usable;
use crate::{Cipher, Digest, HostId, Id, Millis, Port, Protocol, Slot};

/// A network that a server's clients reach through it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network, without host bits.
    pub network: IpNet,
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
    /// Whether clients send this network past the tunnel.
    pub net_gateway: bool,
}

/// A VPN server of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// The record's id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Whether it is to run.
    pub online: bool,
    /// When it was last started, milliseconds since 1970 by the store's clock.
    pub started: Option<Millis>,
    /// Its clients' network.
    pub network: Ipv4Net,
    /// The only address it listens on.
    pub bind_address: Option<IpAddr>,
    /// What it speaks.
    pub protocol: Protocol,
    /// The port it listens on.
    pub port: Port,
    /// The organisations whose users may connect.
    pub organizations: Vec<Id>,
    /// The hosts that may run it.
    pub hosts: Vec<HostId>,
    /// Those of them that stand by: they belong to another availability group than the one that runs it. A task chooses
    /// that group.
    #[serde(default)]
    pub standby: Vec<HostId>,
    /// How many of them do at a time.
    pub replica_count: u16,
    /// What its clients reach through it.
    pub routes: Vec<Route>,
    /// Its certificate, signed by the CA of one of its organisations.
    pub certificate: Option<Id>,
    /// The only groups whose users may connect; empty for all.
    pub groups: Vec<String>,
    /// The name servers that its clients get.
    pub dns_servers: Vec<IpAddr>,
    /// The domains that its clients search.
    pub search_domain: Option<String>,
    /// The cipher for clients.
    pub cipher: Cipher,
    /// The digest for clients.
    pub hash: Digest,
    /// Bits of Diffie-Hellman parameters, where the cluster's settings say that servers have any.
    pub dh_param_bits: u16,
    /// Its own parameters, once it has some: PKCS #3, DER.
    #[serde(default)]
    pub dh_params: Option<Bytes>,
    /// The job that is moving its users' addresses to another network: nobody gets a new address until it has ended.
    #[serde(default)]
    pub network_lock: Option<String>,
    /// Whether a user may connect with several devices at once.
    pub multi_device: bool,
    /// Whether clients reach each other.
    pub inter_client: bool,
    /// Whether clients reach nothing but the routes.
    pub restrict_routes: bool,
    /// Whether connecting takes a one-time code.
    pub otp_auth: bool,
    /// Seconds between two keep-alive packets.
    pub ping_interval: u32,
    /// Seconds without any after which the other side is taken for gone.
    pub ping_timeout: u32,
    /// Seconds without traffic after which a client is disconnected.
    pub inactive_timeout: Option<u32>,
    /// Seconds after which a client is disconnected.
    pub session_timeout: Option<u32>,
    /// The most clients at a time.
    pub max_clients: u32,
    /// The most devices of one user; 0 for any number.
    pub max_devices: u32,
    /// The largest packet inside the tunnel, in bytes.
    pub tun_mtu: Option<u16>,
    /// The largest TCP segment inside the tunnel, in bytes.
    pub mss_fix: Option<u16>,
    /// Whether the log has every detail.
    pub debug: bool,
    /// Whether clients block name servers outside the tunnel (Windows).
    pub block_outside_dns: bool,
    /// What clients show before they connect.
    pub pre_connect_msg: Option<String>,
}
record!(Server);

/// What stands for the networks and ports of all servers: one record, which is written with each choice of one, by
/// whoever looked at all servers since reading it. It holds nothing: of two choices without sight of each other one is
/// refused for its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Networks {
    /// [`Networks::ID`].
    pub id: String,
}
record!(Networks);

impl Networks {
    /// The id of the only record.
    pub const ID: &str = "networks";
}

impl Default for Networks {
    fn default() -> Self {
        Self { id: Self::ID.into() }
    }
}

impl Server {
    /// The size of the Diffie-Hellman parameters that it gets: what is smaller than 2048 bits can be broken (RFC 8247,
    /// section 2.4).
    #[must_use]
    pub const fn dh_size(&self) -> u16 {
        if self.dh_param_bits < 2048 { 2048 } else { self.dh_param_bits }
    }

    /// Whether this host is to run it, if no other does.
    #[must_use]
    pub fn runs_on(&self, host: HostId) -> bool {
        self.online && self.hosts.contains(&host) && !self.standby.contains(&host)
    }
}

/// Diffie-Hellman parameters that wait for a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhParams {
    /// The record's id.
    pub id: Id,
    /// Their size.
    pub bits: u16,
    /// PKCS #3, DER.
    pub der: Bytes,
}
record!(DhParams);

/// The keys that a server and its clients share, under the server's id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerKey {
    /// The server's id.
    pub id: Id,
    /// 256 random bytes (OpenVPN 2.6 manual, `--tls-crypt`).
    pub tls_crypt: Bytes,
}
record!(ServerKey);

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceState {
    /// Nobody runs it.
    Idle,
    /// Its holder is starting it.
    Starting,
    /// OpenVPN said that it is up and its rules are in place.
    Online,
    /// It could not be started, or ended by itself: see [`Instance::reason`].
    Failed,
}

/// One of the instances of a server: held by lease, by the host that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `<server>-<number>`, the number from 0.
    pub id: String,
    /// The server.
    pub server: Id,
    /// The host that runs it.
    pub host: Option<HostId>,
    /// The slot that it has there.
    pub slot: Option<Slot>,
    /// How far it is.
    pub state: InstanceState,
    /// Since when, milliseconds since 1970 by the store's clock.
    pub since: Millis,
    /// Why it failed or stopped, for people.
    pub reason: Option<String>,
    /// The server's certificate that it was last started with: it takes another one at its next start.
    #[serde(default)]
    pub certificate: Option<Id>,
}
record!(Instance);

impl Instance {
    /// The id of a server's instance of this number.
    #[must_use]
    pub fn name(server: Id, number: u16) -> String {
        format!("{server}-{number}")
    }

    /// The number in such an id.
    #[must_use]
    pub fn number(id: &str) -> Option<u16> {
        last_number(id)
    }
}

/// The tunnel address of a user's device on a server. It stays the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `<server>-<user>-<number>`, the number from 0, above 0 only for further devices.
    pub id: String,
    /// The server.
    pub server: Id,
    /// The user.
    pub user: Id,
    /// The address.
    pub address: Ipv4Addr,
    /// The one that it becomes in the network that the server is being moved into. Until then it means nothing.
    #[serde(default)]
    pub next: Option<Ipv4Addr>,
}
record!(Address);

impl Address {
    /// Of a user's device of this number.
    #[must_use]
    pub fn new(server: Id, user: Id, number: u16, address: Ipv4Addr) -> Self {
        Self { id: Self::name(server, user, number), server, user, address, next: None }
    }

    /// The id of the address of a user's device of this number.
    #[must_use]
    pub fn name(server: Id, user: Id, number: u16) -> String {
        format!("{server}-{user}-{number}")
    }

    /// The number of the device in such an id.
    #[must_use]
    pub fn number(id: &str) -> Option<u16> {
        last_number(id)
    }

    /// What it is in the network that the server has: this is what the move into another network turns on. Nothing, if it
    /// is from a former network.
    #[must_use]
    pub fn within(&self, network: Ipv4Net) -> Option<Ipv4Addr> {
        [Some(self.address), self.next].into_iter().flatten().find(|address| usable(network, *address))
    }
}

fn last_number(id: &str) -> Option<u16> {
    id.rsplit_once('-')?.1.parse().ok()
}

/// A client that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The record's id.
    pub id: Id,
    /// The server.
    pub server: Id,
    /// The host that runs the instance.
    pub host: HostId,
    /// Who is connected.
    pub user: Id,
    /// The user's organisation.
    pub organization: Id,
    /// The client's number in OpenVPN.
    pub client: u64,
    /// Where it comes from.
    pub real_address: String,
    /// Its address in the tunnel.
    pub virtual_address: Ipv4Addr,
    /// What the client says it runs on.
    pub platform: Option<String>,
    /// What the client calls its device.
    pub device_name: Option<String>,
    /// Since when, seconds since 1970.
    pub since: i64,
    /// The serial number of its certificate, lower-case hex, if it is known.
    #[serde(default)]
    pub serial: Option<String>,
}
record!(Connection);

/// The last lines of what an instance printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The instance's id.
    pub id: String,
    /// The server.
    pub server: Id,
    /// Oldest first, at most [`Output::LINES`].
    pub lines: Vec<String>,
}
record!(Output);

impl Output {
    /// The most lines that are kept.
    pub const LINES: usize = 500;
}
