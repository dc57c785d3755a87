//! Queries and writes, and what comes back, in terms of the records' own types.

use culvert_model::{Kind, Millis, Record};
use culvert_wire::bus::{Claim, Find, Guard, Key, Lease, PAGE, Position, Row, Write};

use crate::damage::{self, Damage};

/// A record with its revision and lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<T> {
    /// The record.
    pub record: T,
    /// How often it was written.
    pub revision: u64,
    /// Its lease, if anybody ever took one.
    pub lease: Option<Lease>,
}

impl<T: Record> Stored<T> {
    pub(crate) fn read(row: Row) -> Result<Self, Damage> {
        let record = damage::parse(&row.id, &row.body)?;
        Ok(Self { record, revision: row.revision, lease: row.lease })
    }

    /// How much longer the record's lease lasts; 0 if nobody holds it.
    #[must_use]
    pub fn held_for(&self) -> Millis {
        self.lease.as_ref().map_or(0, |lease| lease.left)
    }

    /// The claim under which this record is held, as of when it was read.
    #[must_use]
    pub fn claim(&self) -> Option<Claim> {
        self.lease.as_ref().map(|lease| Claim { owner: lease.owner.clone(), epoch: lease.epoch })
    }

    /// On the condition that nobody has written the record since it was read.
    #[must_use]
    pub fn unchanged(&self) -> Guard {
        Guard { revision: Some(self.revision), claim: None }
    }
}

/// A page of records.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What was found, in order. Damaged records are left out.
    pub items: Vec<Stored<T>>,
    /// Where the next page begins, if there is one.
    pub next: Option<Position>,
    /// Whether the database is away and this is what the bus remembers.
    pub cached: bool,
}

/// A query: `Query::by("by_organization").equal(id).limit(10)`.
#[derive(Debug, Clone)]
pub struct Query(Find);

impl Query {
    /// In the order of ids.
    #[must_use]
    pub fn all() -> Self {
        Self::by("")
    }

    /// In the order of an index of the kind (`culvert_model::Kind::indexes`).
    #[must_use]
    pub fn by(index: &'static str) -> Self {
        Self(Find {
            // The kind is known when the query is asked.
            kind: Kind::Host,
            index: index.into(),
            equal: Vec::new(),
            from: None,
            to: None,
            after: None,
            descending: false,
            limit: PAGE,
        })
    }

    /// Only records whose next field in the index is this.
    #[must_use]
    pub fn equal(mut self, text: impl ToString) -> Self {
        self.0.equal.push(Key::Text(text.to_string()));
        self
    }

    /// The records whose ids begin with this, which ends in a slash.
    #[must_use]
    pub fn under(prefix: &str) -> Self {
        // What follows the slash in ASCII is the zero.
        let end = format!("{}0", prefix.trim_end_matches('/'));
        Self::all().from(Key::Text(prefix.into())).to(Key::Text(end))
    }

    /// Only records whose next field in the index is true or is false.
    #[must_use]
    pub fn truth(mut self, truth: bool) -> Self {
        self.0.equal.push(Key::Bool(truth));
        self
    }

    /// Only records whose next field in the index is this number.
    #[must_use]
    pub fn number(mut self, number: i64) -> Self {
        self.0.equal.push(Key::Int(number));
        self
    }

    /// Only records whose next field in the index is empty.
    #[must_use]
    pub fn nothing(mut self) -> Self {
        self.0.equal.push(Key::Null);
        self
    }

    /// Only records whose next field in the index is at least this.
    #[must_use]
    pub fn from(mut self, key: Key) -> Self {
        self.0.from = Some(key);
        self
    }

    /// Only records whose next field in the index is less than this.
    #[must_use]
    pub fn to(mut self, key: Key) -> Self {
        self.0.to = Some(key);
        self
    }

    /// Only what comes behind this place.
    #[must_use]
    pub fn after(mut self, position: Option<Position>) -> Self {
        self.0.after = position;
        self
    }

    /// From the end to the beginning.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.0.descending = true;
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: u16) -> Self {
        self.0.limit = limit.min(PAGE);
        self
    }

    pub(crate) fn of<T: Record>(self) -> Find {
        Find { kind: T::KIND, ..self.0 }
    }
}

fn body<T: Record>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have text keys and finite numbers only")
}

/// The write that makes this record.
#[must_use]
pub fn insert<T: Record>(record: &T) -> Write {
    Write::Insert { kind: T::KIND, id: record.id(), body: body(record) }
}

/// The write that replaces the record of this id, on a condition.
#[must_use]
pub fn update<T: Record>(record: &T, guard: Guard) -> Write {
    Write::Update { kind: T::KIND, id: record.id(), guard, body: body(record) }
}

/// The write that removes a record, on a condition.
#[must_use]
pub fn delete<T: Record>(id: impl ToString, guard: Guard) -> Write {
    Write::Delete { kind: T::KIND, id: id.to_string(), guard }
}

/// The condition that nobody holds the lease of the record of this id: for a batch that says so.
#[must_use]
pub fn unheld<T: Record>(id: impl ToString) -> Write {
    Write::Unheld { kind: T::KIND, id: id.to_string() }
}
