//! A store that can be frozen: then it still answers reads, and refuses whatever would change it.

use std::sync::Arc;
use std::time::Duration;

use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Claim, Fault, Find, Row, Write};
use tokio::sync::{RwLock, RwLockReadGuard, broadcast};

use super::{Answer, Found, Owner, Store, Tail, Trouble};

/// A store that can be frozen while its records are moved.
#[derive(Debug)]
pub struct Frozen<S> {
    store: Arc<S>,
    frozen: RwLock<bool>,
}

impl<S: Store> Frozen<S> {
    /// Not frozen yet, or from the beginning.
    #[must_use]
    pub fn new(store: Arc<S>, frozen: bool) -> Self {
        Self { store, frozen: RwLock::new(frozen) }
    }

    /// Refuses changes from now on, once all that were begun are done.
    pub async fn freeze(&self) {
        *self.frozen.write().await = true;
    }

    /// Lets changes through again.
    pub async fn thaw(&self) {
        *self.frozen.write().await = false;
    }

    async fn may_change(&self) -> Answer<RwLockReadGuard<'_, bool>> {
        let frozen = self.frozen.read().await;
        if *frozen { Err(Trouble::Fault(Fault::Unavailable)) } else { Ok(frozen) }
    }
}

impl<S: Store> Store for Frozen<S> {
    const READS: usize = S::READS;
    const PAGES: usize = S::PAGES;
    const WRITES: usize = S::WRITES;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        self.store.get(kind, id).await
    }

    async fn find(&self, find: Find) -> Answer<Found> {
        self.store.find(find).await
    }

    async fn count(&self, find: Find) -> Answer<u64> {
        self.store.count(find).await
    }

    async fn write(&self, id: u128, writes: Vec<Write>) -> Answer<Vec<u64>> {
        let _begun = self.may_change().await?;
        self.store.write(id, writes).await
    }

    async fn write_again(&self, id: u128, writes: Vec<Write>, begun: Duration) -> Answer<Vec<u64>> {
        let _begun = self.may_change().await?;
        self.store.write_again(id, writes, begun).await
    }

    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        let _begun = self.may_change().await?;
        self.store.claim(kind, id, revision, owner, lease).await
    }

    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        let _begun = self.may_change().await?;
        self.store.renew(kind, id, host, claim, lease).await
    }

    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        let _begun = self.may_change().await?;
        self.store.pass(kind, id, host, claim, word, lease).await
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        let _begun = self.may_change().await?;
        self.store.release(kind, id, host, claim).await
    }

    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        let _begun = self.may_change().await?;
        self.store.sweep(kind, index, before).await
    }

    async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<()> {
        let _begun = self.may_change().await?;
        self.store.repair(kind, id, body).await
    }

    async fn now(&self) -> Answer<Millis> {
        self.store.now().await
    }

    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.store.tail()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
