//! Records as they stand in their collections.
//!
//! `{_id: the id, r: revision, b: body, w: the last writes, host, owner, epoch, expires, claim: the lease, f: fence}`

use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Lease, Row};
use mongodb::bson::raw::RawDocument;
use mongodb::bson::{Bson, Document, RawBsonRef, doc};

use super::document;
use crate::store::Damage;

/// What stands in the database is not what was put there. Holds none of it.
#[derive(Debug, thiserror::Error)]
#[error("a record in the database is damaged: {0}")]
pub struct Damaged(pub String);

impl Damaged {
    /// The damage of this record.
    #[must_use]
    pub fn of(self, kind: Kind, id: &str) -> Damage {
        Damage { kind, id: id.into(), why: self.0 }
    }
}

impl From<mongodb::bson::error::Error> for Damaged {
    fn from(error: mongodb::bson::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// What is asked for to [`read`] a record: what is left of its lease is a matter of the store's clock.
#[must_use]
pub fn projection() -> Document {
    doc! {
        "r": 1, "b": 1, "host": 1, "owner": 1, "epoch": 1,
        // Of anything but a date there is nothing left, not even a number: the whole page would fail with it.
        "left": { "$cond": [
            { "$in": [{ "$type": "$expires" }, ["date", "missing"]] },
            { "$max": [0_i64, { "$subtract": ["$expires", "$$NOW"] }] },
            null,
        ] },
    }
}

/// The same of a kind whose records nobody leases: the database then need not calculate anything, which takes it as long as
/// finding the record does.
#[must_use]
pub fn plain() -> Document {
    doc! { "r": 1, "b": 1, "host": 1 }
}

/// Whether somebody ever took the record's lease.
pub fn is_leased(raw: &RawDocument) -> Result<bool, Damaged> {
    Ok(raw.get("host")?.is_some())
}

/// A record.
pub fn read(raw: &RawDocument) -> Result<Row, Damaged> {
    of(raw, lease(raw)?)
}

/// A record of whose lease so much is left.
pub fn read_leased(raw: &RawDocument, left: Millis) -> Result<Row, Damaged> {
    of(raw, Some(lease_with(raw, left)?))
}

fn of(raw: &RawDocument, lease: Option<Lease>) -> Result<Row, Damaged> {
    let Some(RawBsonRef::Document(body)) = raw.get("b")? else { return Err(Damaged("it has no body".into())) };
    let body = document::to_json(body).map_err(|error| Damaged(error.to_string()))?;
    Ok(Row { id: text(raw, "_id")?, revision: number(raw, "r")?, body, lease })
}

/// A record's id, as far as it can be shown.
#[must_use]
pub fn id(raw: &RawDocument) -> String {
    match raw.get("_id") {
        Ok(Some(RawBsonRef::String(text))) => text.to_owned(),
        Ok(Some(other)) => format!("({:?})", other.element_type()),
        _ => "(none)".into(),
    }
}

/// A record's lease, if anybody ever took one.
pub fn lease(raw: &RawDocument) -> Result<Option<Lease>, Damaged> {
    if !is_leased(raw)? {
        return Ok(None);
    }
    lease_with(raw, number(raw, "left")?).map(Some)
}

fn lease_with(raw: &RawDocument, left: Millis) -> Result<Lease, Damaged> {
    let host = text(raw, "host")?.parse::<HostId>().map_err(|_| Damaged("its lease names no host".into()))?;
    Ok(Lease { host, owner: text(raw, "owner")?, epoch: number(raw, "epoch")?, left })
}

/// A whole number that is never negative.
pub fn number(raw: &RawDocument, name: &str) -> Result<u64, Damaged> {
    let number = match raw.get(name)? {
        Some(RawBsonRef::Int64(number)) => number,
        Some(RawBsonRef::Int32(number)) => i64::from(number),
        _ => return Err(Damaged(format!("{name} is no whole number"))),
    };
    u64::try_from(number).map_err(|_| Damaged(format!("{name} is negative")))
}

/// A date, as milliseconds since 1970.
pub fn millis(raw: &RawDocument, name: &str) -> Result<u64, Damaged> {
    match raw.get(name)? {
        Some(RawBsonRef::DateTime(date)) => Ok(date.timestamp_millis().try_into().unwrap_or(0)),
        _ => Err(Damaged(format!("{name} is no date"))),
    }
}

fn text(raw: &RawDocument, name: &str) -> Result<String, Damaged> {
    match raw.get(name)? {
        Some(RawBsonRef::String(text)) => Ok(text.to_owned()),
        _ => Err(Damaged(format!("{name} is no text"))),
    }
}

/// A number as the database has it: greater ones than these never occur.
#[must_use]
pub fn whole(number: u64) -> Bson {
    Bson::Int64(i64::try_from(number).unwrap_or(i64::MAX))
}
