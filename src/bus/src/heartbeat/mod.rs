//! This host's record, and its lease, by whose renewal the others see that the host is there.
//!
//! Two machines can have one host's id, because one is a copy of the other: made from its disk, or from a snapshot while
//! it ran. Nothing in such a copy need differ, so the difference is made: every renewal gives the lease another random
//! word, if it still has the one before. Whoever is second finds a word that it does not know, and serves no more.

mod adopt;
mod hold;
mod machine;
mod words;

use std::time::Duration;

use culvert_model::Kind;
use culvert_model::record::Host;
use culvert_wire::bus::{Claim, Lease, Refusal};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use self::hold::{Rival, Step};
pub use self::machine::Machine;
use self::machine::{offline, say_offline};
pub use self::words::Words;
use crate::identity::Identity;
use crate::store::{Answer, Owner, Store, Trouble};

/// How often the lease is renewed.
const RENEWAL: Duration = Duration::from_millis(Host::RENEWAL);

/// How long to wait after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Another machine has this host's id.
#[derive(Debug, Error)]
#[error(
    "another running machine has this host's id {0}: one of the two is a copy of the other, or the other was given this \
     one's identity. This one does not serve. Stop Culvert here, remove the file host-id in its state folder, and start it \
     again as a host of its own"
)]
pub struct Copied(String);

/// Whether this machine is the host that it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The store was not asked yet.
    Unknown,
    /// Somebody else has the lease, or has just lost it: perhaps an earlier boot of this machine.
    Contested,
    /// This machine has the lease, or nobody took it when it could not be renewed.
    Held,
    /// Somebody else is this host.
    Refused,
}

/// What keeps a host's record and lease.
#[derive(Debug)]
pub struct Heart {
    identity: Identity,
    machine: Machine,
    words: Words,
    standing: watch::Sender<Standing>,
    /// The last word that was given to the lease without an answer, and the one that it was to replace.
    attempt: Option<(String, String)>,
}

impl Heart {
    /// Of this host on this machine.
    #[must_use]
    pub fn new(identity: Identity, words: Words) -> Self {
        let machine = Machine::here(identity.host);
        // Nobody else can have a store of one's own.
        let standing = if words.are_alone() { Standing::Held } else { Standing::Unknown };
        Self { identity, machine, words, standing: watch::Sender::new(standing), attempt: None }
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> culvert_model::HostId {
        self.machine.host
    }

    /// Whether this machine is the host that it says it is, from now on.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Keeps the record and its lease. Ends only when another machine has the same id. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`Copied`].
    pub async fn run<S: Store>(&mut self, store: &S) -> Result<(), Copied> {
        loop {
            if let Err(trouble) = self.machine.enter(store).await {
                tracing::debug!(?trouble, "this host's record cannot be made yet");
                sleep(PAUSE).await;
                continue;
            }
            if let Some(claim) = self.take(store).await? {
                self.stand(Standing::Held);
                self.renew(store, claim).await;
            }
        }
    }

    /// Gives the lease up and says that the host is gone: the machine is going down, or Culvert on it.
    pub async fn farewell<S: Store>(&self, store: &S) {
        for last in [false, false, true] {
            match self.leave(store, last).await {
                Ok(()) => return,
                // A renewal that was under way was done in between.
                Err(Trouble::Refused { .. }) => {}
                Err(trouble) => {
                    tracing::debug!(?trouble, "the others will see by the clock that this host is gone");
                    return;
                }
            }
        }
    }

    async fn leave<S: Store>(&self, store: &S, last: bool) -> Answer<()> {
        let Some(row) = store.get(Kind::Host, &self.machine.id()).await? else { return Ok(()) };
        let ours = row.lease.clone().filter(|lease| lease.left > 0 && self.words.knows(&lease.owner));
        let Some(claim) = ours.map(claim_of) else { return Ok(()) };
        let told = say_offline(store, &row, &claim).await;
        if matches!(told, Err(Trouble::Refused { .. })) && !last {
            return told;
        }
        // Told or not, it must not be held.
        store.release(Kind::Host, &row.id, self.machine.host, claim).await.and(told)
    }

    fn stand(&self, standing: Standing) {
        self.standing.send_if_modified(|it| std::mem::replace(it, standing) != standing);
    }

    fn owner(&self, name: String) -> Owner {
        Owner { host: self.machine.host, name }
    }

    /// The word to replace this one: the same again, as long as it is not known whether it was replaced.
    fn word_after(&mut self, held: &str) -> String {
        match &self.attempt {
            Some((before, word)) if before == held => word.clone(),
            _ => {
                let word = self.words.draw();
                self.attempt = Some((held.to_owned(), word.clone()));
                word
            }
        }
    }

    fn settle(&mut self, word: &str) {
        self.attempt = None;
        self.words.settled(word);
    }

    /// Takes the lease; nothing if the record is gone.
    async fn take<S: Store>(&mut self, store: &S) -> Result<Option<Claim>, Copied> {
        let id = self.machine.id();
        let (mut rival, mut contact) = (Rival::default(), None);
        loop {
            let row = match store.get(Kind::Host, &id).await {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(None),
                Err(_) => {
                    // What was away may have let a lease run on unseen.
                    (rival, contact) = (Rival::default(), None);
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let contact = contact.get_or_insert_with(Instant::now).elapsed();
            let known = row.lease.as_ref().is_some_and(|lease| self.words.knows(&lease.owner));
            let taken = match rival.step(row.lease.as_ref(), known, offline(&row), contact) {
                Step::Claim => self.claim(store, row.lease).await,
                Step::Pass => self.pass(store, row.lease.map(claim_of).unwrap_or_default()).await,
                Step::Refused => {
                    self.stand(Standing::Refused);
                    return Err(Copied(id));
                }
                Step::Wait(pause) => {
                    self.stand(Standing::Contested);
                    sleep(pause).await;
                    continue;
                }
            };
            match taken {
                Ok((claim, _)) => return Ok(Some(claim)),
                // Somebody was faster: that is seen at the next look.
                Err(Trouble::Refused { .. }) => {}
                Err(Trouble::Fault(_) | Trouble::Damaged(_)) => sleep(PAUSE).await,
            }
        }
    }

    async fn claim<S: Store>(&mut self, store: &S, last: Option<Lease>) -> Answer<(Claim, bool)> {
        let word = self.word_after(&last.map(|lease| lease.owner).unwrap_or_default());
        let row = store.claim(Kind::Host, &self.machine.id(), None, self.owner(word), Host::LEASE).await?;
        self.settle(row.lease.as_ref().map_or("", |lease| &lease.owner));
        Ok((row.lease.clone().map(claim_of).unwrap_or_default(), offline(&row)))
    }

    /// Renews the lease under another word. Its claim from now on, and whether the record says that the host is gone.
    async fn pass<S: Store>(&mut self, store: &S, claim: Claim) -> Answer<(Claim, bool)> {
        let (host, word) = (self.machine.host, self.word_after(&claim.owner));
        let next = Claim { owner: word.clone(), epoch: claim.epoch };
        let row = store.pass(Kind::Host, &self.machine.id(), host, claim, word, Host::LEASE).await?;
        self.settle(&next.owner);
        Ok((next, offline(&row)))
    }

    /// Renews the lease until it is lost or the record is gone, and brings the record up to date where it is not.
    async fn renew<S: Store>(&mut self, store: &S, mut claim: Claim) {
        let mut described = false;
        loop {
            match self.pass(store, claim.clone()).await {
                Ok((next, offline)) => {
                    claim = next;
                    if !described || offline {
                        described = self.machine.describe(store, &claim).await.is_ok();
                    }
                    if self.identity.before.is_some() {
                        self.forget_before(store).await;
                    }
                    sleep(if described { RENEWAL } else { PAUSE }).await;
                }
                Err(Trouble::Refused { why, .. }) => {
                    tracing::info!("this host's lease was lost: {}", reason(&why));
                    return;
                }
                Err(Trouble::Fault(_) | Trouble::Damaged(_)) => sleep(PAUSE).await,
            }
        }
    }
}

fn claim_of(lease: Lease) -> Claim {
    Claim { owner: lease.owner, epoch: lease.epoch }
}

fn reason(why: &Refusal) -> &'static str {
    match why {
        Refusal::Missing => "its record was removed, and is made again",
        Refusal::NotHeld { lease: Some(lease) } if lease.left == 0 => "it ran out, and is taken again",
        _ => "somebody else has it; whether that is another machine is looked at",
    }
}

#[cfg(test)]
mod tests;
