//! What SQLite's errors mean to who asked, and to whoever reads the log.

use std::sync::Mutex;

use culvert_wire::bus::{Fault, Refusal};
use rusqlite::ErrorCode;

use crate::store::{Damage, Trouble};

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Stop {
    /// It may not happen: only this request fails.
    Trouble(Trouble),
    /// The database failed: everything that is under way fails.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Trouble(Trouble::Damaged(damage))
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Trouble(Trouble::Fault(fault))
    }
}

impl Stop {
    /// A request with one write is refused.
    pub fn refused(why: Refusal) -> Self {
        Self::Trouble(Trouble::Refused { write: 0, why })
    }

    /// The same, of the batch's write of this number.
    pub fn at(self, number: usize) -> Self {
        match self {
            Self::Trouble(Trouble::Refused { why, .. }) => {
                Self::Trouble(Trouble::Refused { write: number as u16, why })
            }
            other => other,
        }
    }
}

/// Says once what is wrong with the file, not with every request.
#[derive(Debug, Default)]
pub struct Complaint(Mutex<Option<String>>);

impl Complaint {
    /// The database failed.
    pub fn about(&self, error: &rusqlite::Error) {
        let text = meaning(error);
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.as_ref() != Some(&text) {
            tracing::error!("{text}");
            *last = Some(text);
        }
    }

    /// The database works.
    pub fn over(&self) {
        let mut last = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.take().is_some() {
            tracing::info!("the store works again");
        }
    }
}

/// What a failed COMMIT tells: after an error of the disk, nobody knows what of it arrived there.
pub fn of_commit(error: &rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Unavailable,
        _ => Fault::Unknown,
    }
}

fn meaning(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full, and the store cannot be written: make room on it".into(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            format!("the store is damaged ({error}): stop Culvert and restore it from a backup")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked the store: end it".into()
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            format!("the store cannot be written ({error}): its folder must belong to the user culvert-bus")
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!("the disk failed under the store ({error}): look at the kernel's log")
        }
        _ => format!("the store failed: {error}"),
    }
}
