//! Any store, with its records in this release's shape, whatever shape they are stored in ([`crate::format`]), and with
//! damaged ones told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use culvert_model::record::Log;
use culvert_model::{HostId, Kind, Millis, Record};
use culvert_wire::bus::{Claim, Fault, Find, Row, Write};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{sleep, timeout};

use super::damage::Told;
use super::{Answer, Damage, Found, Owner, Store, Tail, Trouble, write_id};
use crate::cluster::{self, Unusable};
use crate::format::Release;

/// How long to wait after the store did not answer, and how often the format is looked at without news of it.
const PAUSE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(60);

/// A store in this release's shape.
#[derive(Debug)]
pub struct Versioned<S> {
    store: Arc<S>,
    release: Release,
    /// The database's format, as far as is known. Too low a one does no harm.
    format: AtomicU32,
    told: Told,
}

impl<S: Store> Versioned<S> {
    /// Of a release that shares the database with the one before, until [`Versioned::follow`] hears otherwise.
    #[must_use]
    pub fn new(store: Arc<S>, release: Release) -> Self {
        let format = AtomicU32::new(release.format.saturating_sub(1).max(1));
        Self { store, release, format, told: Told::default() }
    }

    /// The store as it is.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// Follows the database's format. Ends when this release must not serve from it any more.
    pub async fn follow(&self) -> Unusable {
        let mut tail = self.store.tail();
        loop {
            match cluster::read(&*self.store).await {
                Ok(Some(known)) if known.cluster.format > self.release.format => {
                    let (format, version) = (known.cluster.format, known.cluster.version);
                    return Unusable::TooOld { format, version };
                }
                Ok(Some(known)) => self.format.store(known.cluster.format, Ordering::Relaxed),
                Ok(None) => {}
                Err(_) => {
                    sleep(PAUSE).await;
                    continue;
                }
            }
            // Without news it is looked at now and then.
            let _ = timeout(LOOK, news(&mut tail)).await;
        }
    }

    fn shown(&self, kind: Kind, row: Row) -> Result<Row, Damage> {
        match self.release.raise(kind, &row.body) {
            Ok(None) => Ok(row),
            Ok(Some(body)) => Ok(Row { body, ..row }),
            Err(why) => Err(Damage { kind, id: row.id, why }),
        }
    }

    fn kept(&self, kind: Kind, body: &mut Vec<u8>) -> Result<(), Trouble> {
        let lowered = self.release.lower(kind, body, self.format.load(Ordering::Relaxed));
        if let Some(lowered) = lowered.map_err(|why| Trouble::Fault(Fault::Invalid(why)))? {
            *body = lowered;
        }
        Ok(())
    }

    async fn row(&self, kind: Kind, answer: Answer<Row>) -> Answer<Row> {
        let shown = answer.and_then(|row| self.shown(kind, row).map_err(Trouble::Damaged));
        self.noted(shown).await
    }

    async fn noted<T>(&self, answer: Answer<T>) -> Answer<T> {
        if let Err(Trouble::Damaged(damage)) = &answer {
            self.tell(damage).await;
        }
        answer
    }

    /// Once in this bus's log, and once in the console's.
    async fn tell(&self, damage: &Damage) {
        if self.told.tell(damage) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() as i64);
            let log = Log::of_damage(damage.kind, &damage.id, now);
            let body = serde_json::to_vec(&log).expect("a record has a form in JSON");
            let insert = Write::Insert { kind: Kind::Log, id: log.id(), body };
            // It is there already if somebody else met it first; the log has it in any case.
            let _ = self.store.write(write_id(), vec![insert]).await;
        }
    }
}

/// Until something is heard that may be about the format.
async fn news(tail: &mut broadcast::Receiver<Tail>) {
    loop {
        match tail.recv().await {
            Ok(Tail::Change(change)) if change.kind != Kind::Cluster => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl<S: Store> Store for Versioned<S> {
    const READS: usize = S::READS;
    const PAGES: usize = S::PAGES;
    const WRITES: usize = S::WRITES;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        let shown = self
            .store
            .get(kind, id)
            .await
            .and_then(|row| row.map(|row| self.shown(kind, row)).transpose().map_err(Trouble::Damaged));
        self.noted(shown).await
    }

    async fn find(&self, find: Find) -> Answer<Found> {
        let kind = find.kind;
        let mut found = self.store.find(find).await?;
        if self.release.changed(kind) {
            let mut rows = Vec::with_capacity(found.rows.len());
            for row in found.rows {
                match self.shown(kind, row) {
                    Ok(row) => rows.push(row),
                    Err(damage) => found.damaged.push(damage),
                }
            }
            found.rows = rows;
        }
        for damage in &found.damaged {
            self.tell(damage).await;
        }
        Ok(found)
    }

    async fn count(&self, find: Find) -> Answer<u64> {
        self.store.count(find).await
    }

    async fn write(&self, id: u128, mut writes: Vec<Write>) -> Answer<Vec<u64>> {
        for write in &mut writes {
            if let Write::Insert { kind, body, .. } | Write::Update { kind, body, .. } = write {
                self.kept(*kind, body)?;
            }
        }
        // Mended as soon as they are asked to be: at worst it is told of once more.
        self.told.mended(writes.iter().map(Write::target));
        self.noted(self.store.write(id, writes).await).await
    }

    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        self.row(kind, self.store.claim(kind, id, revision, owner, lease).await).await
    }

    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        self.row(kind, self.store.renew(kind, id, host, claim, lease).await).await
    }

    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        self.row(kind, self.store.pass(kind, id, host, claim, word, lease).await).await
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        self.noted(self.store.release(kind, id, host, claim).await).await
    }

    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        self.store.sweep(kind, index, before).await
    }

    async fn repair(&self, kind: Kind, id: &str, mut body: Option<Vec<u8>>) -> Answer<()> {
        if let Some(body) = &mut body {
            self.kept(kind, body)?;
        }
        self.told.mended(std::iter::once((kind, id)));
        self.store.repair(kind, id, body).await
    }

    async fn now(&self) -> Answer<Millis> {
        self.store.now().await
    }

    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.store.tail()
    }
}
