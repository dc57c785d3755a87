//! Jobs, tasks and pools. These are ours: times are milliseconds since 1970 by the store's clock.

use culvert_model::record::{Dh, JobState, Purpose, Work};
use culvert_model::{HostId, Id, KeyKind, Millis};
use serde::Serialize;

/// Work that waits, is being done, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// The job's key.
    pub id: String,
    /// What is to be done.
    #[serde(flatten)]
    pub work: Work,
    /// 0 if somebody waits for it, 1 for soon, 2 to fill a pool.
    pub priority: u8,
    /// `open` or `dead`.
    pub state: JobState,
    /// When it was enqueued.
    pub created: Millis,
    /// Not to be tried before.
    pub not_before: Millis,
    /// How often it was begun.
    pub attempts: u16,
    /// The host that is to take it first.
    pub preferred: Option<HostId>,
    /// Whether somebody is doing it.
    pub running: bool,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A task that one host of all runs when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Task {
    /// The task's name.
    pub id: String,
    /// When it is next due.
    pub due: Millis,
    /// Whether somebody is running it.
    pub running: bool,
    /// How often the run that is due was begun.
    pub attempts: u16,
    /// When it last ended.
    pub finished: Option<Millis>,
    /// How long that took, milliseconds.
    pub duration: Option<Millis>,
    /// The host that ran it.
    pub host: Option<HostId>,
    /// What it did, or what went wrong.
    pub result: Option<String>,
}

/// Certificates kept ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// The organisation's id.
    pub organization: Id,
    /// Its name.
    pub organization_name: String,
    /// What they are for.
    pub purpose: Purpose,
    /// How many there are.
    pub ready: u64,
    /// How many there are to be.
    pub level: u64,
}

/// The cluster's own settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// Client certificates kept ready per organisation.
    pub client_pool: u16,
    /// Server certificates kept ready per organisation.
    pub server_pool: u16,
    /// CAs kept ready for organisations that are still to be made.
    pub ca_pool: u16,
    /// Diffie-Hellman parameters kept ready of each size.
    pub dh_pool: u16,
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
    /// Administrators are warned so many days before a certificate expires.
    pub expiry_days: u32,
    /// Seconds after which servers renew their session keys.
    pub renegotiate: u32,
}
