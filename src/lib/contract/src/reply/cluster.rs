//! Hosts, events, the log and the overview.

use culvert_model::record::HostStatus;
use culvert_model::{HostId, Id};
use serde::Serialize;

use super::json;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// The host's id.
    pub id: HostId,
    /// A name for people.
    pub name: String,
    /// The machine's own name.
    pub hostname: Option<String>,
    /// Null.
    pub instance_id: Option<String>,
    /// Whether it is there.
    pub status: HostStatus,
    /// Seconds.
    pub uptime: Option<u64>,
    /// Culvert's version on it.
    pub version: Option<String>,
    /// Null when a single host is asked for.
    pub user_count: Option<u64>,
    /// Null when a single host is asked for.
    pub users_online: Option<u64>,
    /// Networks on its interfaces.
    pub local_networks: Option<Vec<String>>,
    /// The address that profiles name.
    pub public_addr: Option<String>,
    /// The one that an administrator set.
    pub public_address: Option<String>,
    /// The IPv6 address that profiles name.
    pub public_addr6: Option<String>,
    /// The one that an administrator set.
    pub public_address6: Option<String>,
    /// Null.
    pub routed_subnet6: Option<String>,
    /// Null.
    pub routed_subnet6_wg: Option<String>,
    /// Null.
    pub proxy_ndp: Option<bool>,
    /// The address for links between hosts.
    pub link_addr: Option<String>,
    /// The one that an administrator set.
    pub link_address: Option<String>,
    /// Where profiles are synchronised.
    pub sync_address: Option<String>,
    /// The one that an administrator set.
    pub local_address: Option<String>,
    /// The address on the local network.
    pub local_addr: Option<String>,
    /// The one that an administrator set.
    pub local_address6: Option<String>,
    /// The IPv6 address on the local network.
    pub local_addr6: Option<String>,
    /// Which hosts stand in for each other.
    pub availability_group: String,
    /// Preference among hosts.
    pub priority: Option<i64>,
}

/// A page of hosts: ten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostPage {
    /// Which page, from 0.
    pub page: u64,
    /// The last page's number.
    pub page_total: u64,
    /// Those on it.
    pub hosts: Vec<Host>,
}

/// How busy a host's machine was: moments in seconds since 1970, each with a share from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    /// The processors' load.
    pub cpu: Vec<(u64, f64)>,
    /// The memory in use.
    pub mem: Vec<(u64, f64)>,
}

/// Something changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Event {
    /// The event's id, the cursor for what follows.
    pub id: Id,
    /// What changed.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of what: an organisation's or server's id.
    pub resource_id: Option<String>,
    /// Seconds since 1970.
    pub timestamp: f64,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogEntry {
    /// Its id.
    pub id: Id,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// For people.
    pub message: String,
}

/// Lines of the system's log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logs {
    /// The lines.
    pub output: Vec<String>,
}

/// The cluster in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Organisations.
    pub org_count: u64,
    /// Users connected.
    pub users_online: u64,
    /// Users.
    pub user_count: u64,
    /// Servers that run.
    pub servers_online: u64,
    /// Servers.
    pub server_count: u64,
    /// Hosts that are there.
    pub hosts_online: u64,
    /// Hosts.
    pub host_count: u64,
    /// Culvert's version.
    pub server_version: String,
    /// The id of the host that answers.
    pub current_host: HostId,
    /// The host's public address.
    pub public_ip: Option<String>,
    /// Networks on the host's interfaces.
    pub local_networks: Vec<String>,
    /// Empty.
    pub notification: String,
}

json!(Host, Logs, Status);
