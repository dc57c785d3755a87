//! Jobs and tasks: work that one host does for all.

use serde::{Deserialize, Serialize};

use super::{Purpose, record};
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
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority as Self
    }
}

impl TryFrom<u8> for Priority {
    type Error = crate::BadValue;

    fn try_from(number: u8) -> Result<Self, crate::BadValue> {
        [Self::High, Self::Normal, Self::Low]
            .into_iter()
            .find(|priority| *priority as u8 == number)
            .ok_or(crate::BadValue { expected: "a priority from 0 to 2" })
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
    /// Make a key pair and certificate under an organisation's CA.
    Certificate {
        /// The organisation.
        organization: Id,
        /// What it is for.
        purpose: Purpose,
    },
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
    /// How often it was begun.
    pub attempts: u16,
    /// Who waits for the result: it becomes the [`super::Certificate::reserved`] of what is made.
    pub reserved: Option<String>,
    /// The host that is to take it, for a short while.
    pub preferred: Option<HostId>,
    /// What went wrong last, for people.
    pub error: Option<String>,
}
record!(Job);

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
    /// How long that took.
    pub duration: Option<Millis>,
    /// The host that ran it.
    pub host: Option<HostId>,
    /// What it did, or what went wrong, for people.
    pub result: Option<String>,
}
record!(Task);
