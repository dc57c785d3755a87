//! Keeping a lease: carries out what the lease's state machine decides, for whatever kind of record.

use std::marker::PhantomData;
use std::time::Duration;

use culvert_lease::{Action, Answer, Lease, Terms, Ticket};
use culvert_model::{Millis, Record};
use culvert_wire::bus::{Claim, Refusal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::{Bus, Failure, Kept, Stored};

/// Whom a lease is asked for: the bus about one record, or what stands for it in a test.
pub trait Grantor: Send + Sync {
    /// Asks for it anew.
    fn claim(&self) -> impl Future<Output = Answer> + Send;

    /// Asks that the one of this epoch last longer.
    fn renew(&self, epoch: u64) -> impl Future<Output = Answer> + Send;

    /// Gives the one of this epoch back. If that can't be done, it runs out.
    fn release(&self, epoch: u64) -> impl Future<Output = ()> + Send;
}

/// The lease of one record, in the name of one owner.
#[derive(Debug)]
pub struct Post<T> {
    bus: Bus,
    id: String,
    owner: String,
    /// Under which it was held by somebody before us.
    former: Option<Claim>,
    length: Millis,
    kind: PhantomData<fn() -> T>,
}

impl<T: Record> Post<T> {
    fn new(bus: &Bus, id: String, owner: &str, terms: Terms) -> Self {
        Self { bus: bus.clone(), id, owner: owner.into(), former: None, length: terms.length, kind: PhantomData }
    }

    fn under(&self, epoch: u64) -> Claim {
        Claim { owner: self.owner.clone(), epoch }
    }
}

impl<T: Record> Grantor for Post<T> {
    async fn claim(&self) -> Answer {
        answer(&self.bus.claim::<T>(&self.id, None, &self.owner, self.length).await)
    }

    async fn renew(&self, epoch: u64) -> Answer {
        let asked = match self.former.as_ref().filter(|former| former.epoch == epoch) {
            Some(former) => self.bus.passed::<T>(&self.id, former, &self.owner, self.length).await,
            None => self.bus.renewed(&self.id, &self.under(epoch), self.length).await,
        };
        match asked {
            Err(Failure::Refused { why: Refusal::NotHeld { lease: Some(lease) }, .. })
                if lease.epoch == epoch && lease.left == 0 =>
            {
                Answer::Expired
            }
            Err(Failure::Refused { .. }) => Answer::Refused,
            Err(_) => Answer::Silence,
            Ok(stored) => granted(&stored),
        }
    }

    async fn release(&self, epoch: u64) {
        if let Err(failure) = self.bus.release::<T>(&self.id, &self.under(epoch)).await {
            tracing::debug!(record = self.id, epoch, %failure, "a lease was not given back; it runs out");
        }
    }
}

fn answer<T>(kept: &Result<Kept<Stored<T>>, Failure>) -> Answer {
    match kept {
        Ok(Kept::Held(stored)) => granted(stored),
        Ok(Kept::Lost) => Answer::Refused,
        Err(_) => Answer::Silence,
    }
}

fn granted<T>(stored: &Stored<T>) -> Answer {
    stored.lease.as_ref().map_or(Answer::Refused, |lease| Answer::Held { epoch: lease.epoch })
}

/// A lease that is kept while [`Hold::keep`] runs.
#[derive(Debug)]
pub struct Hold<G> {
    grantor: G,
    lease: Lease,
    begun: Instant,
    epochs: watch::Sender<Option<u64>>,
}

impl<T: Record> Hold<Post<T>> {
    /// Claims a record, if it is still as it was found and nobody was quicker. Whether it may be claimed,
    /// [`culvert_lease::may_claim`] tells.
    ///
    /// # Errors
    ///
    /// The store can't be reached. Should it have granted the lease all the same, that runs out.
    pub async fn claim(
        bus: &Bus,
        found: &Stored<T>,
        owner: &str,
        terms: Terms,
    ) -> Result<Option<(Self, Stored<T>)>, Failure> {
        let mut hold = Self::new(Post::new(bus, found.record.id(), owner, terms), terms);
        let Some(Action::Claim(ticket)) = hold.lease.poll(hold.now()) else { return Ok(None) };
        let asked = bus.claim::<T>(&hold.grantor.id, Some(found.revision), owner, terms.length).await;
        hold.take(ticket, answer(&asked));
        Ok(match asked? {
            Kept::Held(stored) => Some((hold, stored)),
            Kept::Lost => None,
        })
    }

    /// Goes on with the lease that somebody before us held under this claim, as [`Hold::resume`] says. It is passed to
    /// our word first: a release of theirs that is still on its way does not end it.
    #[must_use]
    pub fn inherit(bus: &Bus, id: String, former: Claim, owner: &str, terms: Terms) -> Self {
        let epoch = former.epoch;
        Self::resume(Post { former: Some(former), ..Post::new(bus, id, owner, terms) }, terms, epoch)
    }

    /// The claim under which the record is held now: the guard of every write.
    #[must_use]
    pub fn held(&self) -> Option<Claim> {
        self.lease.held(self.now()).map(|epoch| self.grantor.under(epoch))
    }
}

impl<G: Grantor> Hold<G> {
    /// A lease that [`Hold::keep`] asks for.
    #[must_use]
    pub fn new(grantor: G, terms: Terms) -> Self {
        Self { grantor, lease: Lease::new(terms, 0), begun: Instant::now(), epochs: watch::Sender::new(None) }
    }

    /// A lease that [`Hold::keep`] goes on with: it was granted under this epoch before, to a process that is gone.
    #[must_use]
    pub fn resume(grantor: G, terms: Terms, epoch: u64) -> Self {
        Self { lease: Lease::resume(terms, epoch, 0), ..Self::new(grantor, terms) }
    }

    /// The epoch under which it is held, at any time. Who waits for one here need not look at a clock.
    #[must_use]
    pub fn epochs(&self) -> watch::Receiver<Option<u64>> {
        self.epochs.subscribe()
    }

    /// Until it is another's, or the record is gone, or the first claim is not answered. Cancel safe: what was under way is
    /// asked again.
    pub async fn keep(&mut self) {
        loop {
            match self.lease.poll(self.now()) {
                Some(Action::Claim(ticket)) => self.ask(ticket, None).await,
                Some(Action::Renew(ticket, epoch)) => self.ask(ticket, Some(epoch)).await,
                Some(Action::Begin(epoch)) => drop(self.epochs.send_replace(Some(epoch))),
                Some(Action::Pause(epoch)) => {
                    tracing::warn!(epoch, "a lease ran out before it was renewed; asking for it again");
                    self.epochs.send_replace(None);
                }
                Some(Action::Release(epoch)) => self.grantor.release(epoch).await,
                Some(Action::End) => return,
                None => match self.lease.wake() {
                    Some(at) => sleep(Duration::from_millis(at.saturating_sub(self.now()))).await,
                    None => return,
                },
            }
        }
    }

    /// Asks until the lease ends by our own clock: then that is to be noticed, whatever the bus does.
    async fn ask(&mut self, ticket: Ticket, renew: Option<u64>) {
        let patience = self.lease.wake().unwrap_or_default().saturating_sub(self.now());
        let asked = async {
            match renew {
                Some(epoch) => self.grantor.renew(epoch).await,
                None => self.grantor.claim().await,
            }
        };
        let answer = timeout(Duration::from_millis(patience), asked).await.unwrap_or(Answer::Silence);
        self.take(ticket, answer);
    }

    fn take(&mut self, ticket: Ticket, answer: Answer) {
        let now = self.now();
        self.lease.answer(ticket, answer, now);
    }

    /// Milliseconds of this process's monotonic clock since the hold was made.
    fn now(&self) -> Millis {
        self.begun.elapsed().as_millis() as Millis
    }

    /// Gives it up, so that another needn't wait for its end. All effects have ended before.
    pub async fn release(mut self) {
        self.epochs.send_replace(None);
        if let Some(epoch) = self.lease.release() {
            self.grantor.release(epoch).await;
        }
    }
}
