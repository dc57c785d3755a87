//! Two holders and a store, and what can happen between them.

use proptest::prelude::*;

use super::super::*;
use super::{BEGINNING, TERMS};

/// The store: one record's lease by its own clock.
#[derive(Debug, Default)]
pub struct Store {
    /// How much its clock has been stepped, beyond where the test began.
    skew: i64,
    owner: Option<usize>,
    epoch: u64,
    expires: u64,
    /// The newest epoch under which somebody wrote.
    wrote: u64,
}

impl Store {
    fn time(&self, now: Millis) -> u64 {
        (now + BEGINNING).saturating_add_signed(self.skew)
    }

    fn serve(&mut self, holder: usize, request: Action, now: Millis) -> Answer {
        let ours = |epoch| self.accepts(holder, epoch, now);
        let now = self.time(now);
        match request {
            Action::Claim(_) if self.expires <= now => {
                self.owner = Some(holder);
                self.epoch += 1;
            }
            Action::Renew(_, epoch) if ours(epoch) => {}
            Action::Renew(_, epoch) if epoch == self.epoch => return Answer::Expired,
            Action::Release(epoch) if ours(epoch) => {
                self.expires = 0;
                return Answer::Refused;
            }
            _ => return Answer::Refused,
        }
        self.expires = now + TERMS.length;
        Answer::Held { epoch: self.epoch }
    }

    fn accepts(&self, holder: usize, epoch: u64, now: Millis) -> bool {
        self.owner == Some(holder) && self.epoch == epoch && self.expires > self.time(now)
    }

    /// A write that was decided on under this epoch, whenever it comes: the newer holder's alone is done.
    fn write(&mut self, holder: usize, epoch: u64, now: Millis) {
        if self.accepts(holder, epoch, now) {
            assert!(epoch >= self.wrote, "an older holder wrote after a newer one");
            self.wrote = epoch;
        }
    }
}

/// What can happen next. The number chooses among what is under way.
#[derive(Debug, Clone)]
pub enum Step {
    Pass(Millis),
    Poll(usize),
    /// A request reaches the store.
    Serve(usize),
    /// An answer reaches its holder.
    Deliver(usize),
    /// A request or an answer is lost, and its holder told so.
    Lose(usize),
    /// A request reaches the store, and will once more.
    Twice(usize),
    /// The store's clock is stepped: leases end early or late.
    Skew(i64),
    Restart(usize),
    /// A holder decides to write; the write comes when it likes.
    Decide(usize),
    Write(usize),
    /// A holder gives its lease back.
    Give(usize),
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..4_000_u64).prop_map(Step::Pass),
        1 => (0..40_000_u64).prop_map(Step::Pass),
        8 => (0..2_usize).prop_map(Step::Poll),
        8 => (0..4_usize).prop_map(Step::Serve),
        8 => (0..4_usize).prop_map(Step::Deliver),
        2 => (0..4_usize).prop_map(Step::Lose),
        2 => (0..4_usize).prop_map(Step::Twice),
        1 => (-20_000..20_000_i64).prop_map(Step::Skew),
        1 => (0..2_usize).prop_map(Step::Restart),
        4 => (0..2_usize).prop_map(Step::Decide),
        4 => (0..4_usize).prop_map(Step::Write),
        1 => (0..2_usize).prop_map(Step::Give),
    ]
}

#[derive(Debug, Clone)]
struct Sent {
    holder: usize,
    life: u32,
    request: Action,
    answer: Option<Answer>,
}

pub struct World {
    pub now: Millis,
    pub store: Store,
    pub holders: [Lease; 2],
    /// Each holder's own clock runs as fast as the true one, from another beginning.
    beginnings: [Millis; 2],
    lives: [u32; 2],
    /// Under which epoch the holder's effects run.
    pub effects: [Option<u64>; 2],
    /// When the holder sent the last request that was granted to it.
    granted: [Option<Millis>; 2],
    wire: Vec<Sent>,
    /// Writes that are under way: holder and epoch.
    writes: Vec<(usize, u64)>,
    skewed: bool,
}

impl World {
    pub fn new() -> Self {
        let beginnings = [0, 1_000_000];
        Self {
            now: 0,
            store: Store::default(),
            holders: beginnings.map(|beginning| Lease::new(TERMS, beginning)),
            beginnings,
            lives: [0; 2],
            effects: [None; 2],
            granted: [None; 2],
            wire: Vec::new(),
            writes: Vec::new(),
            skewed: false,
        }
    }

    fn local(&self, holder: usize) -> Millis {
        self.now + self.beginnings[holder]
    }

    pub fn step(&mut self, step: &Step) {
        match *step {
            Step::Pass(time) => self.now += time,
            Step::Poll(holder) => self.poll(holder),
            Step::Serve(which) => {
                let now = self.now;
                if let Some(sent) = self.wire.iter_mut().filter(|sent| sent.answer.is_none()).nth(which) {
                    sent.answer = Some(self.store.serve(sent.holder, sent.request, now));
                }
            }
            Step::Twice(which) => {
                let mut unserved = self.wire.iter().filter(|sent| sent.answer.is_none());
                // A claim that comes twice is known by its word, and done once.
                let again = unserved.nth(which).cloned().filter(|sent| !matches!(sent.request, Action::Claim(_)));
                self.step(&Step::Serve(which));
                self.wire.extend(again);
            }
            Step::Deliver(which) => self.deliver(which, false),
            Step::Lose(which) => self.deliver(which, true),
            Step::Skew(time) => {
                self.store.skew += time;
                self.skewed = true;
            }
            Step::Restart(holder) => {
                self.holders[holder] = Lease::new(TERMS, self.local(holder));
                self.lives[holder] += 1;
                self.effects[holder] = None;
                self.granted[holder] = None;
            }
            Step::Decide(holder) => {
                self.writes.extend(self.holders[holder].held(self.local(holder)).map(|epoch| (holder, epoch)));
            }
            Step::Write(which) if which < self.writes.len() => {
                let (holder, epoch) = self.writes.remove(which);
                self.store.write(holder, epoch, self.now);
            }
            Step::Write(_) => {}
            Step::Give(holder) => {
                if let Some(epoch) = self.holders[holder].release() {
                    let request = Action::Release(epoch);
                    self.wire.push(Sent { holder, life: self.lives[holder], request, answer: None });
                }
                // Wanted again at once, by somebody who knows nothing of it.
                self.step(&Step::Restart(holder));
            }
        }
    }

    pub fn poll(&mut self, holder: usize) {
        let now = self.local(holder);
        while let Some(action) = self.holders[holder].poll(now) {
            match action {
                Action::Claim(_) | Action::Renew(..) | Action::Release(_) => {
                    self.wire.push(Sent { holder, life: self.lives[holder], request: action, answer: None });
                }
                Action::Begin(epoch) => assert_eq!(self.effects[holder].replace(epoch), None),
                Action::Pause(epoch) => assert_eq!(self.effects[holder].take(), Some(epoch)),
                // It tries again, as somebody who finds the record free later.
                Action::End => self.holders[holder] = Lease::new(TERMS, now + 1),
            }
        }
        assert_eq!(self.effects[holder], self.holders[holder].held(now), "effects run when it is held, and only then");
    }

    fn deliver(&mut self, which: usize, lose: bool) {
        let Some(place) = self
            .wire
            .iter()
            .enumerate()
            .filter(|(_, sent)| lose || sent.answer.is_some())
            .map(|(place, _)| place)
            .nth(which)
        else {
            return;
        };
        let sent = self.wire.remove(place);
        if sent.life != self.lives[sent.holder] {
            return;
        }
        let (Action::Claim(ticket) | Action::Renew(ticket, _)) = sent.request else { return };
        let answer = sent.answer.filter(|_| !lose).unwrap_or(Answer::Silence);
        if matches!(answer, Answer::Held { .. }) {
            let granted = &mut self.granted[sent.holder];
            *granted = (*granted).max(Some(ticket.sent));
        }
        let now = self.local(sent.holder);
        self.holders[sent.holder].answer(ticket, answer, now);
    }

    pub fn check(&self) {
        let held = [0, 1].map(|holder| self.holders[holder].held(self.local(holder)));
        for holder in [0, 1] {
            if let Some(epoch) = held[holder] {
                let sent = self.granted[holder].expect("nobody holds what was not granted");
                assert!(self.local(holder) < sent + TERMS.length, "held beyond its end");
                assert!(self.skewed || self.store.accepts(holder, epoch, self.now), "held, but the store says no");
            }
        }
        if let [Some(one), Some(other)] = held {
            assert!(self.skewed, "two hold it although no clock is wrong");
            assert_ne!(one, other, "two hold it under one epoch");
            let accepted = [(0, one), (1, other)].map(|(holder, epoch)| self.store.accepts(holder, epoch, self.now));
            assert_ne!(accepted, [true, true], "the fence lets both through");
        }
    }
}
