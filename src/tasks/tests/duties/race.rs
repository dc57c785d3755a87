//! A store in which something happens between a look and the change that follows it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use culvert_bus::store::{Answer, Found, Owner, Store, Tail, write_id};
use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Claim, Find, Row, Write};
use tokio::sync::broadcast;

/// Whoever changes something through this comes a moment too late.
pub struct Race<S> {
    store: Arc<S>,
    first: Mutex<First>,
    /// How many records were found.
    found: AtomicUsize,
}

/// What happens before a change.
#[derive(Default)]
struct First {
    writes: Vec<Write>,
    /// Whose lease is taken, and by whom.
    claims: Vec<(Kind, String, Owner)>,
}

impl<S: Store> Race<S> {
    pub fn new(store: Arc<S>) -> Self {
        Self { store, first: Mutex::default(), found: AtomicUsize::default() }
    }

    /// These happen, each by itself, just before the next change.
    pub fn before_the_next(&self, writes: Vec<Write>) {
        self.first.lock().expect("no panic in between").writes = writes;
    }

    /// Likewise, this host takes the lease of that record.
    pub fn claimed_before_the_next(&self, kind: Kind, id: String, host: HostId) {
        let owner = Owner { host, name: "its own".into() };
        self.first.lock().expect("no panic in between").claims.push((kind, id, owner));
    }

    /// How many records were found since this was asked.
    pub fn found(&self) -> usize {
        self.found.swap(0, Ordering::Relaxed)
    }

    async fn meanwhile(&self) {
        let first = std::mem::take(&mut *self.first.lock().expect("no panic in between"));
        for write in first.writes {
            self.store.write(write_id(), vec![write]).await.expect("what happens in between can happen");
        }
        for (kind, id, owner) in first.claims {
            self.store.claim(kind, &id, None, owner, 60_000).await.expect("nobody holds it");
        }
    }
}

impl<S: Store> Store for Race<S> {
    const READS: usize = S::READS;
    const PAGES: usize = S::PAGES;
    const WRITES: usize = S::WRITES;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        self.store.get(kind, id).await
    }

    async fn find(&self, find: Find) -> Answer<Found> {
        let found = self.store.find(find).await?;
        self.found.fetch_add(found.rows.len(), Ordering::Relaxed);
        Ok(found)
    }

    async fn count(&self, find: Find) -> Answer<u64> {
        self.store.count(find).await
    }

    async fn write(&self, id: u128, writes: Vec<Write>) -> Answer<Vec<u64>> {
        self.meanwhile().await;
        self.store.write(id, writes).await
    }

    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        self.meanwhile().await;
        self.store.claim(kind, id, revision, owner, lease).await
    }

    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        self.store.renew(kind, id, host, claim, lease).await
    }

    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        self.store.pass(kind, id, host, claim, word, lease).await
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        self.store.release(kind, id, host, claim).await
    }

    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        self.meanwhile().await;
        self.store.sweep(kind, index, before).await
    }

    async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<()> {
        self.store.repair(kind, id, body).await
    }

    async fn now(&self) -> Answer<Millis> {
        self.store.now().await
    }

    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.store.tail()
    }
}
