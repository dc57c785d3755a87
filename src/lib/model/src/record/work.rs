//! Jobs and tasks: work that one host does for all.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Purpose, User, record};
use crate::{HostId, Id, Millis};

/// How urgent a job is. Smaller sorts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Priority {
    /// Somebody waits.
    High = 0,
    /// Soon.
    Normal = 1,
    /// To fill a pool.
    Low = 2,
    /// What can wait until all pools are full.
    Lowest = 3,
}

impl Priority {
    /// Whether nobody waits for it: of all that is so, a host does one at a time, beside everything else.
    #[must_use]
    pub const fn in_background(self) -> bool {
        matches!(self, Self::Low | Self::Lowest)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority as Self
    }
}

impl TryFrom<u8> for Priority {
    type Error = crate::BadValue;

    fn try_from(number: u8) -> Result<Self, crate::BadValue> {
        [Self::High, Self::Normal, Self::Low, Self::Lowest]
            .into_iter()
            .find(|priority| *priority as u8 == number)
            .ok_or(crate::BadValue { expected: "a priority from 0 to 3" })
    }
}

/// Where a job is in its life. A job that is done is deleted together with the write of its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It waits, or is being done by whoever holds its lease.
    Open,
    /// It was tried too often; an administrator may retry or discard it.
    Dead,
}

/// A user whom a job is to make. The user's secrets are in the store before the job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// The user's id, chosen by whoever enqueued.
    pub id: Id,
    /// The user's name.
    pub name: String,
    /// Where mail reaches the user.
    pub email: Option<String>,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// Whether the user may not connect.
    pub disabled: bool,
    /// Whether a PIN is set.
    pub pin: bool,
    /// Whether second factors are waived.
    pub bypass_secondary: bool,
    /// Name servers for this user instead of the server's.
    pub dns_servers: Option<Vec<String>>,
    /// The search domain for this user.
    pub dns_suffix: Option<String>,
}

impl NewUser {
    /// The user, with this certificate.
    #[must_use]
    pub fn user(self, organization: Id, certificate: Id) -> User {
        User {
            id: self.id,
            organization,
            name: self.name,
            email: self.email,
            groups: self.groups,
            disabled: self.disabled,
            auth_type: "local".into(),
            yubico_id: None,
            pin: self.pin,
            bypass_secondary: self.bypass_secondary,
            client_to_client: false,
            mac_addresses: None,
            dns_servers: self.dns_servers,
            dns_suffix: self.dns_suffix,
            port_forwarding: None,
            network_links: Vec::new(),
            certificate,
            last_active: None,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Work {
    /// Make the console's certificate and key.
    ConsoleCertificate,
    /// Make an organisation's CA.
    Ca {
        /// The organisation.
        organization: Id,
    },
    /// Make a CA for an organisation that is still to be made.
    SpareCa,
    /// Make a key pair and certificate under an organisation's CA.
    Certificate {
        /// The organisation.
        organization: Id,
        /// What it is for.
        purpose: Purpose,
    },
    /// Make a new key pair and certificate for whoever has this one.
    Renew {
        /// The certificate that is to be replaced.
        certificate: Id,
        /// Whether it is revoked at once: otherwise it stays good for a while ([`super::Certificate::GRACE`]).
        #[serde(default)]
        immediate: bool,
        /// Whether its key may be in wrong hands.
        #[serde(default)]
        compromised: bool,
    },
    /// Sign the list of an organisation's revoked certificates anew.
    Crl {
        /// The organisation.
        organization: Id,
    },
    /// Search for Diffie-Hellman parameters.
    DhParams {
        /// Their size.
        bits: u16,
    },
    /// Make several users, each with a certificate.
    Users {
        /// Their organisation.
        organization: Id,
        /// Who is to be made.
        users: Vec<NewUser>,
    },
    /// Move the addresses of a server's users from its old network into its new one.
    AssignPool {
        /// The server, which is locked by [`super::Server::network_lock`] meanwhile.
        server: Id,
        /// The network that it had.
        old: Ipv4Net,
        /// The network that it is to have.
        new: Ipv4Net,
    },
    /// Give every user of a server's organisations an address on it, and nobody else.
    AssignAddresses {
        /// The server.
        server: Id,
    },
    /// Give a user an address on a server.
    AssignAddress {
        /// The server.
        server: Id,
        /// The user.
        user: Id,
    },
    /// Take a user's addresses on a server away.
    UnassignAddress {
        /// The server.
        server: Id,
        /// The user.
        user: Id,
    },
    /// Something that a newer release knows. It is left for hosts of that release.
    #[serde(other)]
    Unknown,
}

impl Work {
    /// Whether it takes no core: what it makes are records.
    #[must_use]
    pub const fn only_writes(&self) -> bool {
        matches!(
            self,
            Self::Crl { .. }
                | Self::AssignPool { .. }
                | Self::AssignAddresses { .. }
                | Self::AssignAddress { .. }
                | Self::UnassignAddress { .. }
        )
    }

    /// Whose work it is, if it is one organisation's.
    #[must_use]
    pub const fn organization(&self) -> Option<Id> {
        match self {
            Self::Ca { organization }
            | Self::Certificate { organization, .. }
            | Self::Crl { organization }
            | Self::Users { organization, .. } => Some(*organization),
            _ => None,
        }
    }

    /// This, and what is wanted besides under the same id: a certificate is renewed once, and revoked as either wants it.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        match (self, other) {
            (
                Self::Renew { certificate, immediate: at_once, compromised: known },
                Self::Renew { immediate, compromised, .. },
            ) => Self::Renew {
                certificate: *certificate,
                immediate: *at_once || *immediate,
                compromised: *known || *compromised,
            },
            _ => self.clone(),
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// So much is done,
    pub done: u64,
    /// of so much; nothing where nobody can know, as in a search.
    pub of: Option<u64>,
}

/// Work that takes long. Its id is its idempotency key: who enqueues it twice enqueues it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The idempotency key.
    pub id: String,
    /// What is to be done.
    pub work: Work,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it is in its life.
    pub state: JobState,
    /// When it was enqueued, milliseconds since 1970 by the store's clock.
    pub created: Millis,
    /// Not to be tried before, milliseconds since 1970 by the store's clock.
    pub not_before: Millis,
    /// Not to be begun after, likewise: nobody needs it any more.
    #[serde(default)]
    pub deadline: Option<Millis>,
    /// How often it was begun.
    pub attempts: u16,
    /// Whether the last attempt to do it was begun and not ended: what did that may have gone down with it.
    #[serde(default)]
    pub begun: Option<Millis>,
    /// How far the attempt is, if it tells.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Whether the attempt rests while something more urgent is done.
    #[serde(default)]
    pub paused: bool,
    /// Whether it is to be given up: whoever does it stops and removes it.
    #[serde(default)]
    pub cancelled: bool,
    /// Who waits for the result: it becomes the [`super::Certificate::reserved`] of what is made.
    pub reserved: Option<String>,
    /// The host that is to take it, for a short while.
    pub preferred: Option<HostId>,
    /// Whether it is [`Work::only_writes`]: these are looked for by themselves. Left out where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub light: bool,
    /// What went wrong last, for people.
    pub error: Option<String>,
}
record!(Job);

impl Job {
    /// The id of the job that gives the users of a server their addresses.
    #[must_use]
    pub fn of_addresses(server: Id) -> String {
        format!("addresses/{server}")
    }

    /// One that nobody has begun.
    #[must_use]
    pub const fn new(id: String, work: Work, priority: Priority, created: Millis) -> Self {
        Self {
            id,
            light: work.only_writes(),
            work,
            priority,
            state: JobState::Open,
            created,
            not_before: 0,
            deadline: None,
            attempts: 0,
            begun: None,
            progress: None,
            paused: false,
            cancelled: false,
            reserved: None,
            preferred: None,
            error: None,
        }
    }
}

/// A task that one host of all runs when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The task's name.
    pub id: String,
    /// When it is next due, milliseconds since 1970 by the store's clock.
    pub due: Millis,
    /// How often the run that is due was begun.
    pub attempts: u16,
    /// When it last ended, likewise.
    pub finished: Option<Millis>,
    /// When it last ended and had done what it is for, likewise.
    #[serde(default)]
    pub succeeded: Option<Millis>,
    /// How long that took.
    pub duration: Option<Millis>,
    /// The host that ran it.
    pub host: Option<HostId>,
    /// What it did, or what went wrong, for people.
    pub result: Option<String>,
}
record!(Task);
