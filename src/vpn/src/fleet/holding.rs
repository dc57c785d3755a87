//! The leases of instances: taken, kept beside all else, given back.

use culvert_lease::Terms;
use culvert_model::Id;
use culvert_model::record::Instance as Record;
use culvert_records::{Claim, Hold, Post};
use tokio::sync::{oneshot, watch};

use super::Fleet;
use super::acts::Outcome;
use crate::instance::Setup;
use crate::plan::{Held, LEASE, OWNER, Seat};

/// The lease of an instance, with what keeps it.
pub(super) type Lease = Box<Hold<Post<Record>>>;

const TERMS: Terms = Terms { length: LEASE, renew: 3_000, retry: 1_000 };

/// An instance whose lease is kept, until that is another's.
pub(super) struct Holding {
    pub(super) server: Id,
    owner: String,
    epochs: watch::Receiver<Option<u64>>,
    unwanted: oneshot::Sender<()>,
}

impl Holding {
    /// As the plan sees it.
    pub(super) fn held(&self) -> Held {
        let claim = self.epochs.borrow().map(|epoch| Claim { owner: self.owner.clone(), epoch });
        Held { server: self.server, claim }
    }
}

/// Claims an instance, if it is still as it was found.
pub(super) async fn claim(setup: Setup, found: Seat) -> Outcome {
    let (server, owner) = (found.record.server, word());
    match Hold::claim(&setup.bus, &found, &owner, TERMS).await {
        Ok(Some((hold, _))) => held(found.record.id, server, owner, Box::new(hold)).await,
        Ok(None) => Outcome::Again { server },
        Err(failure) => {
            tracing::warn!(%server, %failure, "an instance cannot be claimed");
            Outcome::Again { server }
        }
    }
}

/// Goes on with what was held under another word.
pub(super) async fn resume(setup: Setup, seat: String, server: Id, former: Claim) -> Outcome {
    let owner = word();
    let hold = Hold::inherit(&setup.bus, seat.clone(), former, &owner, TERMS);
    held(seat, server, owner, Box::new(hold)).await
}

/// A word that no other hold has: what is still under way of one before is of no effect on this one.
fn word() -> String {
    format!("{OWNER}-{}", Id::new())
}

/// Waits until it is held.
async fn held(seat: String, server: Id, owner: String, mut hold: Lease) -> Outcome {
    let mut epochs = hold.epochs();
    tokio::select! {
        () = hold.keep() => Outcome::Again { server },
        Ok(_) = epochs.wait_for(Option::is_some) => Outcome::Held { seat, server, owner, hold },
    }
}

/// Keeps it until it is another's, or is no longer wanted.
async fn keep(seat: String, owner: String, mut hold: Lease, unwanted: oneshot::Receiver<()>) -> Outcome {
    tokio::select! {
        () = hold.keep() => {}
        // If the process ends, it stays held for the next one.
        Ok(()) = unwanted => hold.release().await,
    }
    Outcome::Ended { seat, owner }
}

impl Fleet {
    /// Keeps a lease from now on.
    pub(super) fn hold(&mut self, seat: String, server: Id, owner: String, hold: Lease) {
        let (epochs, (unwanted, given_up)) = (hold.epochs(), oneshot::channel());
        self.work.spawn(keep(seat.clone(), owner.clone(), hold, given_up));
        // While nobody held it, it may have been freed; and this may be another one of the server's.
        for attended in self.attended.values_mut().filter(|attended| attended.server == server) {
            (attended.seat, attended.recorded) = (seat.clone(), false);
        }
        self.held.insert(seat, Holding { server, owner, epochs, unwanted });
    }

    /// Gives a lease back: nothing runs under it any more.
    pub(super) fn give_back(&mut self, seat: &str) {
        if let Some(holding) = self.held.remove(seat) {
            // Nobody hears it if the lease has ended by itself.
            let _ = holding.unwanted.send(());
        }
    }

    /// A lease is not kept any more. There may be another by now.
    pub(super) fn ended(&mut self, seat: &str, owner: &str) {
        if let Some(Holding { server, .. }) = self.held.get(seat).filter(|holding| holding.owner == owner) {
            tracing::warn!(%server, seat, "the claim of an instance is another's now");
            self.held.remove(seat);
        }
        self.stale = true;
    }

    /// The claim under which an instance is held now.
    pub(super) fn claim(&self, seat: &str) -> Option<Claim> {
        self.held.get(seat)?.held().claim
    }
}
