//! What can go wrong between a process and the bus.

use culvert_wire::bus::Refusal;
use thiserror::Error;

/// Why a request came to nothing.
#[derive(Debug, Error)]
pub enum Failure {
    /// The store said no, and nothing was changed.
    #[error("the store refused write {write}: {why:?}")]
    Refused {
        /// Which of the writes.
        write: u16,
        /// Why.
        why: Refusal,
    },
    /// The bus or the database is away; nothing was changed.
    #[error("the database cannot be reached; nothing was changed; try again")]
    Unavailable,
    /// The bus or the database went away in the middle of a write.
    #[error("the database went away during a write; whether it was done is not known; look before trying again")]
    Unknown,
    /// Too much is under way.
    #[error("too many requests are under way; try again")]
    Busy,
    /// This process may not do that: a fault of the program.
    #[error("this process may not do that")]
    Denied,
    /// The request or the record makes no sense: a fault of the program, or a damaged record.
    #[error("{0}")]
    Invalid(String),
}

impl Failure {
    /// The refusal, if it was one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { why, .. } => Some(why),
            _ => None,
        }
    }

    /// Whether the store was not reached, or not for sure. Any other failure is its answer.
    #[must_use]
    pub const fn outage(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Unknown | Self::Busy)
    }
}

/// What came of asking for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept<T> {
    /// It is held.
    Held(T),
    /// Somebody else has it, or the record changed or is gone.
    Lost,
}
