//! The connection to the database: sessions, the collections as they are read and written, and locks that the dead left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use culvert_model::{HostId, Kind};
use culvert_wire::bus::Fault;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc};
use mongodb::error::Error;
use mongodb::options::{CollectionOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, ClientSession, Collection, Database};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::attempt::Course;
use super::heard::Heard;
use crate::store::Trouble;

/// Requests that are at the database at a time; the others wait here, each with its own deadline.
pub const REQUESTS: usize = 28;

/// The connections of the pool: one for each request, and those of the tail and of the announcements.
pub const CONNECTIONS: u32 = 32;

/// By this name the database's operations tell that they are ours.
pub const APP: &str = "culvert";

/// A transaction of ours that did nothing for so long has lost its client.
const DEAD: Duration = Duration::from_millis(1000);

/// The time for breaking a dead client's lock.
const BREAK: Duration = Duration::from_millis(1000);

/// The batches that were done, by their write ids.
pub const WRITES: &str = "writes";

/// The connection to the database.
#[derive(Debug)]
pub struct Base {
    /// This host.
    pub host: HostId,
    client: Client,
    database: Database,
    requests: Semaphore,
    /// The cluster time up to which this bus knows the state: no read shows an older one, whoever is primary.
    known: AtomicU64,
    /// Whether a read found nobody until its deadline, and nothing was answered since.
    away: AtomicBool,
    /// The kinds of which a leased record was seen, as bits.
    leased: AtomicU64,
    /// What the tail told of records.
    pub heard: Heard,
}

impl Base {
    /// Of this database.
    #[must_use]
    pub fn new(client: Client, database: Database, host: HostId) -> Self {
        let requests = Semaphore::new(REQUESTS);
        let (known, away, leased) = (AtomicU64::new(0), AtomicBool::new(false), AtomicU64::new(0));
        Self { host, client, database, requests, known, away, leased, heard: Heard::default() }
    }

    /// The database itself.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The records of a kind: read and written with a majority, journalled.
    #[must_use]
    pub fn records(&self, kind: Kind) -> Collection<RawDocumentBuf> {
        self.collection(kind.name())
    }

    /// The records of a kind without any concern of its own: a snapshot's session has one for all.
    #[must_use]
    pub fn plain(&self, kind: Kind) -> Collection<RawDocumentBuf> {
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let options = CollectionOptions::builder().selection_criteria(primary).build();
        self.database.collection_with_options(kind.name(), options)
    }

    /// A session whose reads all see the same moment.
    ///
    /// # Errors
    ///
    /// As the driver's.
    pub async fn snapshot(&self) -> Result<ClientSession, Error> {
        self.client.start_session().snapshot(true).await
    }

    /// The batches that were done.
    #[must_use]
    pub fn writes(&self) -> Collection<RawDocumentBuf> {
        self.collection(WRITES)
    }

    fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        self.database.collection_with_options(name, options)
    }

    /// A place among the requests.
    ///
    /// # Errors
    ///
    /// There was none in time.
    pub async fn place(&self, course: &Course) -> Result<SemaphorePermit<'_>, Trouble> {
        match timeout(course.left(), self.requests.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Trouble::Fault(Fault::Unavailable)),
        }
    }

    /// A session that sees all that this bus has acknowledged.
    ///
    /// All attempts of a write share one: the server does not carry out an attempt any more once it has seen a later one
    /// of the same session, so an attempt that was left behind somewhere cannot happen after the answer.
    ///
    /// # Errors
    ///
    /// As the driver's.
    pub async fn session(&self) -> Result<ClientSession, Error> {
        let mut session = self.client.start_session().causal_consistency(true).await?;
        let known = self.known.load(Ordering::Relaxed);
        if known > 0 {
            session.advance_operation_time(Timestamp { time: (known >> 32) as u32, increment: known as u32 });
        }
        Ok(session)
    }

    /// Whether the database is known to be away, so that nobody waits long for it.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    /// The database was asked and is away, or not.
    pub fn found(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Whether a leased record of this kind was seen.
    #[must_use]
    pub fn has_leases(&self, kind: Kind) -> bool {
        self.leased.load(Ordering::Relaxed) & bit(kind) != 0
    }

    /// A leased record of this kind was seen.
    pub fn saw_lease(&self, kind: Kind) {
        self.leased.fetch_or(bit(kind), Ordering::Relaxed);
    }

    /// The database did something: reads from now on show at least what this session did.
    pub fn learn(&self, session: &ClientSession) {
        self.found(false);
        if let Some(time) = session.operation_time() {
            self.catch_up(time);
        }
    }

    /// Reads from now on show at least what the database had at this time.
    pub fn catch_up(&self, time: Timestamp) {
        self.known.fetch_max(u64::from(time.time) << 32 | u64::from(time.increment), Ordering::Relaxed);
    }

    /// Ends transactions of ours that hold locks though nobody is there to finish them: a host that dies in the middle of
    /// one would keep its records locked for over a minute (`mechanisms.md` 4.2).
    pub async fn break_locks(&self) {
        match timeout(BREAK, self.kill_the_dead()).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(killed)) => tracing::warn!(killed, "ended transactions that another host left open"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot look for transactions that were left open"),
        }
    }

    async fn kill_the_dead(&self) -> Result<usize, Error> {
        let admin = self.client.database("admin");
        let open: Vec<Document> = admin
            .aggregate([
                doc! { "$currentOp": { "allUsers": false, "idleSessions": true, "idleConnections": false } },
                doc! { "$match": {
                    "type": "idleSession",
                    "appName": { "$regex": format!("^{APP}-") },
                    "transaction.timeInactiveMicros": { "$gt": DEAD.as_micros() as i64 },
                } },
                doc! { "$project": { "id": "$lsid.id" } },
            ])
            .await?
            .try_collect()
            .await?;
        let sessions: Vec<Document> =
            open.into_iter().filter_map(|it| it.get("id").map(|id| doc! { "id": id.clone() })).collect();
        if !sessions.is_empty() {
            admin.run_command(doc! { "killSessions": &sessions }).await?;
        }
        Ok(sessions.len())
    }
}

const _: () = assert!(Kind::ALL.len() <= 64, "each kind has a bit");

const fn bit(kind: Kind) -> u64 {
    1 << kind as u64
}

/// Acknowledged by a majority that has it on disk.
#[must_use]
pub fn majority() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern
}
