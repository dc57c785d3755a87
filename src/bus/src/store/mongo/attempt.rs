//! Deadlines, attempts, and what the driver's errors mean for a request.
//!
//! The driver has no socket timeout, so a frozen primary would hang whoever asks it: every attempt has an end of its
//! own, and a request tries again until its deadline (`mechanisms.md` 4.3).

use std::time::Duration;

use culvert_wire::bus::Fault;
use mongodb::error::{Error, ErrorKind, WriteFailure};
use tokio::time::{Instant, sleep, timeout};

use crate::store::Trouble;

/// How long a read may take in all.
pub const READ: Duration = Duration::from_secs(3);

/// How long a write may take in all: a majority needs up to 6.5 s after a primary froze.
pub const WRITE: Duration = Duration::from_secs(7);

/// How long they may take while it is known that the database is away: whoever asks has a cache, or asks again.
const READ_AWAY: Duration = Duration::from_millis(300);
const WRITE_AWAY: Duration = Duration::from_millis(2000);

/// One attempt of a read, and of a write.
const READ_ATTEMPT: Duration = Duration::from_millis(1100);
const WRITE_ATTEMPT: Duration = Duration::from_millis(2000);

/// How long the driver looks for a primary before it says that there is none. Less than an attempt lasts, so that a request
/// which was never sent is known as such.
pub const SELECTION: Duration = Duration::from_millis(700);

/// How long the server may work at one operation before it gives up a lock.
pub const OPERATION: Duration = Duration::from_millis(1000);

/// Pauses between attempts, from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// The label of errors of a connection that was never made.
const NEVER_SENT: &str = "SystemOverloadedError";

/// How the driver's error begins when a request found its pool cleared before it had a connection.
const NEVER_CONNECTED: &str = "Connection pool for ";

/// What an attempt failed by.
#[derive(Debug)]
pub enum Failure {
    /// It did not happen: nobody was there to do it, or another transaction was in the way.
    Away,
    /// It may have happened.
    Unsure,
    /// It did not happen: a record stayed locked.
    Locked,
    /// It did not happen: a unique index of this name has the values already.
    Duplicate(String),
    /// It did not happen, and would not if it were tried again.
    Broken(Error),
}

impl Failure {
    /// What the driver's error means.
    #[must_use]
    pub fn of(error: Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } | ErrorKind::Authentication { .. } => {
                Self::Away
            }
            // Also what was under way is ended by that ("Connection to ..."), and may have happened.
            ErrorKind::ConnectionPoolCleared { message, .. } if message.starts_with(NEVER_CONNECTED) => Self::Away,
            ErrorKind::Io(_) if error.contains_label(NEVER_SENT) => Self::Away,
            ErrorKind::Command(command) => Self::of_code(command.code, &command.message, &error),
            ErrorKind::Write(WriteFailure::WriteError(write)) => Self::of_code(write.code, &write.message, &error),
            ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_) | ErrorKind::IncompatibleServer { .. } => {
                Self::Broken(error)
            }
            _ => Self::Unsure,
        }
    }

    /// The same of what changes nothing by itself: a read, or a write in a transaction that is not committed.
    #[must_use]
    pub fn harmless(self) -> Self {
        if matches!(self, Self::Unsure) { Self::Away } else { self }
    }

    /// The server's codes, from its `error_codes.yml`.
    fn of_code(code: i32, message: &str, error: &Error) -> Self {
        match code {
            11000 => Self::Duplicate(index_of(message)),
            // MaxTimeMSExpired, LockTimeout
            50 | 24 => Self::Locked,
            // WriteConflict, NoSuchTransaction, TransactionTooOld, SnapshotUnavailable, and no primary
            112 | 251 | 225 | 246 | 10107 | 13435 | 10058 => Self::Away,
            // interrupted by a shutdown or a change of the primary, or the network between members
            6 | 7 | 64 | 89 | 91 | 189 | 262 | 9001 | 11600 | 11601 | 11602 | 13436 => Self::Unsure,
            _ if error.contains_label(mongodb::error::TRANSIENT_TRANSACTION_ERROR) => Self::Away,
            _ => Self::Broken(error.clone()),
        }
    }
}

/// The index that a message about a duplicate names: `... index: by_name dup key: ...`.
fn index_of(message: &str) -> String {
    let after = message.split_once(" index: ").map_or("", |(_, after)| after);
    after.split_whitespace().next().unwrap_or_default().into()
}

/// A request on its way through its attempts.
#[derive(Debug)]
pub struct Course {
    ends: Instant,
    attempt: Duration,
    pause: Duration,
    /// The least time for an attempt: one that is cut off before the driver can say that there is nobody may have happened.
    least: Duration,
    /// Whether an earlier attempt may have happened.
    unsure: bool,
    began: Instant,
    /// How long before that it was asked for the first time.
    before: Duration,
}

impl Course {
    /// Of a read, from a database that is away or not.
    #[must_use]
    pub fn read(away: bool) -> Self {
        Self::new(if away { READ_AWAY } else { READ }, READ_ATTEMPT, Duration::ZERO)
    }

    /// Of a write, likewise.
    #[must_use]
    pub fn write(away: bool) -> Self {
        Self::new(if away { WRITE_AWAY } else { WRITE }, WRITE_ATTEMPT, SELECTION + PAUSE.1)
    }

    /// The request was asked before, so long ago, and may have happened since.
    #[must_use]
    pub fn begun(mut self, before: Option<Duration>) -> Self {
        if let Some(before) = before {
            self.unsure = true;
            self.before = before;
        }
        self
    }

    fn new(budget: Duration, attempt: Duration, least: Duration) -> Self {
        let began = Instant::now();
        Self { ends: began + budget, attempt, pause: PAUSE.0, least, unsure: false, began, before: Duration::ZERO }
    }

    /// How long ago the request came, for the first time.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.began.elapsed() + self.before
    }

    /// Whether an earlier attempt may have happened.
    #[must_use]
    pub const fn unsure(&self) -> bool {
        self.unsure
    }

    /// What is left of the deadline.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Makes one attempt.
    ///
    /// # Errors
    ///
    /// What it failed by.
    pub async fn attempt<T>(&self, attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        match timeout(self.left().min(self.attempt), attempt).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::debug!(%error, "an attempt failed");
                Err(Failure::of(error))
            }
            Err(_) => Err(Failure::Unsure),
        }
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    ///
    /// There is no point in one, or no time for it.
    pub async fn overcome(&mut self, failure: Failure) -> Result<(), Trouble> {
        match failure {
            Failure::Unsure => self.unsure = true,
            Failure::Broken(error) => return Err(Trouble::Fault(broken(&error))),
            Failure::Away | Failure::Locked | Failure::Duplicate(_) => {}
        }
        let needed = if self.unsure { Duration::ZERO } else { self.least };
        if self.left() <= self.pause + needed {
            return Err(self.given_up());
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
        Ok(())
    }

    /// What is to be answered when there is no more time.
    #[must_use]
    pub const fn given_up(&self) -> Trouble {
        Trouble::Fault(if self.unsure { Fault::Unknown } else { Fault::Unavailable })
    }
}

fn broken(error: &Error) -> Fault {
    let code = match error.kind.as_ref() {
        ErrorKind::Command(command) => command.code,
        ErrorKind::Write(WriteFailure::WriteError(write)) => write.code,
        _ => 0,
    };
    match code {
        // Overflow, BSONObjectTooLarge and its older codes
        15 | 10334 | 17419 | 17420 => {
            Fault::Invalid("the record is too large for the database, or nested too deep".into())
        }
        13 => {
            tracing::error!("the database's user lacks a right: it needs the role readWrite on Culvert's database");
            Fault::Unavailable
        }
        _ => {
            tracing::error!(%error, "the database refused an operation");
            Fault::Unavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_a_duplicate() {
        let message = "Plan executor error during findAndModify :: caused by :: E11000 duplicate key error \
                       collection: culvert.administrators index: by_username dup key: { b.username: \"a\" }";
        assert_eq!(index_of(message), "by_username");
        assert_eq!(index_of("E11000 something else"), "");
    }

    #[tokio::test]
    async fn an_attempt_ends_and_then_the_request_does() {
        let millis = Duration::from_millis;
        let mut course = Course::new(millis(100), millis(20), Duration::ZERO);
        let failed = course.attempt(std::future::pending::<Result<(), Error>>()).await;
        assert!(matches!(failed, Err(Failure::Unsure)) && course.age() < millis(100));
        assert_eq!(course.overcome(Failure::Unsure).await, Ok(()));
        sleep(millis(100)).await;
        assert_eq!(course.overcome(Failure::Away).await, Err(Trouble::Fault(Fault::Unknown)));
    }

    #[tokio::test]
    async fn what_never_left_changed_nothing() {
        let millis = Duration::from_millis;
        let mut course = Course::new(millis(100), READ_ATTEMPT, millis(200));
        assert_eq!(course.overcome(Failure::Away).await, Err(Trouble::Fault(Fault::Unavailable)));
    }
}
