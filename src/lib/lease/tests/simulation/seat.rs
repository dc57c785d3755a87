//! What a process has of one claim, and what comes next in the work on it.

use culvert_lease::{Last, Lease, Millis};

use crate::PIECES;
use crate::ask::{Deed, Key, Seen};

/// What this process has of one claim.
#[derive(Debug, Clone, Default)]
pub struct Seat {
    pub lease: Option<Lease>,
    /// The lease's word.
    pub word: u64,
    /// Under what it was held before, if somebody else held it.
    pub former: Option<Key>,
    /// The epoch under which effects run.
    pub begun: Option<u64>,
    /// Who had it last, as the store said just now.
    pub last: Option<Last>,
    /// The record, if what is known of it is certain.
    pub known: Option<Seen>,
    /// The write that is under way.
    pub busy: Option<u64>,
    /// When the next one is due.
    pub due: Millis,
    /// The round of the target, as read under this epoch.
    pub target: Option<(u64, u64)>,
    /// How many pieces stand, of this epoch and round; the first step is the sweep.
    pub staged: Option<(u64, u64, u8)>,
}

impl Seat {
    /// The next write under this epoch, if the record is like this.
    pub fn deed(&self, epoch: u64, seen: &Seen) -> Deed {
        let staged = self.staged.filter(|(under, round, _)| (*under, *round) == (epoch, seen.round));
        match seen.step {
            0 => Deed::Own,
            1 => Deed::Together,
            2 => match self.target.filter(|(under, _)| *under == epoch) {
                None => Deed::Fence,
                Some((_, round)) if round < seen.round => Deed::Far,
                Some(_) => Deed::Advance,
            },
            _ => match staged {
                None => Deed::Sweep,
                Some((_, _, pieces)) if pieces < PIECES => Deed::Stage(pieces),
                Some(_) => Deed::Publish,
            },
        }
    }
}
