//! Where holders, messages and store can be, with times and epochs told from each other only as far as it matters.

use super::super::{Answer, Lease, State as Phase, Terms, Ticket};
use crate::Millis;

/// Three ticks; renewed after one, asked again after one.
pub const TERMS: Terms = Terms { length: 2, renew: 1, retry: 1 };

/// The present, in every state: all times are moved so that it is this.
pub const NOW: Millis = TERMS.length;

/// A ticket that its holder waits for no more.
const STALE: Ticket = Ticket { number: 0, sent: 0 };

impl Lease {
    /// The epoch that it is or was held under, if it may be held under it again.
    const fn epoch(&self) -> Option<u64> {
        match self.state {
            Phase::Held { epoch, .. } | Phase::Lapsed { epoch } | Phase::Expired { epoch } => Some(epoch),
            Phase::Wanted | Phase::Ended => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    pub lease: Lease,
    /// Under which epoch effects run.
    pub begun: Option<u64>,
    /// Under which epoch it has read the target, or put down its stages.
    pub ready: Option<u64>,
}

impl Holder {
    pub fn new(since: Millis) -> Self {
        Self { lease: Lease::new(TERMS, since), begun: None, ready: None }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// With the epoch that it was granted, should it come twice.
    Claim(Ticket, Option<u64>),
    Renew(Ticket, u64),
    Release(u64),
    Answer(Ticket, Answer),
    /// The epoch goes into the target, which is then read; or stages are put down.
    Prepare(u64),
    /// The answer to that.
    Prepared(u64),
    /// A write under this epoch, and whether its transaction has begun.
    Write(u64, bool),
}

impl What {
    /// Whether it is on its way to a holder.
    pub const fn is_answer(&self) -> bool {
        matches!(self, Self::Answer(..) | Self::Prepared(_))
    }
}

/// From or to a holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    pub holder: usize,
    pub what: What,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    pub owner: Option<usize>,
    pub epoch: u64,
    /// What is left of the lease.
    pub left: Millis,
    /// The epoch in the target.
    pub target: u64,
    /// The newest epoch under which somebody was told what the target is like.
    pub told: u64,
    /// The epochs whose stages are there.
    pub stages: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub holders: Vec<Holder>,
    /// What is under way, each message once and in an order that says nothing.
    pub wire: Vec<Message>,
    pub store: Store,
    /// What a write did that must not be.
    pub broken: Option<&'static str>,
}

impl State {
    pub fn new(holders: usize) -> Self {
        Self { holders: vec![Holder::new(NOW); holders], wire: Vec::new(), store: Store::default(), broken: None }
    }

    /// The same state at `now`, with the present moved to [`NOW`], epochs numbered from 1, the holders and what is under way
    /// in one order of all that mean the same, and what makes no difference any more left out.
    pub fn normal(mut self, now: Millis) -> Self {
        self.shift(now);
        self.tidy();
        self.rank();
        self.sort();
        let swapped = (0..self.holders.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
        swapped.fold(self, |least, (one, other)| {
            let other = least.clone().swapped(one, other);
            least.min(other)
        })
    }

    fn sort(&mut self) {
        self.wire.sort_unstable();
        self.wire.dedup();
    }

    /// The same, if these two had each other's names.
    fn swapped(mut self, one: usize, other: usize) -> Self {
        let named = |name: &mut usize| match *name {
            name if name == one => other,
            name if name == other => one,
            name => name,
        };
        self.holders.swap(one, other);
        self.wire
            .iter_mut()
            .map(|message| &mut message.holder)
            .chain(&mut self.store.owner)
            .for_each(|name| *name = named(name));
        self.sort();
        self
    }

    fn shift(&mut self, now: Millis) {
        let moved = |time: Millis| (time + NOW).saturating_sub(now);
        for (number, holder) in self.holders.iter_mut().enumerate() {
            let lease = &mut holder.lease;
            let asked = lease.asked;
            lease.latest = NOW;
            lease.requests = 1;
            // What is due is due, however long.
            lease.due = moved(lease.due).max(NOW);
            lease.asked = asked.map(|ticket| Ticket { number: 1, sent: moved(ticket.sent) });
            if let Phase::Held { until, .. } = &mut lease.state {
                *until = moved(*until).max(NOW);
            }
            let current = lease.asked;
            self.wire.retain_mut(|message| {
                if message.holder == number
                    && let What::Claim(ticket, _) | What::Renew(ticket, _) | What::Answer(ticket, _) = &mut message.what
                {
                    *ticket = current.filter(|_| Some(*ticket) == asked).unwrap_or(STALE);
                    // An answer to what nobody asks any more is of no effect.
                    return *ticket != STALE || !matches!(message.what, What::Answer(..));
                }
                true
            });
        }
    }

    /// What can't have any effect any more is gone, and what has the same is the same.
    fn tidy(&mut self) {
        let newest = self.store.epoch;
        for holder in &mut self.holders {
            holder.ready = holder.ready.filter(|_| holder.ready == holder.begun);
        }
        for message in &mut self.wire {
            if let What::Claim(_, granted) = &mut message.what {
                *granted = granted.filter(|epoch| *epoch == newest);
            }
        }
        self.wire.retain(|message| match message.what {
            What::Renew(ticket, epoch) => ticket != STALE || epoch == newest,
            What::Release(epoch) => epoch == newest,
            What::Prepared(epoch) => self.holders[message.holder].lease.epoch() == Some(epoch),
            _ => true,
        });
        let mut epochs = vec![newest];
        self.held(&mut |epoch| epochs.push(*epoch));
        let Store { target, told, stages, .. } = &mut self.store;
        stages.retain(|epoch| epochs.contains(epoch));
        stages.sort_unstable();
        stages.dedup();
        for fence in [target, told] {
            *fence = epochs.iter().copied().filter(|epoch| *epoch >= *fence).min().unwrap_or(newest);
        }
    }

    fn rank(&mut self) {
        let mut seen = vec![0];
        self.epochs(&mut |epoch| seen.push(*epoch));
        seen.sort_unstable();
        seen.dedup();
        self.epochs(&mut |epoch| *epoch = seen.iter().take_while(|it| *it < epoch).count() as u64);
    }

    /// Every epoch that is anywhere.
    fn epochs(&mut self, each: &mut impl FnMut(&mut u64)) {
        let Store { epoch, target, told, stages, .. } = &mut self.store;
        [epoch, target, told].into_iter().chain(stages).for_each(&mut *each);
        self.held(each);
    }

    /// Every epoch that a holder or a message has.
    fn held(&mut self, each: &mut impl FnMut(&mut u64)) {
        for Holder { lease, begun, ready } in &mut self.holders {
            begun.iter_mut().chain(ready).chain(&mut lease.begun).chain(&mut lease.unwanted).for_each(&mut *each);
            match &mut lease.state {
                Phase::Held { epoch, .. } | Phase::Lapsed { epoch } | Phase::Expired { epoch } => each(epoch),
                Phase::Wanted | Phase::Ended => {}
            }
        }
        for message in &mut self.wire {
            match &mut message.what {
                What::Claim(_, Some(epoch))
                | What::Renew(_, epoch)
                | What::Release(epoch)
                | What::Answer(_, Answer::Held { epoch })
                | What::Prepare(epoch)
                | What::Prepared(epoch)
                | What::Write(epoch, _) => each(epoch),
                What::Claim(_, None) | What::Answer(..) => {}
            }
        }
    }
}
