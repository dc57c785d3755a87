//! Jobs, tasks and pools. These are ours: times are milliseconds since 1970 by the store's clock.

use bytes::Bytes;
use culvert_model::record::{Dh, Progress, Work};
use culvert_model::{HostId, Id, KeyKind, Millis};
use serde::Serialize;

use super::{Reply, to_json};

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Nobody has begun it, or it waits to be tried again.
    Waiting,
    /// A host is doing it.
    Running,
    /// It rests while its host does something more urgent.
    Paused,
    /// It failed too often, and is left until an administrator retries or discards it.
    Dead,
    /// Its host is giving it up.
    Cancelled,
}

/// Work that waits, is being done, or was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// The job's key.
    pub id: String,
    /// What is to be done. Of users who are to be made, none are listed.
    #[serde(flatten)]
    pub work: Work,
    /// 0 if somebody waits for it, 1 for soon, 2 to fill a pool.
    pub priority: u8,
    /// Where it is.
    pub state: JobState,
    /// When it was enqueued.
    pub created: Millis,
    /// How long ago that was, milliseconds.
    pub age: Millis,
    /// Not to be tried before.
    pub not_before: Millis,
    /// Not to be begun after.
    pub deadline: Option<Millis>,
    /// How often it was begun.
    pub attempts: u16,
    /// When the attempt that is under way was begun.
    pub begun: Option<Millis>,
    /// How long ago that was, milliseconds.
    pub duration: Option<Millis>,
    /// How far it is, if it tells.
    pub progress: Option<Progress>,
    /// The host that is to take it first.
    pub preferred: Option<HostId>,
    /// The host that is doing it.
    pub host: Option<HostId>,
    /// Whether its result is somebody's who waits.
    pub awaited: bool,
    /// What went wrong last.
    pub reason: Option<String>,
}

/// Jobs: those that were given up, then the most urgent ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jobs {
    /// The first ten thousand.
    pub jobs: Vec<Job>,
    /// Whether there are more.
    pub truncated: bool,
}

impl Reply for Jobs {
    fn truncated(&self) -> bool {
        self.truncated
    }

    fn into_bytes(self) -> Bytes {
        to_json(&self.jobs)
    }
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
    /// When it last ended and had done what it is for.
    pub succeeded: Option<Millis>,
    /// How long the last run took, milliseconds.
    pub duration: Option<Millis>,
    /// The host that is running it, or ran it last.
    pub host: Option<HostId>,
    /// What it did, or what went wrong.
    pub result: Option<String>,
}

/// What is kept ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// `authority`, `client`, `server` or `dh_params`.
    pub pool: &'static str,
    /// The organisation whose it is, if it is one's.
    pub organization: Option<Id>,
    /// Its name.
    pub organization_name: Option<String>,
    /// The size of Diffie-Hellman parameters.
    pub bits: Option<u16>,
    /// How many there are to be.
    pub level: u16,
    /// How many there are.
    pub ready: u64,
    /// How many are being made, or wait to be.
    pub coming: u64,
    /// How many could not be made: see the jobs that are dead.
    pub dead: u64,
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
