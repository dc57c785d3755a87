//! The store: one trait, two implementations, one conformance suite that both pass.
//!
//! An implementation gets requests that are already allowed and well-formed ([`crate::request`]), and answers each within
//! its own deadline.

pub mod awaited;
pub mod cache;
pub mod damage;
pub mod embedded;
pub mod frozen;
pub mod index;
pub mod mongo;
pub mod versioned;

use std::time::Duration;

pub use awaited::Awaited;
pub use cache::Cache;
use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Change, Claim, Fault, Find, Position, Refusal, Row, Write};
pub use damage::Damage;
use tokio::sync::broadcast;
pub use versioned::Versioned;

/// How many messages a slow receiver may be behind before it has a gap.
pub const MESSAGES: usize = 4096;

/// A page ends early behind the row with which its bodies get longer than this, so that it fits into a frame.
pub const PAGE_BYTES: usize = 4 << 20;

/// What a store answers: a value, a refusal that changed nothing, or a fault.
pub type Answer<T> = Result<T, Trouble>;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A guard did not hold, or a unique index is taken: nothing was changed.
    Refused {
        /// Which of the writes; 0 for anything but a batch.
        write: u16,
        /// Why.
        why: Refusal,
    },
    /// The record that it was about is damaged: nothing was changed.
    Damaged(Damage),
    /// The store could not answer.
    Fault(Fault),
}

/// A page of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// In order.
    pub rows: Vec<Row>,
    /// Where the next page begins, if there is more.
    pub next: Option<Position>,
    /// What would be among the rows, or just behind the last, were it not damaged.
    pub damaged: Vec<Damage>,
}

/// Who asks for a lease: the host is the bus's own, never the caller's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// This host.
    pub host: HostId,
    /// The caller's word.
    pub name: String,
}

/// What the tail of the messages tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// A record was changed.
    Change(Change),
    /// Changes may have been missed.
    Gap,
}

/// Milliseconds since 1970, by this machine's clock: for people to read, and for no decision.
#[must_use]
pub fn wall() -> Millis {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_millis() as Millis)
}

/// An id for a write that no other write has.
#[must_use]
pub fn write_id() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u128::from_be_bytes(bytes)
}

/// Where records are kept.
pub trait Store: Send + Sync + 'static {
    /// How many reads of one peer are here at a time, so that others have their turn: no more than keeps the store busy.
    const READS: usize;

    /// How many pages of all peers.
    const PAGES: usize;

    /// How many writes of one peer.
    const WRITES: usize;

    /// One record.
    fn get(&self, kind: Kind, id: &str) -> impl Future<Output = Answer<Option<Row>>> + Send;

    /// Records in the order of an index. A bound finds only values of its own type. A unique index has no record in which
    /// one of its fields is empty. Without an index, `equal`, `from` and `to` are about the id, and positions have no
    /// keys.
    fn find(&self, find: Find) -> impl Future<Output = Answer<Found>> + Send;

    /// How many records a query has.
    fn count(&self, find: Find) -> impl Future<Output = Answer<u64>> + Send;

    /// Writes that happen all or none. `id` tells a write that was done from one that was not: asked again under the
    /// same id, the store answers as it did the first time and changes nothing more. Each write sees what those before it
    /// in the batch did. [`Write::Add`] to anything but a whole number is invalid. Changes to announced kinds are
    /// announced once they are acknowledged.
    fn write(&self, id: u128, writes: Vec<Write>) -> impl Future<Output = Answer<Vec<u64>>> + Send;

    /// Writes that were asked for under this id before, so long ago, perhaps of a bus that has gone.
    fn write_again(
        &self,
        id: u128,
        writes: Vec<Write>,
        begun: Duration,
    ) -> impl Future<Output = Answer<Vec<u64>>> + Send {
        let _ = begun;
        self.write(id, writes)
    }

    /// Takes a lease that nobody holds, not even the same owner; the epoch rises, and a new record of an id that was
    /// deleted does not begin with an epoch that the old one had.
    fn claim(
        &self,
        kind: Kind,
        id: &str,
        revision: Option<u64>,
        owner: Owner,
        lease: Millis,
    ) -> impl Future<Output = Answer<Row>> + Send;

    /// Makes a held lease last longer.
    fn renew(
        &self,
        kind: Kind,
        id: &str,
        host: HostId,
        claim: Claim,
        lease: Millis,
    ) -> impl Future<Output = Answer<Row>> + Send;

    /// Makes a held lease last longer under another word of its owner, and only if it still has the one of the claim. Asked
    /// again with the same words, it does so again: so who was held up can tell whether somebody else, who knew the same
    /// word, was faster.
    fn pass(
        &self,
        kind: Kind,
        id: &str,
        host: HostId,
        claim: Claim,
        word: String,
        lease: Millis,
    ) -> impl Future<Output = Answer<Row>> + Send;

    /// Gives a held lease up. Who held it and under which epoch is still told.
    fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> impl Future<Output = Answer<()>> + Send;

    /// Deletes the records with their leases, announced or not as their kind says, whose first field in the index is a smaller number.
    fn sweep(&self, kind: Kind, index: &str, before: i64) -> impl Future<Output = Answer<u64>> + Send;

    /// Puts a body in the place of a record, or removes it, whatever is there: for records that are damaged. Its lease
    /// goes. Refused as missing if there is none.
    fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> impl Future<Output = Answer<()>> + Send;

    /// Milliseconds since 1970 by the store's clock.
    fn now(&self) -> impl Future<Output = Answer<Millis>> + Send;

    /// The changes of all announced kinds, from now on. A receiver that lags behind has a gap.
    fn tail(&self) -> broadcast::Receiver<Tail>;

    /// Nothing more will be asked: the process ends.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}
