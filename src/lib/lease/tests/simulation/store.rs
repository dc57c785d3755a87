//! The store: claims with their results, targets of other records, and stages; by the primary's clock.

use std::collections::{BTreeMap, BTreeSet};

use culvert_lease::Millis;

use crate::ask::{Ask, Deed, Key, Reply, Seen, Work};
use crate::judge::Judge;
use crate::rule::Rule;
use crate::{LEASE, PIECES};

#[derive(Debug, Clone)]
struct Record {
    host: Option<usize>,
    key: Key,
    expires: i64,
    released: bool,
    /// The request that claimed it.
    request: u64,
    revision: u64,
    round: u64,
    step: u8,
    /// The target of step 2: its epoch and round.
    target: (u64, u64),
}

/// A transaction that is under way.
#[derive(Debug, Clone, Copy)]
pub struct Transaction {
    pub host: usize,
    pub id: u64,
    work: Work,
}

pub struct Store {
    rule: Rule,
    /// How much its clock is off.
    pub skew: i64,
    claims: Vec<Record>,
    /// Who wrote a piece last, by claim, epoch, round and piece.
    stages: BTreeMap<(usize, u64, u64, u8), u64>,
    /// What is published may not change: claim and round.
    published: BTreeSet<(usize, u64)>,
    /// What was answered to writes, so that what is asked twice is done once.
    answers: BTreeMap<u64, Reply>,
    under_way: BTreeSet<u64>,
}

impl Store {
    pub fn new(rule: Rule, claims: usize) -> Self {
        let record = Record {
            host: None,
            key: Key { epoch: 0, word: 0 },
            expires: i64::MIN,
            released: true,
            request: 0,
            revision: 1,
            round: 1,
            step: 0,
            target: (0, 0),
        };
        Self {
            rule,
            skew: 0,
            claims: vec![record; claims],
            stages: BTreeMap::new(),
            published: BTreeSet::new(),
            answers: BTreeMap::new(),
            under_way: BTreeSet::new(),
        }
    }

    fn now(&self, now: Millis) -> i64 {
        now as i64 + self.skew
    }

    pub fn seen(&self, claim: usize, now: Millis) -> Seen {
        let Record { host, key, expires, released, revision, round, step, .. } = self.claims[claim];
        let left = u64::try_from(expires.saturating_sub(self.now(now))).unwrap_or(0);
        Seen { host, key, left, released, revision, round, step }
    }

    /// Whether this host may write under this epoch and word.
    pub fn accepts(&self, claim: usize, host: usize, key: Key, now: Millis) -> bool {
        let seen = self.seen(claim, now);
        seen.host == Some(host) && seen.key == key && seen.left > 0
    }

    /// Answers, or begins a transaction.
    pub fn serve(
        &mut self,
        host: usize,
        id: u64,
        ask: Ask,
        now: Millis,
        judge: &mut Judge,
    ) -> Result<Reply, Option<Transaction>> {
        match ask {
            Ask::Look => Ok(Reply::Claims((0..self.claims.len()).map(|claim| self.seen(claim, now)).collect())),
            Ask::Claim(claim, word) => Ok(self.claim(claim, host, word, id, now, judge)),
            Ask::Renew(claim, key) => Ok(self.pass(claim, host, key, key.word, now)),
            Ask::Pass(claim, key, word) => Ok(self.pass(claim, host, key, word, now)),
            Ask::Release(claim, key) => {
                let held = self.accepts(claim, host, key, now);
                if held {
                    // The beginning of time, so that a clock that goes back does not bring it to life again.
                    (self.claims[claim].expires, self.claims[claim].released) = (i64::MIN, true);
                }
                Ok(self.answer(held, claim, now))
            }
            Ask::Work(work) => {
                if let Some(answer) = self.answers.get(&id) {
                    return Ok(answer.clone());
                }
                if work.deed == Deed::Together && self.guard(host, &work, now) {
                    let begins = self.under_way.insert(id);
                    return Err(begins.then_some(Transaction { host, id, work }));
                }
                let reply = self.work(host, &work, now, judge);
                self.answers.insert(id, reply.clone());
                Ok(reply)
            }
        }
    }

    fn answer(&self, done: bool, claim: usize, now: Millis) -> Reply {
        let seen = self.seen(claim, now);
        if done { Reply::Done(seen) } else { Reply::Refused(seen) }
    }

    fn pass(&mut self, claim: usize, host: usize, key: Key, word: u64, now: Millis) -> Reply {
        let passed = Key { word, ..key };
        let held = self.accepts(claim, host, key, now) || self.accepts(claim, host, passed, now);
        if held {
            (self.claims[claim].key, self.claims[claim].expires) = (passed, self.now(now) + LEASE as i64);
        }
        self.answer(held, claim, now)
    }

    fn claim(&mut self, claim: usize, host: usize, word: u64, request: u64, now: Millis, judge: &mut Judge) -> Reply {
        let free = self.seen(claim, now).left == 0;
        let time = self.now(now);
        let record = &mut self.claims[claim];
        // The same request again is told what it was told before.
        let ours = record.request == request;
        if free && !ours {
            record.key = Key { epoch: record.key.epoch + 1, word };
            (record.host, record.request, record.released) = (Some(host), request, false);
            record.expires = time + LEASE as i64;
            judge.granted(claim, record.key.epoch);
        }
        self.answer(free || ours, claim, now)
    }

    /// Whether the claim is held and its record as it was read.
    fn guard(&self, host: usize, work: &Work, now: Millis) -> bool {
        self.accepts(work.claim, host, work.key, now) && self.claims[work.claim].revision == work.revision
    }

    fn work(&mut self, host: usize, work: &Work, now: Millis, judge: &mut Judge) -> Reply {
        let guard = self.guard(host, work, now);
        let Work { claim, key: Key { epoch, .. }, round, revision, deed } = *work;
        let record = &mut self.claims[claim];
        let done = match deed {
            Deed::Own if self.rule == Rule::Unguarded => record.revision == revision,
            Deed::Publish if self.rule == Rule::PublishUnguarded => record.revision == revision,
            Deed::Own | Deed::Together | Deed::Advance | Deed::Publish => guard,
            Deed::Fence if self.rule == Rule::NoFence => true,
            Deed::Fence | Deed::Far => record.target.0 <= epoch,
            Deed::Sweep | Deed::Stage(_) => true,
        };
        if !done {
            judge.refused(claim, epoch, deed);
            return self.answer(false, claim, now);
        }
        match deed {
            Deed::Own => {
                judge.effect(claim, epoch, round, 0);
                (record.revision, record.step) = (record.revision + 1, 1);
            }
            Deed::Together => {}
            Deed::Fence => {
                judge.told(claim, epoch);
                if self.rule != Rule::NoFence {
                    record.target.0 = epoch;
                }
                return Reply::Target(record.target.1);
            }
            Deed::Far => {
                record.target.0 = epoch;
                if record.target.1 < round {
                    judge.far(claim, epoch, round);
                    record.target.1 = round;
                }
                return Reply::Target(record.target.1);
            }
            Deed::Advance => (record.revision, record.step) = (record.revision + 1, 3),
            Deed::Sweep => self.stages.retain(|key, _| key.0 != claim || key.1 >= epoch),
            Deed::Stage(piece) => {
                let key = if self.rule == Rule::StagesByClaim { 0 } else { epoch };
                if key == 0 && self.published.contains(&(claim, round)) {
                    judge.broke(format!("claim {claim}: what was published in round {round} was changed"));
                }
                self.stages.insert((claim, key, round, piece), epoch);
            }
            Deed::Publish => {
                let key = if self.rule == Rule::StagesByClaim { 0 } else { epoch };
                let whole = (0..PIECES).all(|piece| self.stages.get(&(claim, key, round, piece)) == Some(&epoch));
                if !whole {
                    judge.broke(format!("claim {claim}: round {round} was published in part, under {epoch}"));
                }
                judge.effect(claim, epoch, round, 3);
                (record.revision, record.step, record.round) = (record.revision + 1, 0, record.round + 1);
                self.published.insert((claim, round));
                self.stages.retain(|key, _| key.0 != claim || key.1 != epoch || key.2 != round);
            }
        }
        self.answer(true, claim, now)
    }

    /// The end of a transaction. It conflicts with whatever changed the claim since it began, if it writes the claim.
    pub fn commit(&mut self, transaction: &Transaction, now: Millis, judge: &mut Judge) -> Reply {
        let Transaction { id, work: Work { claim, key, revision, round, .. }, .. } = *transaction;
        self.under_way.remove(&id);
        let record = &mut self.claims[claim];
        let reads = self.rule == Rule::ReadsClaim;
        let done = reads || (record.key == key && record.revision == revision && !record.released);
        if done {
            judge.effect(claim, key.epoch, round, 1);
            (record.revision, record.step) = (record.revision + 1, 2);
        } else {
            judge.refused(claim, key.epoch, Deed::Together);
        }
        let reply = self.answer(done, claim, now);
        self.answers.insert(id, reply.clone());
        reply
    }

    /// Another primary, or the same again: what was under way is not done.
    pub fn restart(&mut self) {
        self.under_way.clear();
    }

    pub fn is_under_way(&self, transaction: &Transaction) -> bool {
        self.under_way.contains(&transaction.id)
    }

    /// How many stages are left that nobody published.
    pub fn litter(&self) -> usize {
        self.stages.len()
    }
}
