//! Being another host from now on: the one whose machine was lost, and which this machine is to replace.
//!
//! The other's lease is taken first, under a word that this machine knows: from then on nobody else can. A kill before the
//! files are written leaves everything as it was, and the lease runs out; a kill after that is finished by the next
//! start, which goes on with the lease.

use culvert_model::record::{Period, Usage};
use culvert_model::{HostId, Kind, Millis, Record};
use culvert_wire::bus::{Claim, Fault, Guard, Refusal, Write};

use super::machine::offline;
use super::{Heart, claim_of};
use crate::store::{Answer, Owner, Store, Trouble, write_id};

/// How long the other's lease is held for the next start of the bus.
const START: Millis = 30_000;

/// How long the record of what this was before is held while it is removed.
const MOMENT: Millis = 5_000;

impl Heart {
    /// Becomes that host, in the store and on the disk. The bus has to start again after that.
    ///
    /// # Errors
    ///
    /// It is this host itself, it is not there ([`Refusal::Missing`]), it is online ([`Refusal::NotHeld`]), or one of the
    /// store and the disk failed.
    pub async fn adopt<S: Store>(&mut self, store: &S, host: HostId) -> Answer<()> {
        if host == self.machine.host {
            return Err(Trouble::Fault(Fault::Invalid("this machine is that host already".into())));
        }
        let word = self.take_over(store, host).await?;
        let before = self.machine.host;
        if let Err(error) = self.identity.become_host(host) {
            tracing::error!("{error}");
            let _ = store.release(Kind::Host, &host.to_string(), host, word).await;
            return Err(Trouble::Fault(Fault::Unavailable));
        }
        tracing::info!(%before, %host, "this machine is another host from now on; the bus starts again as that one");
        self.farewell(store).await;
        Ok(())
    }

    /// Takes the lease of a host that is gone. That its record says so was decided by somebody who had long enough been in
    /// contact with the store.
    async fn take_over<S: Store>(&mut self, store: &S, host: HostId) -> Answer<Claim> {
        let refused = |why| Err(Trouble::Refused { write: 0, why });
        let id = host.to_string();
        let Some(row) = store.get(Kind::Host, &id).await? else { return refused(Refusal::Missing) };
        if !offline(&row) || row.lease.as_ref().is_some_and(|lease| lease.left > 0) {
            return refused(Refusal::NotHeld { lease: row.lease });
        }
        // The own lease's word stays known: a kill from here on finds this machine as it was.
        let word = self.words.draw();
        let row = store.claim(Kind::Host, &id, None, Owner { host, name: word }, START).await?;
        Ok(row.lease.map(claim_of).unwrap_or_default())
    }

    /// Removes the record of what this machine was before it became another host, and what belongs to it. Of nobody else:
    /// only once its lease was given up or ran out, and never if somebody takes it.
    pub(super) async fn forget_before<S: Store>(&mut self, store: &S) {
        let Some(before) = self.identity.before else { return };
        match self.remove(store, before).await {
            Ok(true) => {
                if let Err(error) = self.identity.settled() {
                    tracing::warn!("{error}");
                }
            }
            Ok(false) => {}
            Err(trouble) => {
                tracing::debug!(?trouble, %before, "the record of what this was before cannot be removed yet")
            }
        }
    }

    /// Whether nothing more is to be done about it.
    async fn remove<S: Store>(&self, store: &S, before: HostId) -> Answer<bool> {
        let id = before.to_string();
        let Some(row) = store.get(Kind::Host, &id).await? else { return Ok(true) };
        if row.lease.is_some_and(|lease| lease.left > 0) {
            return Ok(false);
        }
        let owner = self.owner(format!("removed by {}", self.machine.host));
        let claim = match store.claim(Kind::Host, &id, None, owner, MOMENT).await {
            Ok(row) => row.lease.map(claim_of),
            // A machine that has this id after all.
            Err(Trouble::Refused { .. }) => return Ok(true),
            Err(trouble) => return Err(trouble),
        };
        for period in Period::ALL {
            let (kind, id) = (Usage::KIND, Usage::name(before, period));
            let removed = store.write(write_id(), vec![Write::Delete { kind, id, guard: Guard::default() }]).await;
            if let Err(Trouble::Fault(fault)) = removed {
                return Err(Trouble::Fault(fault));
            }
        }
        let guard = Guard { revision: None, claim };
        store.write(write_id(), vec![Write::Delete { kind: Kind::Host, id, guard }]).await.map(|_| true)
    }
}
