//! Records that are not what was put there: somebody changed them in the database, or a disk did. They are left out of
//! pages and told of, once each, and never by their content.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use culvert_model::Kind;

use super::index::BODY;

/// What is longer than this cannot have been put there: JSON from a database may be written longer than what came.
pub const HUGE: usize = 2 * BODY;

/// So many damaged records are told apart. Behind them, each is told of again.
const TOLD: usize = 10_000;

/// A damaged record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its kind.
    pub kind: Kind,
    /// Its id, as far as it can be shown.
    pub id: String,
    /// What is wrong with it. Holds none of its values: they may be secret.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, why } = self;
        let kind = kind.name();
        write!(
            f,
            "the record {id:?} in {kind} is damaged ({why}): look with `culvert store damaged`, mend it with \
             `culvert store repair {kind} {id}`"
        )
    }
}

/// Which damaged records were told of.
#[derive(Debug, Default)]
pub struct Told(Mutex<BTreeSet<(Kind, String)>>);

impl Told {
    /// Says it in the log, unless that was done: whether it was new.
    pub fn tell(&self, damage: &Damage) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD {
            told.clear();
        }
        let new = told.insert((damage.kind, damage.id.clone()));
        if new {
            tracing::error!(count = told.len(), "{damage}");
        }
        new
    }

    /// These records were written: what is damaged after that is told of again.
    pub fn mended<'w>(&self, records: impl Iterator<Item = (Kind, &'w str)>) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.is_empty() {
            records.for_each(|(kind, id)| {
                told.remove(&(kind, id.to_owned()));
            });
        }
    }
}
