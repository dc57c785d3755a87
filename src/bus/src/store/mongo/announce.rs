//! Announcing changes: one task per bus appends them to the capped collection, in the order of their acknowledgement and
//! as many at a time as wait, after a majority has the state (design section 5).

use std::time::Duration;

use culvert_model::{Id, Kind, Millis};
use culvert_wire::bus::Change;
use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, Timestamp, doc};
use mongodb::error::{Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::doubt::{Doubt, Doubts};
use super::row::whole;

/// Requests whose announcements may wait.
const QUEUE: usize = 1024;

/// The most requests whose announcements go in one operation.
const GROUP: usize = 128;

/// How long a request waits until its changes are announced. They are, after that too.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long announcing is tried; then a gap is told instead.
const DEADLINE: Duration = Duration::from_secs(7);
const ATTEMPT: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(100);

/// A change, to which its announcement gives an id.
#[must_use]
pub fn change(kind: Kind, record: &str, revision: u64, scope: Option<String>, at: Millis) -> Change {
    Change { id: Id::from_bytes([0; 12]), kind, record: record.into(), revision, scope, at }
}

struct Request {
    changes: Vec<Change>,
    doubt: Doubt,
    announced: oneshot::Sender<()>,
}

/// Where changes are handed in.
#[derive(Debug)]
pub struct Announcer {
    requests: mpsc::Sender<Request>,
    /// What may have changed without an announcement.
    pub doubts: Doubts,
}

impl Announcer {
    /// An announcer, and the task that does it.
    pub fn new(messages: Collection<Document>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, waiting) = mpsc::channel(QUEUE);
        let doubts = Doubts::default();
        let gaps = doubts.clone().tell(messages.clone());
        let run = async move {
            tokio::join!(run(messages, waiting), gaps);
        };
        (Self { requests, doubts }, run)
    }

    /// Announces the changes of a write, and waits a moment until they are. The write's doubt ends with that.
    pub async fn announce(&self, changes: Vec<Change>, doubt: Doubt) {
        if changes.is_empty() {
            return doubt.end();
        }
        let (announced, done) = oneshot::channel();
        if self.requests.try_send(Request { changes, doubt, announced }).is_err() {
            // It was dropped with its doubt.
            return;
        }
        // Late is no harm: the state is acknowledged.
        let _ = timeout(PATIENCE, done).await;
    }
}

async fn run(messages: Collection<Document>, mut requests: mpsc::Receiver<Request>) {
    let mut group = Vec::with_capacity(GROUP);
    while requests.recv_many(&mut group, GROUP).await > 0 {
        let changes = group.iter().flat_map(|request: &Request| &request.changes);
        let documents: Vec<Document> = changes.map(of_change).collect();
        let done = append(&messages, &documents).await;
        for request in group.drain(..) {
            if done {
                request.doubt.end();
            }
            // Who asked may have stopped waiting.
            let _ = request.announced.send(());
        }
    }
}

fn of_change(change: &Change) -> Document {
    message(doc! {
        "kind": change.kind.name(),
        "record": &change.record,
        "revision": whole(change.revision),
        "scope": change.scope.clone(),
        "at": whole(change.at),
    })
}

/// A message; the server puts the time into `t`.
#[must_use]
pub fn message(content: Document) -> Document {
    let mut message = doc! { "_id": ObjectId::new(), "t": Timestamp { time: 0, increment: 0 } };
    message.extend(content);
    message
}

/// Appends messages; says whether all are there.
///
/// The primary alone answers for them. Should it be lost with them, whoever listens meets another primary, and that is a
/// gap: so a message is heard, or everybody reads again.
pub async fn append(messages: &Collection<Document>, documents: &[Document]) -> bool {
    if documents.is_empty() {
        return true;
    }
    let ends = Instant::now() + DEADLINE;
    loop {
        match timeout(ATTEMPT, messages.insert_many(documents).ordered(false)).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) if only_repeats(&error) => return true,
            Ok(Err(error)) => tracing::debug!(%error, "cannot announce"),
            Err(_) => tracing::debug!("announcing takes too long"),
        }
        if Instant::now() + PAUSE > ends {
            return false;
        }
        sleep(PAUSE).await;
    }
}

/// Whether all is there, some of it from an earlier attempt.
#[must_use]
pub fn only_repeats(error: &Error) -> bool {
    let ErrorKind::InsertMany(failed) = error.kind.as_ref() else { return false };
    failed.write_concern_error.is_none()
        && failed.write_errors.as_ref().is_some_and(|errors| errors.iter().all(|error| error.code == 11000))
}
