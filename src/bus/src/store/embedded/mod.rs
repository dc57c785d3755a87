//! The store of a single appliance: SQLite in the bus's own process. One thread writes, one reads.

mod bulk;
mod clock;
mod key;
mod lease;
mod ledger;
mod reader;
mod row;
mod schema;
mod trouble;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use culvert_model::{HostId, Id, Kind, Millis};
use culvert_wire::bus::{Claim, Fault, Find, Row, Write};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

pub use self::bulk::snapshot;
pub use self::clock::Clock;
use self::reader::{Ask, Question, Reader, Reading};
pub use self::schema::OpenError;
use self::trouble::Complaint;
use self::writer::{Job, Order, Outcome, SWEEP, Writer};
use super::{Answer, Found, MESSAGES, Owner, Store, Tail, Trouble, wall};

/// How long a request may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Requests that wait for the writer, and for the reader.
const QUEUE: usize = 1024;

/// The embedded store. It lives as long as somebody has it; whoever drops it last waits until the file is closed.
#[derive(Debug)]
pub struct Embedded {
    jobs: mpsc::Sender<Job>,
    asked: mpsc::Sender<Ask>,
    tail: broadcast::Sender<Tail>,
    // Behind the senders: when it is dropped, the threads have been told that nobody is left.
    _closing: Closing,
}

/// Waits for the writer, which waits for the reader.
#[derive(Debug)]
struct Closing(Option<JoinHandle<()>>);

impl Drop for Closing {
    fn drop(&mut self) {
        // A thread that panicked has said so itself.
        let _ = self.0.take().map(JoinHandle::join);
    }
}

impl Embedded {
    /// Opens the store in this file, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; each says what to do.
    pub fn open(path: &Path, host: HostId) -> Result<Self, OpenError> {
        let clock = Clock::of_this_boot().map_err(|error| OpenError::Io(path.display().to_string(), error))?;
        Self::open_at(path, host, clock)
    }

    /// The same, with a clock of one's own.
    ///
    /// # Errors
    ///
    /// As [`Embedded::open`].
    pub fn open_at(path: &Path, host: HostId, clock: Clock) -> Result<Self, OpenError> {
        let connection = schema::open(path, &clock)?;
        let reading = schema::open_reader(path)?;
        let complaint = Arc::new(Complaint::default());
        let (tail, _) = broadcast::channel(MESSAGES);
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Writer {
            connection,
            clock: clock.clone(),
            host,
            jobs: waiting,
            tail: tail.clone(),
            complaint: complaint.clone(),
            last: Id::from_bytes([0; 12]),
            since_forgetting: 0,
        };
        let (asked, waiting) = mpsc::channel(QUEUE);
        let reader = Reader { connection: reading, clock, asked: waiting, complaint };
        let reading = begin(path, "store-reader", || reader.run())?;
        let writing = begin(path, "store-writer", || {
            let connection = writer.run();
            // SQLite folds its log into the file when the last connection is closed; of two that are closed at once, none
            // is the last.
            let _ = reading.join();
            drop(connection);
        })?;
        Ok(Self { jobs, asked, tail, _closing: Closing(Some(writing)) })
    }

    /// Copies the store in a file into another, as of one moment, open or not.
    ///
    /// # Errors
    ///
    /// As [`Embedded::open`].
    pub fn copy(path: &Path, to: &Path) -> Result<(), OpenError> {
        schema::copy(path, to)
    }

    async fn order(&self, order: Order) -> Answer<Outcome> {
        let deadline = Instant::now() + DEADLINE;
        let (answer, answered) = oneshot::channel();
        send(&self.jobs, Job { order, deadline, answer }, deadline).await?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(Trouble::Fault(Fault::Unknown)),
        }
    }

    /// Puts records in as they are: see [`crate::transfer`].
    ///
    /// # Errors
    ///
    /// Two of them have what only one may have, or the file cannot be written.
    pub async fn put(&self, kind: Kind, rows: Vec<Row>) -> Answer<()> {
        self.order(Order::Put { kind, rows }).await.map(drop)
    }

    async fn ask(&self, question: Question) -> Answer<Reading> {
        let deadline = Instant::now() + DEADLINE;
        let (answer, answered) = oneshot::channel();
        send(&self.asked, Ask { question, deadline, answer }, deadline).await?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(reading)) => reading,
            _ => Err(Trouble::Fault(Fault::Unavailable)),
        }
    }
}

/// What does not even get into the queue has changed nothing.
async fn send<T>(queue: &mpsc::Sender<T>, it: T, deadline: Instant) -> Result<(), Trouble> {
    match timeout_at(deadline, queue.send(it)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Trouble::Fault(Fault::Unavailable)),
    }
}

fn begin(path: &Path, name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let failed = |error: io::Error| OpenError::Io(PathBuf::from(path).display().to_string(), error);
    thread::Builder::new().name(name.into()).spawn(run).map_err(failed)
}

impl Store for Embedded {
    // One thread reads; what is written together is synced once.
    const READS: usize = 2;
    const PAGES: usize = 2;
    const WRITES: usize = 64;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        match self.ask(Question::Get { kind, id: id.into() }).await? {
            Reading::Row(row) => Ok(row),
            _ => Err(confused()),
        }
    }

    async fn find(&self, find: Find) -> Answer<Found> {
        match self.ask(Question::Find(find)).await? {
            Reading::Found(found) => Ok(found),
            _ => Err(confused()),
        }
    }

    async fn count(&self, find: Find) -> Answer<u64> {
        match self.ask(Question::Count(find)).await? {
            Reading::Count(count) => Ok(count),
            _ => Err(confused()),
        }
    }

    async fn write(&self, id: u128, writes: Vec<Write>) -> Answer<Vec<u64>> {
        match self.order(Order::Write { id, writes }).await? {
            Outcome::Revisions(revisions) => Ok(revisions),
            _ => Err(confused()),
        }
    }

    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        row(self.order(Order::Claim { kind, id: id.into(), revision, owner, length: lease }).await?)
    }

    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        row(self.order(Order::Renew { kind, id: id.into(), host, claim, length: lease }).await?)
    }

    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        row(self.order(Order::Pass { kind, id: id.into(), host, claim, word, length: lease }).await?)
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        self.order(Order::Release { kind, id: id.into(), host, claim }).await.map(drop)
    }

    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        let mut all = 0;
        loop {
            match self.order(Order::Sweep { kind, index: index.into(), before }).await? {
                Outcome::Count(count) => {
                    all += count;
                    if count < u64::from(SWEEP) {
                        return Ok(all);
                    }
                }
                _ => return Err(confused()),
            }
        }
    }

    async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<()> {
        self.order(Order::Repair { kind, id: id.into(), body }).await.map(drop)
    }

    async fn now(&self) -> Answer<Millis> {
        Ok(wall())
    }

    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.tail.subscribe()
    }
}

/// The threads answer each request in kind.
fn confused() -> Trouble {
    Trouble::Fault(Fault::Invalid("the store answered something else than was asked".into()))
}

fn row(outcome: Outcome) -> Answer<Row> {
    match outcome {
        Outcome::Row(row) => Ok(row),
        _ => Err(confused()),
    }
}
