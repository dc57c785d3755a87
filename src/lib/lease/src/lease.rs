//! One lease, from the claim to its end.

use crate::Millis;

/// How long a lease lasts and when it is asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord, Hash))]
pub struct Terms {
    /// How long it lasts.
    pub length: Millis,
    /// How long after a granted request was sent the next one is due.
    pub renew: Millis,
    /// How long after a request came to nothing it is sent again.
    pub retry: Millis,
}

impl Terms {
    /// Renewed after a third, asked again after a fifteenth: 15 s, 5 s and 1 s.
    #[must_use]
    pub const fn of(length: Millis) -> Self {
        Self { length, renew: length / 3, retry: length / 15 }
    }
}

/// Which request an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord, Hash))]
pub struct Ticket {
    number: u64,
    sent: Millis,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord, Hash))]
pub enum Answer {
    /// The lease is held under this epoch.
    Held {
        /// Rises with each claim.
        epoch: u64,
    },
    /// To a renewal: it ran out by the store's clock or was given back, and nobody has claimed it since.
    Expired,
    /// The store said no: another holds it or has held it since, or the record is gone.
    Refused,
    /// None came, or none that tells whether it was done.
    Silence,
}

/// What the caller is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask the store for the lease, and bring the answer to [`Lease::answer`].
    Claim(Ticket),
    /// Ask the store to make the lease of this epoch last longer, and bring the answer to [`Lease::answer`].
    Renew(Ticket, u64),
    /// It is held under this epoch: effects may begin, or go on under the new epoch.
    Begin(u64),
    /// It is not held under this epoch any more, or that is not known: no effect under it from now on. It is being
    /// asked for again.
    Pause(u64),
    /// Give the store back the lease of this epoch: the claim was granted after it was no longer wanted.
    Release(u64),
    /// Another has it, or the record is gone, or the claim was not answered: it is to be looked at again. Nothing more
    /// will come.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord, Hash))]
enum State {
    /// Never held.
    Wanted,
    /// Held until this instant of our clock.
    Held { epoch: u64, until: Millis },
    /// It was held; the store may still say so to a renewal.
    Lapsed { epoch: u64 },
    /// It was held and ran out by the store's clock; a new claim under a new epoch may get it back.
    Expired { epoch: u64 },
    /// Another has it, or it was given up.
    Ended,
}

/// A lease that somebody wants to hold. [`Lease::poll`] says what to do until there is nothing; [`Lease::wake`] says
/// when there will be something again; answers come through [`Lease::answer`].
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(PartialEq, Eq, PartialOrd, Ord, Hash))]
pub struct Lease {
    terms: Terms,
    state: State,
    /// The request that is under way; there is never more than one that counts.
    asked: Option<Ticket>,
    /// When the next request is due, if none is under way.
    due: Millis,
    /// The epoch under which the caller was told to begin, and not yet to pause.
    begun: Option<u64>,
    /// Given back to the store before anything else is done.
    unwanted: Option<u64>,
    ended: bool,
    requests: u64,
    latest: Millis,
}

impl Lease {
    /// A lease that is to be claimed. Whether it may be, [`crate::may_claim`] tells.
    #[must_use]
    pub fn new(terms: Terms, now: Millis) -> Self {
        Self {
            terms,
            state: State::Wanted,
            asked: None,
            due: now,
            begun: None,
            unwanted: None,
            ended: false,
            requests: 0,
            latest: now,
        }
    }

    /// A lease that an earlier process of this owner was granted under this epoch. It is asked for again first: until
    /// then it is not held. Where it may have been given back, whoever asks passes it to another owner's word first: the
    /// release may still be on its way.
    #[must_use]
    pub fn resume(terms: Terms, epoch: u64, now: Millis) -> Self {
        Self { state: State::Lapsed { epoch }, ..Self::new(terms, now) }
    }

    /// The epoch under which it is held now: the fence that every write has to carry.
    #[must_use]
    pub fn held(&self, now: Millis) -> Option<u64> {
        match self.state {
            State::Held { epoch, until } if now.max(self.latest) < until => Some(epoch),
            _ => None,
        }
    }

    /// What to do now. To be called until it is nothing.
    pub fn poll(&mut self, now: Millis) -> Option<Action> {
        let now = self.at(now);
        if let Some(epoch) = self.unwanted.take() {
            return Some(Action::Release(epoch));
        }
        // What was asked a whole lease ago can't be granted any more.
        if self.asked.is_some_and(|ticket| now - ticket.sent >= self.terms.length) {
            self.asked = None;
            self.unanswered(now);
        }
        if let State::Held { epoch, until } = self.state
            && now >= until
        {
            self.state = State::Lapsed { epoch };
        }
        let held = self.held(now);
        if let Some(epoch) = self.begun
            && held != Some(epoch)
        {
            self.begun = None;
            return Some(Action::Pause(epoch));
        }
        if let Some(epoch) = held
            && self.begun.is_none()
        {
            self.begun = Some(epoch);
            return Some(Action::Begin(epoch));
        }
        if self.state == State::Ended {
            return (!std::mem::replace(&mut self.ended, true)).then_some(Action::End);
        }
        self.request(now)
    }

    fn request(&mut self, now: Millis) -> Option<Action> {
        if self.asked.is_some() || now < self.due {
            return None;
        }
        self.requests += 1;
        let ticket = Ticket { number: self.requests, sent: now };
        self.asked = Some(ticket);
        match self.state {
            State::Wanted | State::Expired { .. } => Some(Action::Claim(ticket)),
            State::Held { epoch, .. } | State::Lapsed { epoch } => Some(Action::Renew(ticket, epoch)),
            State::Ended => None,
        }
    }

    /// The answer to a request. An answer that comes after its request was given up is of no effect.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer, now: Millis) {
        let now = self.at(now);
        if self.asked != Some(ticket) {
            return;
        }
        self.asked = None;
        match (answer, self.state) {
            (Answer::Held { epoch }, State::Ended) => self.unwanted = Some(epoch),
            (Answer::Held { epoch }, _) => {
                let until = ticket.sent + self.terms.length;
                self.state = if now < until { State::Held { epoch, until } } else { State::Lapsed { epoch } };
                self.due = now.max(ticket.sent + self.terms.renew);
            }
            (Answer::Expired, State::Held { epoch, .. } | State::Lapsed { epoch }) => {
                self.state = State::Expired { epoch };
                self.due = now;
            }
            (Answer::Expired | Answer::Refused, _) => self.state = State::Ended,
            (Answer::Silence, _) => self.unanswered(now),
        }
    }

    /// A claim rests on what the store said just before of who had the lease last. After an outage that is to be asked
    /// again: another may have had it since, and comes first.
    fn unanswered(&mut self, now: Millis) {
        self.due = now + self.terms.retry;
        self.state = match self.state {
            State::Wanted => State::Ended,
            State::Expired { epoch } => State::Lapsed { epoch },
            state => state,
        };
    }

    /// When there will be something to do, if no answer comes before. Nothing once it has ended.
    #[must_use]
    pub fn wake(&self) -> Option<Millis> {
        let request = match self.asked {
            Some(ticket) => ticket.sent + self.terms.length,
            None => self.due,
        };
        match self.state {
            State::Ended => None,
            State::Held { until, .. } => Some(request.min(until)),
            _ => Some(request),
        }
    }

    /// No longer wanted. The epoch that is to be given back to the store, if it was ever held; the caller has stopped
    /// all effects before.
    pub fn release(&mut self) -> Option<u64> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        self.begun = None;
        self.ended = true;
        match state {
            // A claim that is under way is answered later, and then given back.
            State::Wanted | State::Ended => None,
            State::Held { epoch, .. } | State::Lapsed { epoch } | State::Expired { epoch } => Some(epoch),
        }
    }

    /// A clock that goes back is one that stands still.
    fn at(&mut self, now: Millis) -> Millis {
        self.latest = self.latest.max(now);
        self.latest
    }
}

#[cfg(test)]
mod exhaustive;
#[cfg(test)]
mod tests;
