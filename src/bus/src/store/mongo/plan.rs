//! A write as one operation on one document, with the guard in its filter, and what it means that it found nothing.

use std::time::Duration;

use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Claim, Fault, Guard, Refusal, Write};
use mongodb::bson::raw::RawDocument;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::ReturnDocument;
use mongodb::{ClientSession, Collection};

use super::attempt::OPERATION;
use super::row::{self, Damaged, whole};
use super::span::path;
use super::{document, remembered};
use crate::store::{Trouble, index};

/// What is done to the document.
#[derive(Debug)]
enum Deed {
    /// Make it.
    Make(Vec<Document>),
    /// Change it: its body gets a new revision.
    Change(Vec<Document>),
    /// Write to it without changing anything: in a transaction this locks it.
    Touch,
    /// Remove it.
    Remove,
}

/// A write as one operation.
#[derive(Debug)]
pub struct Plan {
    /// The record's kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// The field that [`Write::Add`] adds to, and by how much.
    add: Option<(String, i64)>,
    guard: Guard,
    /// Whether nobody may hold the record's lease.
    unheld: bool,
    filter: Document,
    deed: Deed,
    /// Whether the document remembers the write, and with it the time.
    remembered: bool,
}

/// What a write did.
#[derive(Debug)]
pub struct Done {
    /// The record's new revision; 0 if it has none.
    pub revision: u64,
    /// The record's scope.
    pub scope: Option<String>,
    /// When, by the store's clock; 0 if nothing was changed.
    pub at: u64,
    /// What a deleted record remembered of the last writes.
    pub past: Vec<Bson>,
}

/// What a record is like that a write did not find as it should be.
#[derive(Debug)]
pub enum Verdict {
    /// The write is refused.
    Refused(Refusal),
    /// It makes no sense.
    Invalid(Fault),
    /// Nothing is in its way any more.
    Again,
}

impl Plan {
    /// The plan for a write, which remembers this id in the document.
    ///
    /// # Errors
    ///
    /// The body is none that the kind can have.
    pub fn of(write: Write, host: HostId, id: Option<u128>) -> Result<Self, Fault> {
        let (kind, record) = write.target();
        let (record, remember) = (record.to_owned(), id.map(binary));
        let unheld = matches!(write, Write::Unheld { .. });
        let (guard, add, deed) = match write {
            Write::Insert { body, .. } => {
                let body = document::to_bson(index::parse(kind, &body)?)?;
                (Guard::default(), None, Deed::Make(first(body, remember.as_ref())))
            }
            Write::Update { guard, body, .. } => {
                let body = document::to_bson(index::parse(kind, &body)?)?;
                (guard, None, Deed::Change(next(doc! { "b": { "$literal": body } }, remember.as_ref())))
            }
            Write::Delete { guard, .. } => (guard, None, Deed::Remove),
            Write::Add { field, delta, .. } => {
                let path = path(&field);
                let sum = doc! { &path: { "$add": [format!("${path}"), delta] } };
                (Guard::default(), Some((field, delta)), Deed::Change(next(sum, remember.as_ref())))
            }
            Write::Check { guard, .. } => (guard, None, Deed::Touch),
            Write::Unheld { .. } => (Guard::default(), None, Deed::Touch),
        };
        let mut filter = filter(&record, &guard, host);
        if unheld {
            filter.extend(free());
        }
        if let Some((field, delta)) = &add {
            filter.insert(path(field), summand(*delta));
        }
        if matches!(deed, Deed::Make(_)) {
            // Never true: an upsert that finds nothing inserts, and the index on _id says if the record is there.
            filter.insert("r", doc! { "$exists": false });
        }
        let remembered = remember.is_some() && matches!(deed, Deed::Make(_) | Deed::Change(_));
        if let (Some(id), Deed::Change(_)) = (remember, &deed) {
            filter.insert("w.i", doc! { "$ne": id });
        }
        Ok(Self { kind, id: record, add, guard, unheld, filter, deed, remembered })
    }

    /// Whether it only looks at the record.
    #[must_use]
    pub const fn checks(&self) -> bool {
        matches!(self.deed, Deed::Touch)
    }

    /// Whether others are told of what it changes.
    #[must_use]
    pub const fn is_announced(&self) -> bool {
        self.kind.announced() && !self.checks()
    }

    /// Carries it out. Nothing is given if the document is not as it should be; nor if it was asked for so long ago and may
    /// have been done and forgotten since.
    ///
    /// # Errors
    ///
    /// As the driver's.
    pub async fn carry_out(
        &self,
        records: &Collection<RawDocumentBuf>,
        session: &mut ClientSession,
        begun: Option<Duration>,
    ) -> Result<Option<RawDocumentBuf>, Error> {
        let mut wanted = doc! { "r": 1 };
        // Nothing is worked out that stands there: it takes the database longer than the change itself.
        if self.remembered {
            wanted.insert("w", 1);
        } else if !self.checks() {
            wanted.insert("at", "$$NOW");
        }
        if let Some(scope) = self.kind.scope() {
            wanted.insert(path(scope), 1);
        }
        let mut filter = self.filter.clone();
        if let (Some(age), Deed::Change(_)) = (begun, &self.deed) {
            filter.insert("$and", vec![doc! { "$expr": remembered::reaches_back(age) }]);
        }
        let change = match &self.deed {
            Deed::Remove => {
                wanted.insert("w", 1);
                return records
                    .find_one_and_delete(filter)
                    .projection(wanted)
                    .max_time(OPERATION)
                    .session(session)
                    .await;
            }
            Deed::Make(steps) | Deed::Change(steps) => steps.clone(),
            Deed::Touch => vec![doc! { "$set": { "f": { "$add": [{ "$ifNull": ["$f", 0_i64] }, 1_i64] } } }],
        };
        records
            .find_one_and_update(filter, change)
            .upsert(matches!(self.deed, Deed::Make(_)))
            .return_document(ReturnDocument::After)
            .projection(wanted)
            .max_time(OPERATION)
            .session(session)
            .await
    }

    /// What the answer to [`Plan::carry_out`] says.
    pub fn done(&self, raw: &RawDocument) -> Result<Done, Damaged> {
        let body = raw.get_document("b").ok();
        let scope =
            self.kind.scope().zip(body).map(|(scope, body)| body.get(&*document::stored_name(scope))).transpose()?;
        let scope = match scope.flatten() {
            Some(RawBsonRef::String(text)) => Some(text.to_owned()),
            Some(RawBsonRef::Int64(number)) => Some(number.to_string()),
            _ => None,
        };
        let revised = matches!(self.deed, Deed::Make(_) | Deed::Change(_));
        let revision = if revised { row::number(raw, "r")? } else { 0 };
        let past = if matches!(self.deed, Deed::Remove) { remembered::past(raw)? } else { Vec::new() };
        let at = match self.deed {
            Deed::Touch => 0,
            _ if self.remembered => remembered::last(raw)?,
            _ => row::millis(raw, "at")?,
        };
        Ok(Done { revision, scope, at, past })
    }

    /// What is answered if the record is damaged.
    pub fn damaged(&self, damage: Damaged) -> Trouble {
        Trouble::Damaged(damage.of(self.kind, &self.id))
    }

    /// Why it found nothing, if the record is like this.
    pub fn verdict(&self, raw: Option<&RawDocument>, host: HostId) -> Result<Verdict, Damaged> {
        let making = matches!(self.deed, Deed::Make(_));
        let Some(raw) = raw else {
            return Ok(if making { Verdict::Again } else { Verdict::Refused(Refusal::Missing) });
        };
        if making {
            return Ok(Verdict::Refused(Refusal::Exists));
        }
        if let Some(refusal) = unfulfilled(&self.guard, raw, host)? {
            return Ok(Verdict::Refused(refusal));
        }
        if self.unheld
            && let Some(refusal) = taken(raw)?
        {
            return Ok(Verdict::Refused(refusal));
        }
        if let Some((field, delta)) = &self.add {
            let value = raw.get_document("b")?.get(&*document::stored_name(field))?;
            let number = value.and_then(|value| value.as_i64().or_else(|| value.as_i32().map(i64::from)));
            if number.and_then(|number| number.checked_add(*delta)).is_none() {
                let text = format!("{field} in {} holds no whole number that can be added to", self.kind.name());
                return Ok(Verdict::Invalid(Fault::Invalid(text)));
            }
        }
        Ok(Verdict::Again)
    }
}

/// What a guard refuses in this record.
pub fn unfulfilled(guard: &Guard, raw: &RawDocument, host: HostId) -> Result<Option<Refusal>, Damaged> {
    let revision = row::number(raw, "r")?;
    if guard.revision.is_some_and(|wanted| wanted != revision) {
        return Ok(Some(Refusal::Stale { revision }));
    }
    let Some(claim) = &guard.claim else { return Ok(None) };
    let lease = row::lease(raw)?;
    let held = lease.as_ref().is_some_and(|lease| {
        lease.left > 0 && lease.host == host && lease.owner == claim.owner && lease.epoch == claim.epoch
    });
    Ok((!held).then_some(Refusal::NotHeld { lease }))
}

/// What is refused in this record because somebody holds its lease.
pub fn taken(raw: &RawDocument) -> Result<Option<Refusal>, Damaged> {
    let lease = row::lease(raw)?;
    let held = lease.as_ref().is_some_and(|lease| lease.left > 0);
    Ok(held.then_some(Refusal::NotHeld { lease }))
}

/// Nobody holds the lease. A record that was never claimed has no end of one, which is less than any time.
pub fn free() -> Document {
    doc! { "$expr": { "$lte": ["$expires", "$$NOW"] } }
}

/// The record, if it fulfils the guard.
pub fn filter(id: &str, guard: &Guard, host: HostId) -> Document {
    let mut filter = doc! { "_id": id };
    if let Some(revision) = guard.revision {
        filter.insert("r", whole(revision));
    }
    if let Some(claim) = &guard.claim {
        filter.extend(held(host, claim));
    }
    filter
}

/// The lease is held under this claim.
pub fn held(host: HostId, claim: &Claim) -> Document {
    doc! {
        "host": host.to_string(),
        "owner": &claim.owner,
        "epoch": whole(claim.epoch),
        "$expr": { "$gt": ["$expires", "$$NOW"] },
    }
}

/// A write's id as the database has it.
#[must_use]
pub fn binary(id: u128) -> Bson {
    Binary { subtype: BinarySubtype::Generic, bytes: id.to_be_bytes().to_vec() }.into()
}

fn first(body: Document, remember: Option<&Bson>) -> Vec<Document> {
    let mut set = doc! { "r": 1_i64, "b": { "$literal": body } };
    if let Some(id) = remember {
        set.insert("w", remembered::first(id));
    }
    vec![doc! { "$set": set }]
}

fn next(mut set: Document, remember: Option<&Bson>) -> Vec<Document> {
    set.insert("r", doc! { "$add": ["$r", 1_i64] });
    if let Some(id) = remember {
        set.insert("w", remembered::next(id));
    }
    vec![doc! { "$set": set }]
}

/// A whole number to which this can be added.
fn summand(delta: i64) -> Document {
    let bound = if delta < 0 {
        doc! { "$gte": i64::MIN - delta }
    } else {
        doc! { "$lte": i64::MAX - delta }
    };
    let mut summand = doc! { "$type": ["int", "long"] };
    summand.extend(bound);
    summand
}
