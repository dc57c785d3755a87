//! What must hold at every step, whatever happens.

use std::collections::BTreeMap;

use crate::ask::Deed;

/// What is known of a claim.
#[derive(Debug, Clone, Default)]
struct History {
    /// The newest epoch that was granted.
    newest: u64,
    /// The effect that comes next: round and step.
    next: (u64, u8),
    /// The newest epoch under which somebody was told what the target is like.
    told: u64,
}

/// Sees what the store does, and remembers the first thing that is wrong.
#[derive(Debug, Default)]
pub struct Judge {
    claims: Vec<History>,
    verdict: Option<String>,
    /// How often an older holder's write was refused, by what it was.
    pub fenced: BTreeMap<&'static str, u64>,
    pub grants: u64,
    pub published: u64,
}

impl Judge {
    pub fn new(claims: usize) -> Self {
        Self { claims: vec![History { next: (1, 0), ..History::default() }; claims], ..Self::default() }
    }

    pub fn verdict(&self) -> Option<&str> {
        self.verdict.as_deref()
    }

    /// Something is wrong.
    pub fn broke(&mut self, what: String) {
        self.verdict.get_or_insert(what);
    }

    /// The store granted a claim.
    pub fn granted(&mut self, claim: usize, epoch: u64) {
        self.grants += 1;
        let history = &mut self.claims[claim];
        if epoch <= history.newest {
            self.verdict.get_or_insert(format!("claim {claim}: epoch {epoch} comes after {}", history.newest));
        }
        history.newest = epoch;
    }

    /// An effect that everybody sees, in the claim's record or together with it.
    pub fn effect(&mut self, claim: usize, epoch: u64, round: u64, step: u8) {
        let History { newest, .. } = self.claims[claim];
        if epoch != newest {
            self.broke(format!("claim {claim}: {epoch} did step {step} of round {round}, but {newest} is the holder"));
        }
        self.once(claim, round, step);
    }

    /// A write to the target that carries the epoch: an older holder's may come until the newer one has looked there.
    pub fn far(&mut self, claim: usize, epoch: u64, round: u64) {
        let History { told, .. } = self.claims[claim];
        if epoch < told {
            self.broke(format!("claim {claim}: {epoch} wrote the target of round {round} after {told} had read it"));
        }
        self.once(claim, round, 2);
    }

    /// Somebody is told what the target is like.
    pub fn told(&mut self, claim: usize, epoch: u64) {
        let told = &mut self.claims[claim].told;
        *told = epoch.max(*told);
    }

    /// Each effect once, and in order.
    fn once(&mut self, claim: usize, round: u64, step: u8) {
        let next = self.claims[claim].next;
        if next != (round, step) {
            self.broke(format!("claim {claim}: step {step} of round {round} was done, but {next:?} comes next"));
        }
        self.claims[claim].next = if step == 3 { (round + 1, 0) } else { (round, step + 1) };
        self.published += u64::from(step == 3);
    }

    /// The store refused a write.
    pub fn refused(&mut self, claim: usize, epoch: u64, deed: Deed) {
        if epoch < self.claims[claim].newest {
            let name = match deed {
                Deed::Own => "own",
                Deed::Together => "together",
                Deed::Fence | Deed::Far => "far",
                Deed::Advance => "advance",
                Deed::Publish => "publish",
                Deed::Sweep | Deed::Stage(_) => "stage",
            };
            *self.fenced.entry(name).or_default() += 1;
        }
    }
}
