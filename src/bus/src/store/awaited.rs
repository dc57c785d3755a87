//! A store that may not be there yet: as long as it is not, it is unavailable.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Claim, Fault, Find, Row, Write};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::{Answer, Found, MESSAGES, Owner, Store, Tail, Trouble};

/// A store that is being opened.
#[derive(Debug)]
pub struct Awaited<S> {
    store: OnceLock<Arc<S>>,
    tail: broadcast::Sender<Tail>,
}

impl<S: Store> Default for Awaited<S> {
    fn default() -> Self {
        Self { store: OnceLock::new(), tail: broadcast::channel(MESSAGES).0 }
    }
}

impl<S: Store> Awaited<S> {
    /// The store is there. Tells of its changes for as long as it does; who listened until now has a gap.
    pub async fn arrive(&self, store: Arc<S>) {
        let store = self.store.get_or_init(|| store);
        let mut tail = store.tail();
        let mut news = Tail::Gap;
        loop {
            // Nobody may be listening.
            let _ = self.tail.send(news);
            news = match tail.recv().await {
                Ok(news) => news,
                Err(RecvError::Lagged(_)) => Tail::Gap,
                Err(RecvError::Closed) => return,
            };
        }
    }

    fn store(&self) -> Result<&S, Trouble> {
        self.store.get().map(AsRef::as_ref).ok_or(Trouble::Fault(Fault::Unavailable))
    }
}

impl<S: Store> Store for Awaited<S> {
    const READS: usize = S::READS;
    const PAGES: usize = S::PAGES;
    const WRITES: usize = S::WRITES;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        self.store()?.get(kind, id).await
    }

    async fn find(&self, find: Find) -> Answer<Found> {
        self.store()?.find(find).await
    }

    async fn count(&self, find: Find) -> Answer<u64> {
        self.store()?.count(find).await
    }

    async fn write(&self, id: u128, writes: Vec<Write>) -> Answer<Vec<u64>> {
        self.store()?.write(id, writes).await
    }

    async fn write_again(&self, id: u128, writes: Vec<Write>, begun: Duration) -> Answer<Vec<u64>> {
        self.store()?.write_again(id, writes, begun).await
    }

    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        self.store()?.claim(kind, id, revision, owner, lease).await
    }

    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        self.store()?.renew(kind, id, host, claim, lease).await
    }

    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        self.store()?.pass(kind, id, host, claim, word, lease).await
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        self.store()?.release(kind, id, host, claim).await
    }

    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        self.store()?.sweep(kind, index, before).await
    }

    async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<()> {
        self.store()?.repair(kind, id, body).await
    }

    async fn now(&self) -> Answer<Millis> {
        self.store()?.now().await
    }

    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.tail.subscribe()
    }

    async fn close(&self) {
        if let Ok(store) = self.store() {
            store.close().await;
        }
    }
}
