//! Damaged records: which there are, and putting good ones in their place.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use culvert_model::Kind;
use culvert_wire::bus::{Refusal, Row};
use culvert_wire::errand::Report;

use super::Reporter;
use super::place::Deed;
use crate::damaged::fault_under;
use crate::format::{Release, pages};
use crate::store::{Damage, Found, Store, Trouble, Versioned};
use crate::transfer::TransferError;

/// Tells of each damaged record.
pub struct List<'r> {
    /// Where to.
    pub reporter: &'r mut Reporter,
}

impl Deed for List<'_> {
    async fn to<S: Store>(self, store: S) -> Result<String, Box<dyn Error>> {
        let (mut looked, mut told) = (0, BTreeSet::new());
        for kind in Kind::ALL.iter().copied() {
            let mut find = pages(kind, String::new());
            loop {
                let Found { rows, next, damaged } =
                    store.find(find.clone()).await.map_err(|trouble| TransferError::of_target(&trouble))?;
                looked += rows.len();
                for damage in damaged.into_iter().chain(rows.iter().filter_map(|row| fault(kind, row))) {
                    // Those at the end of a page are met again on the next.
                    if told.insert((kind, damage.id.clone())) {
                        let name = format!("{}/{}", kind.name(), damage.id);
                        self.reporter.tell(&Report::Step { name, good: false, text: damage.why });
                    }
                }
                find.after = next;
                if find.after.is_none() {
                    break;
                }
            }
        }
        Ok(match told.len() {
            0 => format!("{looked} records, none of them damaged"),
            count => format!(
                "{count} damaged records beside {looked} that can be read: `culvert store repair KIND ID` puts a record \
                 that it reads from standard input in the place of one, with --delete it removes it"
            ),
        })
    }
}

/// What is wrong with a record that the store takes for whole.
fn fault(kind: Kind, row: &Row) -> Option<Damage> {
    let why = match Release::THIS.raise(kind, &row.body) {
        Ok(None) => fault_under(kind, &row.id, &row.body),
        Ok(Some(body)) => fault_under(kind, &row.id, &body),
        Err(why) => Some(why),
    };
    why.map(|why| Damage { kind, id: row.id.clone(), why })
}

/// Puts a record in the place of a damaged one, or removes it.
pub struct Repair {
    /// The name of its kind.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// What to put there; nothing to remove it.
    pub body: Option<String>,
}

impl Deed for Repair {
    async fn to<S: Store>(self, store: S) -> Result<String, Box<dyn Error>> {
        let Self { kind, id, body } = self;
        let known = Kind::ALL.iter().copied().find(|known| known.name() == kind);
        let kind = known.ok_or_else(|| format!("there is no kind {kind:?}: `culvert store damaged` names them"))?;
        match store.get(kind, &id).await {
            Ok(Some(row)) if fault(kind, &row).is_none() => {
                return Err("this record is not damaged: it was left as it is".into());
            }
            Ok(Some(_)) | Err(Trouble::Damaged(_)) => {}
            Ok(None) => return Err(missing(kind, &id)),
            Err(trouble) => return Err(TransferError::of_target(&trouble).into()),
        }
        if let Some(body) = &body
            && let Some(why) = fault_under(kind, &id, body.as_bytes())
        {
            return Err(format!("this is no good record of {} ({why}): nothing was changed", kind.name()).into());
        }
        let removed = body.is_none();
        let store = Versioned::new(Arc::new(store), Release::THIS);
        match store.repair(kind, &id, body.map(String::into_bytes)).await {
            Ok(()) => {}
            Err(Trouble::Refused { why: Refusal::Taken { index }, .. }) => {
                return Err(format!("another record has the same values {index}: nothing was changed").into());
            }
            Err(Trouble::Refused { .. }) => return Err(missing(kind, &id)),
            Err(trouble) => return Err(TransferError::of_target(&trouble).into()),
        }
        let done = if removed { "removed" } else { "repaired" };
        Ok(format!("{done}; a process that is running with the embedded store may know of it only after a restart"))
    }
}

fn missing(kind: Kind, id: &str) -> Box<dyn Error> {
    format!("there is no record {id:?} in {}", kind.name()).into()
}
