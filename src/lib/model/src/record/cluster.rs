//! The cluster's machines and its settings.

use serde::{Deserialize, Serialize};

use super::record;
use crate::{HostId, Id, KeyKind, Kind, Millis};

/// Whether a database may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// By everybody.
    Ready,
    /// Not yet: a host moves its records in.
    Importing,
    /// No more: its only host takes its records along.
    Leaving,
    /// No more: they were taken along.
    Left,
}

/// How far the records of a database are on their way to its format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The name of the kind that is being looked at.
    pub kind: String,
    /// The last record of it that was looked at; empty at its beginning.
    pub after: String,
    /// So many records were looked at.
    pub looked: u64,
    /// So many of them were changed.
    pub changed: u64,
    /// So many of them cannot be: they are damaged.
    pub failed: u64,
}

impl Migration {
    /// At the beginning of a kind.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self { kind: kind.name().into(), after: String::new(), looked: 0, changed: 0, failed: 0 }
    }
}

/// What the whole database is. Its shape only ever grows, so that every release can read why it may not work on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// [`Cluster::ID`].
    pub id: String,
    /// Whether it may be used.
    pub state: ClusterState,
    /// The host that moves its records, or moved them last.
    pub by: Option<HostId>,
    /// Which of that host's moves it is, so that a move that was broken off is told from another one.
    #[serde(default)]
    pub transfer: Option<Id>,
    /// Since when, milliseconds since 1970 by the store's clock.
    pub since: Millis,
    /// The format that all records have at least, and in which they are written: that of the oldest release in the
    /// cluster.
    pub format: u32,
    /// The version of Culvert that brought it to this format: what is older must not work on it.
    #[serde(default)]
    pub version: String,
    /// How far the records are that were there before; nothing once all are of this format.
    #[serde(default)]
    pub migration: Option<Migration>,
}
record!(Cluster);

impl Cluster {
    /// The id of the one record of this kind.
    pub const ID: &'static str = "cluster";
}

/// Whether a host is there, as its lease told when somebody last looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostStatus {
    /// It renews its lease.
    Online,
    /// It does not, or it said goodbye.
    Offline,
}

/// The format of hosts that do not tell one.
const fn first_format() -> u32 {
    1
}

/// A machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The host's id, which it keeps in its state folder.
    pub id: HostId,
    /// A name for people.
    pub name: String,
    /// The machine's own name.
    pub hostname: String,
    /// Culvert's version on it.
    pub version: String,
    /// The newest format that it knows: the database's is never above that of any host.
    #[serde(default = "first_format")]
    pub format: u32,
    /// Whether it is there.
    pub status: HostStatus,
    /// When its bus started, milliseconds since 1970 by the store's clock.
    pub started: Millis,
    /// Its processor cores.
    pub cores: u16,
    /// The address that profiles name, if an administrator set one.
    pub public_address: Option<String>,
    /// The IPv6 address that profiles name, if an administrator set one.
    pub public_address6: Option<String>,
    /// The address that the host found on its default interface.
    pub local_address: Option<String>,
    /// The networks that the host found on its interfaces.
    pub local_networks: Vec<String>,
    /// Where profiles are synchronised, if not at the public address.
    pub sync_address: Option<String>,
    /// Which hosts stand in for each other.
    pub availability_group: String,
    /// Preference among hosts.
    pub priority: i64,
}
record!(Host);

impl Host {
    /// How long a host's lease lasts, and how often its bus renews it, milliseconds. Whoever vanishes is offline for all
    /// within 10 s: after the lease's 8.5 s somebody who was waiting for that moment looks, at most half a second late.
    /// What is left between renewal and end is longer than the 6 s of silence that nobody may take for contact
    /// (`culvert_records::SILENCE`).
    pub const LEASE: Millis = 8_500;
    /// See [`Host::LEASE`].
    pub const RENEWAL: Millis = 2_000;
}

/// What servers have for clients that know no elliptic curves. Each is a finite-field Diffie-Hellman exchange, which TLS 1.2
/// has with RSA keys only: such clients need an RSA [`Settings::server_key`] as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dh {
    /// Nothing: such clients cannot connect.
    None,
    /// The group of RFC 7919 of the server's size, at once.
    Group,
    /// Parameters of the server's own, which are searched for.
    Own,
}

/// The cluster's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// [`Settings::ID`].
    pub id: String,
    /// `light` or `dark`.
    pub theme: String,
    /// Whether users may, must or can't have a PIN: `optional`, `required` or `disabled`.
    pub pin_mode: String,
    /// Whether profiles are to be had by key link as files.
    pub restrict_import: bool,
    /// Client certificates kept ready per organisation.
    pub client_pool: u16,
    /// Server certificates kept ready per organisation.
    pub server_pool: u16,
    /// CAs kept ready for organisations that are still to be made.
    pub ca_pool: u16,
    /// Diffie-Hellman parameters kept ready of each of [`Settings::dh_pool_bits`], if servers have their own.
    pub dh_pool: u16,
    /// The sizes that are kept ready: 2048, 3072 or 4096.
    pub dh_pool_bits: Vec<u16>,
    /// What servers have for clients that know no elliptic curves.
    pub dh: Dh,
    /// The keys of users.
    pub user_key: KeyKind,
    /// The keys of servers.
    pub server_key: KeyKind,
    /// The keys of organisations' CAs.
    pub ca_key: KeyKind,
    /// Days that certificates of users and servers are valid.
    pub leaf_days: u32,
    /// Days that an organisation's CA is valid.
    pub ca_days: u32,
    /// Administrators are warned so many days before a certificate expires, and who fetches a profile gets a new one:
    /// see [`Settings::expiry`].
    pub expiry_days: u32,
    /// Seconds after which OpenVPN servers renew their session keys.
    pub renegotiate: u32,
}
record!(Settings);

impl Settings {
    /// The id of the one record of this kind.
    pub const ID: &'static str = "settings";

    /// How long before its end a certificate is told of and renewed, milliseconds: at most a third of the time for which
    /// one is valid, so that a new one does not end soon as well.
    #[must_use]
    pub fn expiry(&self) -> Millis {
        Millis::from(self.expiry_days.min(self.leaf_days / 3)) * 24 * 3600 * 1000
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            id: Self::ID.into(),
            theme: "dark".into(),
            pin_mode: "optional".into(),
            restrict_import: false,
            client_pool: 6,
            server_pool: 2,
            ca_pool: 1,
            dh_pool: 3,
            dh_pool_bits: vec![2048],
            dh: Dh::None,
            user_key: KeyKind::Rsa3072,
            server_key: KeyKind::P256,
            ca_key: KeyKind::P256,
            leaf_days: 5 * 365,
            ca_days: 20 * 365,
            expiry_days: 30,
            renegotiate: 30 * 24 * 3600,
        }
    }
}

/// What happened, for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The record's id.
    pub id: Id,
    /// Seconds since 1970.
    pub timestamp: i64,
    /// One sentence.
    pub message: String,
}
record!(Log);

impl Log {
    /// The entry about a damaged record: the same id whoever makes it, so that there is one.
    #[must_use]
    pub fn of_damage(kind: Kind, id: &str, timestamp: i64) -> Self {
        let kind = kind.name();
        let message = format!(
            "The record {id:?} in {kind} is damaged and left out. Look with `culvert store damaged`, mend it with \
             `culvert store repair`."
        );
        Self { id: Self::id_of(&format!("damage/{kind}/{id}")), timestamp, message }
    }

    /// The entry that hosts keep the database in an older format.
    #[must_use]
    pub fn of_hosts_behind(format: u32, hosts: &str, timestamp: i64) -> Self {
        let message = format!(
            "The records wait to be brought to the format of this version, because these hosts do not know it yet: \
             {hosts}. Update them, or remove those that are gone for good."
        );
        Self { id: Self::id_of(&format!("behind/{format}/{hosts}")), timestamp, message }
    }

    /// The entry that something ends soon: one for each end and each number of days left at which that is told.
    #[must_use]
    pub fn of_expiry(what: &str, expires: Millis, days: u32, message: String, timestamp: i64) -> Self {
        Self { id: Self::id_of(&format!("expiry/{what}/{expires}/{days}")), timestamp, message }
    }

    /// An id that this text alone has (FNV-1a, 64 bits).
    fn id_of(text: &str) -> Id {
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, fnv);
        let mut bytes = *b"note\0\0\0\0\0\0\0\0";
        bytes[4..].copy_from_slice(&hash.to_be_bytes());
        Id::from_bytes(bytes)
    }
}
