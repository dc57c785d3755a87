//! What hosts ask the store, and what it answers.

use culvert_lease::Millis;

/// Under what a claim is held: the store takes nothing from its host under another epoch or word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub epoch: u64,
    /// Of one lease of one process: no other has it.
    pub word: u64,
}

/// What a host asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All claims, as they are.
    Look,
    /// A claim, under this word.
    Claim(usize, u64),
    Renew(usize, Key),
    /// Renews it, under this word from now on.
    Pass(usize, Key, u64),
    Release(usize, Key),
    /// Something of the work on a claim.
    Work(Work),
}

/// A write under a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub claim: usize,
    pub key: Key,
    /// Of the claim's record, as it was read.
    pub revision: u64,
    pub round: u64,
    pub deed: Deed,
}

/// A round is: a result in the claim's own record; another record written together with it; a target that carries the
/// epoch; stages, and their publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// Step 0: the result goes into the claim's record.
    Own,
    /// Step 1: a transaction over another record and the claim's, which it writes.
    Together,
    /// Step 2: the epoch goes into the target, which is then read.
    Fence,
    /// Step 2: the target is written, unless it has a newer epoch.
    Far,
    /// Step 2: done, says the claim's record.
    Advance,
    /// Step 3: stages of older epochs go.
    Sweep,
    /// Step 3: one of the pieces is put down, where nobody sees it.
    Stage(u8),
    /// Step 3: one conditional write of the claim's record makes them visible, and begins the next round.
    Publish,
}

/// A claim's record as a host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub host: Option<usize>,
    pub key: Key,
    pub left: Millis,
    pub released: bool,
    pub revision: u64,
    pub round: u64,
    pub step: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Claims(Vec<Seen>),
    /// It was done; the record is like this now.
    Done(Seen),
    /// The target is in this round.
    Target(u64),
    /// It was refused, since the record is like this.
    Refused(Seen),
    /// The store can't be reached.
    Away,
}
