//! Between the bus and everybody who reads or writes records: many requests at a time on one stream, answered in any
//! order. Every frame is a [`Call`] or an [`Answer`].

use std::fmt;

use culvert_model::{HostId, Id, Kind, Millis};
use serde::{Deserialize, Serialize};

/// The longest frame in bytes: a page of a thousand users fits.
pub const FRAME: usize = 8 << 20;

/// The most rows in one page.
pub const PAGE: u16 = 1000;

/// The most writes that can be done all or none.
pub const BATCH: usize = 100;

/// A request with the number that its answers carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the caller, unique among its open requests.
    pub number: u64,
    /// What is asked.
    pub request: Request,
}

/// An answer. A subscription has many; every other request has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The request's number.
    pub number: u64,
    /// What it came to.
    pub reply: Result<Reply, Fault>,
}

/// What can be asked of the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// One record. Answered by [`Reply::Rows`] with one row or none.
    Get {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
    /// Records in the order of an index. Answered by [`Reply::Rows`].
    Find(Find),
    /// How many records [`Request::Find`] would find. The query's `after` and `limit` are not looked at. Answered by
    /// [`Reply::Count`].
    Count(Find),
    /// Writes that happen all or none. Answered by [`Reply::Written`] or [`Reply::Refused`].
    Write {
        /// Chosen by the caller at random: by this the bus tells a write that was done from one that was not.
        id: u128,
        /// In order; at most [`BATCH`].
        writes: Vec<Write>,
    },
    /// The same writes again, under the same id, because the stream to the bus broke before the answer came: they may have
    /// been done since. Answered as [`Request::Write`].
    WriteAgain {
        /// As in the first request.
        id: u128,
        /// As in the first request.
        writes: Vec<Write>,
        /// How long ago that was.
        begun: Millis,
    },
    /// Take a record's lease, if nobody holds it. Its epoch rises. Answered by [`Reply::Claimed`] or
    /// [`Reply::Refused`].
    Claim {
        /// The record's kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// Only if its body is still of this revision.
        revision: Option<u64>,
        /// Who takes it: the bus puts its host's id in front, so that no host can take in another's name.
        owner: String,
        /// How long the lease lasts, by the store's clock.
        lease: Millis,
    },
    /// Make a lease last longer, if it is still held. Answered by [`Reply::Claimed`] or [`Reply::Refused`].
    Renew {
        /// The record's kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// Under which epoch it is held.
        claim: Claim,
        /// How long from now it is to last.
        lease: Millis,
    },
    /// Give a lease up, if it is still held. Answered by [`Reply::Written`] or [`Reply::Refused`].
    Release {
        /// The record's kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// Under which epoch it is held.
        claim: Claim,
    },
    /// Delete what an index has up to a value. Answered by [`Reply::Count`].
    Sweep {
        /// The kind.
        kind: Kind,
        /// An index whose first field is a number.
        index: String,
        /// Records with a smaller number in it are deleted.
        before: i64,
    },
    /// Hear of every change to records of these kinds. Answered by [`Reply::Subscribed`], then by [`Reply::Changed`]
    /// and [`Reply::Gap`] until the stream ends.
    Subscribe(Vec<Kind>),
    /// Who the host is and what time the store has. Answered by [`Reply::Here`].
    Here,
    /// Who the host is, where records are kept, and whether they are being moved. Answered by [`Reply::Standing`], also
    /// while the store is away.
    Standing,
    /// End, so as to be started again with what was changed in the state folder. Answered by [`Reply::Restarting`].
    Restart,
    /// Be that host from now on, which must be offline. Answered by [`Reply::Adopted`], after which the bus ends and
    /// starts again as that host, or by [`Reply::Refused`].
    Adopt {
        /// Which host.
        host: HostId,
    },
    /// Make a lease last longer, as [`Request::Renew`], under another owner's word from now on: what comes later under the
    /// word of the claim is refused. May be asked again. Answered by [`Reply::Claimed`] or [`Reply::Refused`].
    Pass {
        /// The record's kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// Under which epoch it is held, and under which word it was.
        claim: Claim,
        /// The new word.
        owner: String,
        /// How long from now it is to last.
        lease: Millis,
    },
}

/// A query over one index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// The kind.
    pub kind: Kind,
    /// The name of one of its indexes; empty for the order of ids.
    pub index: String,
    /// The values of the index's first fields.
    pub equal: Vec<Key>,
    /// The smallest value of the next field, inclusive.
    pub from: Option<Key>,
    /// The greatest value of the next field, exclusive.
    pub to: Option<Key>,
    /// The last row of the page before: only what comes behind it in the order of the index, then of ids, is found.
    pub after: Option<Position>,
    /// From the end to the beginning.
    pub descending: bool,
    /// The most rows, at most [`PAGE`].
    pub limit: u16,
}

impl Find {
    /// The first page of all records of a kind, in the order of their ids.
    #[must_use]
    pub const fn all(kind: Kind) -> Self {
        Self {
            kind,
            index: String::new(),
            equal: Vec::new(),
            from: None,
            to: None,
            after: None,
            descending: false,
            limit: PAGE,
        }
    }
}

/// A place in an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The values of all the index's fields.
    pub keys: Vec<Key>,
    /// The record's id.
    pub id: String,
}

/// A value in an index. Values sort in the order of the variants, text by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// Nothing is there.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
    /// A truth value.
    Bool(bool),
}

/// A change to one record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Make a record; refused if its id is there.
    Insert {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// JSON: an object.
        #[serde(with = "crate::octets")]
        body: Vec<u8>,
    },
    /// Replace a record's body.
    Update {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// On what condition.
        guard: Guard,
        /// JSON: an object.
        #[serde(with = "crate::octets")]
        body: Vec<u8>,
    },
    /// Remove a record.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// On what condition.
        guard: Guard,
    },
    /// Add to a number in a record.
    Add {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// A top-level field that holds a whole number.
        field: String,
        /// What to add.
        delta: i64,
    },
    /// Change nothing, but let the other writes happen only if this record fulfils the guard. In a batch this locks the
    /// record until the batch is done, so that a fence holds (`mechanisms.md` 4.2).
    Check {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
        /// On what condition.
        guard: Guard,
    },
    /// Change nothing, but let the other writes happen only if nobody holds this record's lease. Refused with
    /// [`Refusal::NotHeld`] if somebody does. As a check, it locks the record until the batch is done.
    Unheld {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: String,
    },
}

impl Write {
    /// The kind and id of the record that is written.
    #[must_use]
    pub fn target(&self) -> (Kind, &str) {
        match self {
            Self::Insert { kind, id, .. }
            | Self::Update { kind, id, .. }
            | Self::Delete { kind, id, .. }
            | Self::Add { kind, id, .. }
            | Self::Check { kind, id, .. }
            | Self::Unheld { kind, id } => (*kind, id),
        }
    }
}

/// What is written may be a secret: only what it is written to is printed.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self {
            Self::Insert { .. } => "insert",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
            Self::Add { .. } => "add",
            Self::Check { .. } => "check",
            Self::Unheld { .. } => "check that nobody holds",
        };
        let (kind, id) = self.target();
        write!(f, "{verb} {}/{id}", kind.name())
    }
}

/// On what condition a record may be changed. The record must be there in any case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Its body is still of this revision.
    pub revision: Option<u64>,
    /// Its lease is still held under this claim, and has not run out.
    pub claim: Option<Claim>,
}

/// A lease that somebody holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// As it was given to [`Request::Claim`].
    pub owner: String,
    /// As [`Reply::Claimed`] told.
    pub epoch: u64,
}

/// What the bus answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// What was found.
    Rows {
        /// In order.
        rows: Vec<Row>,
        /// There is more behind the last one: ask again with its position.
        next: Option<Position>,
        /// The database is away, and this is what the bus remembers.
        cached: bool,
    },
    /// How many there are, or were deleted.
    Count(u64),
    /// Done, for good: it survives the loss of a host or a power cut.
    Written {
        /// The new revision for each write; 0 for deletions and checks.
        revisions: Vec<u64>,
    },
    /// Nothing was changed.
    Refused {
        /// Which of the writes could not be done.
        write: u16,
        /// Why not.
        why: Refusal,
    },
    /// The lease is held.
    Claimed {
        /// The record as it is now.
        row: Row,
    },
    /// From now on, changes are told.
    Subscribed,
    /// A record was changed.
    Changed(Change),
    /// Changes may have been missed: read again what matters.
    Gap,
    /// Who and when.
    Here {
        /// This host.
        host: HostId,
        /// Milliseconds since 1970 by the store's clock.
        now: Millis,
    },
    /// How it is with the store.
    Standing {
        /// This host.
        host: HostId,
        /// Where records are kept.
        standing: Standing,
    },
    /// The bus is about to end.
    Restarting,
    /// The identity was taken; the bus starts again under it.
    Adopted,
}

/// Where records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keeper {
    /// In the bus's own file.
    Embedded,
    /// In a MongoDB.
    Mongo,
}

/// How it is with the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Where records are kept now.
    pub keeper: Keeper,
    /// What is being moved to the other place, if anything is.
    pub transfer: Option<Transfer>,
    /// Whether the move may be done already: then it can't be given up any more.
    pub binding: bool,
}

/// How far records are on their way. The texts are for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Transfer {
    /// They are being moved.
    Underway {
        /// What is being done.
        step: String,
        /// So many records are through.
        done: u64,
        /// Of about so many.
        total: u64,
    },
    /// It cannot go on for this reason, and is tried again.
    Waiting(String),
    /// It cannot be done, for this reason: all is as it was.
    Refused(String),
}

/// A record as the store has it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// How often its body was written.
    pub revision: u64,
    /// JSON: an object.
    #[serde(with = "crate::octets")]
    pub body: Vec<u8>,
    /// Its lease, if anybody ever took one.
    pub lease: Option<Lease>,
}

/// The body may be a secret: only its length is printed.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = format_args!("{} bytes", self.body.len());
        let mut row = f.debug_struct("Row");
        row.field("id", &self.id).field("revision", &self.revision).field("body", &body).field("lease", &self.lease);
        row.finish()
    }
}

/// A record's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The host of the last owner.
    pub host: HostId,
    /// The last owner, as it was given to [`Request::Claim`].
    pub owner: String,
    /// Rises with each claim.
    pub epoch: u64,
    /// How much longer it lasts, by the store's clock; 0 if it ran out or was released.
    pub left: Millis,
}

/// Why nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such record.
    Missing,
    /// The record's id is there already.
    Exists,
    /// The record is of this revision, not of the guard's.
    Stale {
        /// Its revision.
        revision: u64,
    },
    /// Another record has the same values in this unique index.
    Taken {
        /// The index's name.
        index: String,
    },
    /// Somebody else holds the lease, or it ran out; or nobody was to hold it, and somebody does.
    NotHeld {
        /// The lease as it is.
        lease: Option<Lease>,
    },
}

/// A record was changed. A hint: who hears it reads the record again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The message's own id, in the order of the messages.
    pub id: Id,
    /// The record's kind.
    pub kind: Kind,
    /// Its id.
    pub record: String,
    /// The revision that it has now; 0 if it was deleted.
    pub revision: u64,
    /// The value of the kind's scope field.
    pub scope: Option<String>,
    /// When, milliseconds since 1970 by the store's clock.
    pub at: Millis,
}

/// A request that could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// The caller's role may not do that.
    Denied,
    /// The request makes no sense; the text tells a developer why.
    Invalid(String),
    /// The store can't be reached. Nothing was changed. Try again.
    Unavailable,
    /// The store can't be reached, and it is not known whether a write was done.
    Unknown,
    /// Too many requests of this caller are open. Nothing was changed. Try again.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_not_printed() {
        let (id, body) = ("1".to_string(), b"secret".to_vec());
        let printed = format!("{:?}", body);
        let row = Row { id: id.clone(), revision: 1, body: body.clone(), lease: None };
        let write = Write::Insert { kind: Kind::CaKey, id, body };
        assert_eq!(format!("{write:?}"), "insert ca_keys/1");
        assert!(!format!("{row:?}").contains(&printed));
    }
}
