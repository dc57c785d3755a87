//! One host's process: wants every claim, and works on those that it holds. Time is its own clock's.

use std::collections::BTreeMap;

use culvert_lease::{Action, Answer, Contact, Last, Lease, Millis, Ticket, may_claim};

use crate::ask::{Ask, Deed, Key, Reply, Seen, Work};
use crate::dice::Dice;
use crate::rule::Rule;
use crate::seat::Seat;
use crate::{LEASE, PATIENCE, SILENCE, TERMS};

/// Between two looks for claims that are free.
const LOOK: Millis = 5_000;

/// The longest between two writes of one holder.
const THINK: u64 = 2_000;

/// What a request that is under way is for.
#[derive(Debug, Clone, Copy)]
enum For {
    Look,
    /// Of the lease of this claim.
    Lease(usize, Ticket, Option<u64>),
    /// Gives a lease back.
    Release,
    /// The holder reads its record again.
    Read(usize),
    Work(Work),
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    what: For,
    sent: Millis,
}

/// A claim that is about to be asked for, for the judge.
#[derive(Debug, Clone, Copy)]
pub struct Taking {
    pub claim: usize,
    /// Who is known to have had it last; nothing if that was not looked at.
    pub last: Option<Last>,
}

pub struct Process {
    host: usize,
    rule: Rule,
    contact: Contact,
    seats: Vec<Seat>,
    pending: BTreeMap<u64, Pending>,
    look: Millis,
    /// Whether leases are kept, and not given back now and then.
    pub keeps: bool,
    /// How often effects had to pause.
    pub lapses: u64,
    /// Claims that were decided on since they were last taken from here.
    pub taking: Vec<Taking>,
}

/// A number that nobody had before.
const fn draw(ids: &mut u64) -> u64 {
    *ids += 1;
    *ids
}

impl Process {
    pub fn new(host: usize, rule: Rule, claims: usize, now: Millis) -> Self {
        Self {
            host,
            rule,
            contact: Contact::new(SILENCE),
            seats: vec![Seat::default(); claims],
            pending: BTreeMap::new(),
            look: now,
            keeps: false,
            lapses: 0,
            taking: Vec::new(),
        }
    }

    /// Half of the hosts go on under the claims that they find. The others give them back.
    const fn resumes(&self) -> bool {
        self.host.is_multiple_of(2)
    }

    /// The epoch under which it believes to hold this claim.
    pub fn believes(&self, claim: usize, now: Millis) -> Option<u64> {
        let seat = &self.seats[claim];
        match self.rule {
            Rule::NeverLapses => seat.begun,
            _ => seat.lease.as_ref().and_then(|lease| lease.held(now)),
        }
    }

    /// What it sends now.
    pub fn turn(&mut self, now: Millis, dice: &mut Dice, ids: &mut u64) -> Vec<(u64, Ask)> {
        let late = |pending: &Pending| now >= pending.sent + PATIENCE;
        let late: Vec<u64> = self.pending.iter().filter(|(_, it)| late(it)).map(|(id, _)| *id).collect();
        for id in late {
            self.answer(id, &Reply::Away, now, dice, ids);
        }
        let mut asks = Vec::new();
        for claim in 0..self.seats.len() {
            self.poll(claim, now, &mut |what, ask| asks.push((what, ask)));
            asks.extend(self.work(claim, now));
        }
        if now >= self.look {
            self.look = now + LOOK + dice.below(500);
            asks.push((For::Look, Ask::Look));
        }
        asks.into_iter().map(|(what, ask)| (self.send(what, now, ids), ask)).collect()
    }

    fn send(&mut self, what: For, now: Millis, ids: &mut u64) -> u64 {
        let id = draw(ids);
        self.pending.insert(id, Pending { what, sent: now });
        if let For::Work(Work { claim, .. }) | For::Read(claim) = what {
            self.seats[claim].busy = Some(id);
        }
        id
    }

    fn poll(&mut self, claim: usize, now: Millis, ask: &mut impl FnMut(For, Ask)) {
        loop {
            let seat = &mut self.seats[claim];
            let Some(action) = seat.lease.as_mut().and_then(|lease| lease.poll(now)) else { return };
            match action {
                Action::Claim(ticket) => {
                    ask(For::Lease(claim, ticket, None), Ask::Claim(claim, seat.word));
                    self.taking.push(Taking { claim, last: seat.last.take() });
                }
                Action::Renew(ticket, epoch) => {
                    let renewal = match seat.former.filter(|former| former.epoch == epoch) {
                        Some(former) => Ask::Pass(claim, former, seat.word),
                        None => Ask::Renew(claim, Key { epoch, word: seat.word }),
                    };
                    ask(For::Lease(claim, ticket, Some(epoch)), renewal);
                }
                Action::Begin(epoch) => {
                    seat.begun = Some(epoch);
                    seat.known = seat.known.filter(|seen| seen.key.epoch == epoch);
                }
                Action::Pause(_) => {
                    self.lapses += 1;
                    if self.rule != Rule::NeverLapses {
                        seat.begun = None;
                    }
                }
                Action::Release(epoch) => {
                    ask(For::Release, Ask::Release(claim, Key { epoch, word: seat.word }));
                }
                Action::End => {
                    let due = now + LOOK;
                    *seat = Seat { due, ..Seat::default() };
                    self.look = self.look.min(now + 100);
                }
            }
        }
    }

    /// The next write of a holder, decided now; when it leaves is another matter.
    fn work(&self, claim: usize, now: Millis) -> Option<(For, Ask)> {
        let seat = &self.seats[claim];
        let epoch = self.believes(claim, now).filter(|epoch| seat.begun == Some(*epoch))?;
        if seat.busy.is_some() || now < seat.due {
            return None;
        }
        let Some(seen) = seat.known else { return Some((For::Read(claim), Ask::Look)) };
        let deed = seat.deed(epoch, &seen);
        let key = Key { epoch, word: seat.word };
        let work = Work { claim, key, revision: seen.revision, round: seen.round, deed };
        Some((For::Work(work), Ask::Work(work)))
    }

    /// An answer came, or none in time. What is to be sent at once is left for the next turn.
    pub fn answer(&mut self, id: u64, reply: &Reply, now: Millis, dice: &mut Dice, ids: &mut u64) -> Vec<(u64, Ask)> {
        // Too late, or twice.
        let Some(Pending { what, sent }) = self.pending.remove(&id) else { return Vec::new() };
        match reply {
            Reply::Away => self.contact.failed(),
            _ if self.rule == Rule::ArrivalContact => self.contact.answered(now, now),
            _ => self.contact.answered(sent, now),
        }
        match (what, reply) {
            (For::Look, Reply::Claims(all)) => return self.choose(all, now, ids),
            (For::Look, _) => self.look = self.look.min(now + 500),
            (For::Lease(claim, ticket, renewed), reply) => self.lease(claim, ticket, renewed, reply, now),
            (For::Read(claim), Reply::Claims(all)) => {
                self.idle(claim, id, now, dice);
                // What was read while another held it may change behind our back.
                let seat = &mut self.seats[claim];
                seat.known = Some(all[claim]).filter(|seen| seat.begun == Some(seen.key.epoch));
            }
            (For::Read(claim), _) => self.idle(claim, id, now, dice),
            (For::Work(work), reply) => {
                self.idle(work.claim, id, now, dice);
                return self.worked(&work, reply, now, dice, ids);
            }
            (For::Release, _) => {}
        }
        Vec::new()
    }

    fn idle(&mut self, claim: usize, id: u64, now: Millis, dice: &mut Dice) {
        let seat = &mut self.seats[claim];
        if seat.busy == Some(id) {
            (seat.busy, seat.due) = (None, now + dice.below(THINK));
        }
    }

    fn lease(&mut self, claim: usize, ticket: Ticket, renewed: Option<u64>, reply: &Reply, now: Millis) {
        let seat = &mut self.seats[claim];
        let Some(lease) = &mut seat.lease else { return };
        let answer = match (reply, renewed) {
            (Reply::Done(seen), None) => {
                seat.known = Some(*seen);
                Answer::Held { epoch: seen.key.epoch }
            }
            (Reply::Done(seen), Some(_)) => Answer::Held { epoch: seen.key.epoch },
            (Reply::Refused(seen), Some(epoch)) if seen.key.epoch == epoch && seen.left == 0 => {
                seat.last = Some(Last::Us);
                Answer::Expired
            }
            (Reply::Refused(_), Some(_)) if self.rule == Rule::ClaimsBlindly => Answer::Expired,
            (Reply::Refused(_), _) => Answer::Refused,
            _ => Answer::Silence,
        };
        lease.answer(ticket, answer, now);
        if let (Answer::Held { epoch }, Rule::LateClock) = (answer, self.rule) {
            let mut late = Lease::new(TERMS, now);
            if let Some(Action::Claim(ticket)) = late.poll(now) {
                late.answer(ticket, Answer::Held { epoch }, now);
            }
            seat.lease = Some(late);
        }
    }

    fn worked(&mut self, work: &Work, reply: &Reply, now: Millis, dice: &mut Dice, ids: &mut u64) -> Vec<(u64, Ask)> {
        let seat = &mut self.seats[work.claim];
        let Key { epoch, word } = work.key;
        if seat.begun != Some(epoch) || seat.word != word {
            return Vec::new();
        }
        match (work.deed, reply) {
            (Deed::Fence | Deed::Far, Reply::Target(round)) => seat.target = Some((epoch, *round)),
            (Deed::Sweep, Reply::Done(_)) => seat.staged = Some((epoch, work.round, 0)),
            (Deed::Stage(piece), Reply::Done(_)) => seat.staged = Some((epoch, work.round, piece + 1)),
            (Deed::Publish, Reply::Done(seen)) => {
                seat.known = Some(*seen);
                if !self.keeps && dice.once_in(8) {
                    return self.give_up(work.claim, now, ids);
                }
            }
            (_, Reply::Done(seen)) => seat.known = Some(*seen),
            // Refused, or not known: both are looked at.
            _ => (seat.known, seat.target) = (None, None),
        }
        Vec::new()
    }

    fn give_up(&mut self, claim: usize, now: Millis, ids: &mut u64) -> Vec<(u64, Ask)> {
        let seat = &mut self.seats[claim];
        let (epoch, word) = (seat.lease.as_mut().and_then(Lease::release), seat.word);
        *seat = Seat { due: now + LOOK, ..Seat::default() };
        let asks = epoch.map(|epoch| (self.send(For::Release, now, ids), Ask::Release(claim, Key { epoch, word })));
        asks.into_iter().collect()
    }

    /// What to do about claims of which this process has no lease.
    fn choose(&mut self, all: &[Seen], now: Millis, ids: &mut u64) -> Vec<(u64, Ask)> {
        let mut asks = Vec::new();
        let uninterrupted = if self.rule == Rule::NoContact { Millis::MAX } else { self.contact.uninterrupted() };
        for (claim, seen) in all.iter().enumerate() {
            if self.seats[claim].lease.is_some() || now < self.seats[claim].due {
                continue;
            }
            let ours = seen.host == Some(self.host);
            let last = match seen.host {
                Some(_) if ours => Last::Us,
                Some(_) if !seen.released => Last::Another,
                _ => Last::Nobody,
            };
            if ours && seen.left > 0 {
                // An earlier process's, or granted without our hearing of it.
                if self.resumes() {
                    let lease = Some(Lease::resume(TERMS, seen.key.epoch, now));
                    let (word, former) = match self.rule {
                        Rule::KeepsWord => (seen.key.word, None),
                        _ => (draw(ids), Some(seen.key)),
                    };
                    self.seats[claim] = Seat { lease, word, former, ..Seat::default() };
                } else {
                    asks.push((self.send(For::Release, now, ids), Ask::Release(claim, seen.key)));
                }
            } else if may_claim(last, seen.left, LEASE, uninterrupted) {
                let (lease, last) = (Some(Lease::new(TERMS, now)), Some(last));
                self.seats[claim] = Seat { lease, last, word: draw(ids), ..Seat::default() };
            }
        }
        asks
    }

    /// When there is something to do, if nothing comes before.
    pub fn wake(&self) -> Millis {
        let waits = self.pending.values().map(|pending| pending.sent + PATIENCE);
        let leases = self.seats.iter().filter_map(|seat| seat.lease.as_ref()?.wake());
        let works = self.seats.iter().filter(|seat| seat.begun.is_some() && seat.busy.is_none()).map(|seat| seat.due);
        waits.chain(leases).chain(works).fold(self.look, Millis::min)
    }
}
