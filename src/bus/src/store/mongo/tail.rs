//! The tail of the messages: one cursor per bus, whose empty batches are the heartbeat of the primary
//! (`mechanisms.md` 5).
//!
//! After a break the tail goes on where it was only on the same member in the same term, and only if the last message is
//! still there. Anything else is a gap, told once the new place is found, so that nothing falls between.

use std::sync::Arc;
use std::time::Duration;

use culvert_model::{Id, Kind};
use culvert_wire::bus::Change;
use futures_util::StreamExt;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::RawDocument;
use mongodb::bson::{Document, Timestamp, doc};
use mongodb::options::CursorType;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::base::Base;
use super::home::{self, Home};
use super::row::{self, Damaged};
use super::schema;
use crate::store::Tail;

/// How long the server waits for a message before it sends an empty batch.
const AWAIT: Duration = Duration::from_millis(500);

/// A primary that says nothing for so long is frozen.
const SILENCE: Duration = Duration::from_millis(1500);

/// How long anything may take while the place in the messages is looked for.
const STEP: Duration = Duration::from_millis(1500);

/// Between two attempts to find it.
const PAUSE: Duration = Duration::from_millis(100);

/// So far apart can the times of messages be that stand next to each other, in seconds: the natural order is not quite that
/// of the times.
const DISORDER: u32 = 10;

/// A message that was delivered.
#[derive(Debug, Clone, Copy)]
struct Place {
    id: ObjectId,
    time: Timestamp,
}

/// Why the tail ended.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error("the primary says nothing")]
    Silent,
    #[error("there is another primary")]
    Moved,
    #[error("the cursor is gone")]
    Closed,
    #[error(transparent)]
    Database(#[from] mongodb::error::Error),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

/// A cursor that stands behind a place.
struct Opened {
    cursor: RawBatchCursor,
    batch: RawBatch,
    /// How many of the batch's messages are before the place, and the place itself.
    skip: usize,
}

/// The tail and what it knows.
pub struct Tailer {
    base: Arc<Base>,
    sender: broadcast::Sender<Tail>,
    /// What the driver's monitors tell of the primary.
    seen: watch::Receiver<Option<Home>>,
    home: Option<Home>,
    last: Option<Place>,
}

impl Tailer {
    /// A tail that has seen nothing yet.
    #[must_use]
    pub fn new(base: Arc<Base>, sender: broadcast::Sender<Tail>, seen: watch::Receiver<Option<Home>>) -> Self {
        Self { base, sender, seen, home: None, last: None }
    }

    /// Tails for ever. Tells once when it begins.
    pub async fn run(mut self, begun: oneshot::Sender<()>) {
        let mut begun = Some(begun);
        loop {
            match self.open().await {
                Ok((opened, home, resumed)) => {
                    self.home = Some(home);
                    match begun.take() {
                        // Who waits for the beginning may be gone.
                        Some(begun) => drop(begun.send(())),
                        None if resumed => {}
                        None => self.tell(Tail::Gap),
                    }
                    let broken = self.follow(opened).await;
                    tracing::info!("the tail of the messages broke: {broken}");
                }
                Err(broken) => tracing::debug!("the tail of the messages cannot begin: {broken}"),
            }
            sleep(PAUSE).await;
        }
    }

    fn tell(&self, tail: Tail) {
        // Nobody may be listening.
        let _ = self.sender.send(tail);
    }

    /// A cursor behind the last message, and whether that is the one after which the tail broke.
    async fn open(&mut self) -> Result<(Opened, Home, bool), Break> {
        self.seen.mark_unchanged();
        let home = within(home::ask(&self.base)).await?;
        let resumed = match self.last {
            Some(last) if self.home.as_ref() == Some(&home) => self.behind(last).await?,
            _ => None,
        };
        let is_resumed = resumed.is_some();
        if !is_resumed {
            // Whoever hears of the gap reads again: that must show all that was acknowledged in an earlier term.
            within(self.base.catch_up_with_the_primary()).await?;
        }
        let opened = match resumed {
            Some(opened) => opened,
            None => {
                let newest = self.newest().await?;
                self.last = Some(newest);
                self.behind(newest).await?.ok_or(Break::Closed)?
            }
        };
        // What was read before came from this member in this term only if it still is the primary.
        if within(home::ask(&self.base)).await? != home {
            return Err(Break::Moved);
        }
        Ok((opened, home, is_resumed))
    }

    async fn newest(&self) -> Result<Place, Break> {
        let messages = schema::messages(self.base.database());
        let newest = async { messages.find_one(doc! {}).sort(doc! { "$natural": -1 }).await };
        match within(newest).await? {
            Some(newest) => Ok(place(&newest)?),
            None => {
                // Somebody dropped it: a tailable cursor on an empty collection is dead at once.
                within(schema::make_messages(self.base.database())).await?;
                Err(Break::Closed)
            }
        }
    }

    /// A cursor behind this message, if it is still there.
    async fn behind(&self, last: Place) -> Result<Option<Opened>, Break> {
        let messages = schema::messages(self.base.database());
        let there = async { messages.find_one(doc! { "_id": last.id }).projection(doc! { "_id": 1 }).await };
        if within(there).await?.is_none() {
            return Ok(None);
        }
        let from = Timestamp { time: last.time.time.saturating_sub(DISORDER), increment: 0 };
        let opening = async {
            messages
                .find(doc! { "t": { "$gte": from } })
                .cursor_type(CursorType::TailableAwait)
                .max_await_time(AWAIT)
                .batch()
                .await
        };
        let mut cursor = match within(opening).await {
            Err(Break::Database(error)) if is_no_tail(&error) => {
                // Made anew by an insertion after somebody dropped it.
                within(schema::remake_messages(self.base.database())).await?;
                return Ok(None);
            }
            opened => opened?,
        };
        loop {
            let batch = next(&mut cursor).await?;
            let mut count = 0;
            for message in batch.doc_slices()? {
                count += 1;
                if id(document(message.as_ref().ok().and_then(|it| it.as_document()))?)? == last.id {
                    return Ok(Some(Opened { cursor, batch, skip: count }));
                }
            }
            if count == 0 {
                return Ok(None);
            }
        }
    }

    async fn follow(&mut self, opened: Opened) -> Break {
        let Opened { mut cursor, batch, skip } = opened;
        if let Err(broken) = self.deliver(&batch, skip) {
            return broken;
        }
        loop {
            let batch = tokio::select! {
                batch = next(&mut cursor) => batch,
                () = self.has_moved() => Err(Break::Moved),
            };
            if let Err(broken) = batch.and_then(|batch| self.deliver(&batch, 0)) {
                return broken;
            }
        }
    }

    /// Waits until another primary, or the same in another term, is seen.
    async fn has_moved(&self) {
        let mut seen = self.seen.clone();
        let election = self.home.as_ref().map(|home| home.election);
        let moved = seen.wait_for(|seen| seen.as_ref().map(|seen| seen.election) > election).await.is_ok();
        if !moved {
            // The monitors ended with the client; the cursor will tell.
            std::future::pending::<()>().await;
        }
    }

    fn deliver(&mut self, batch: &RawBatch, skip: usize) -> Result<(), Break> {
        for message in batch.doc_slices()?.into_iter().skip(skip) {
            let message = document(message.ok().and_then(|it| it.as_document()))?;
            let place = place(message)?;
            self.last = Some(place);
            match read(message) {
                Ok(Some(tail)) => {
                    if let Tail::Change(change) = &tail {
                        self.base.heard.note(change, place.time);
                    }
                    self.tell(tail);
                }
                Ok(None) => {}
                Err(damage) => {
                    tracing::error!("a message cannot be read, and all are told to read again: {damage}");
                    self.tell(Tail::Gap);
                }
            }
        }
        Ok(())
    }
}

async fn within<T, E: Into<Break>>(step: impl Future<Output = Result<T, E>>) -> Result<T, Break> {
    timeout(STEP, step).await.map_err(|_| Break::Silent)?.map_err(Into::into)
}

async fn next(cursor: &mut RawBatchCursor) -> Result<RawBatch, Break> {
    match timeout(SILENCE, cursor.next()).await {
        Ok(Some(batch)) => Ok(batch?),
        Ok(None) => Err(Break::Closed),
        Err(_) => Err(Break::Silent),
    }
}

/// The error of a tailable cursor on a collection that is not capped.
fn is_no_tail(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), mongodb::error::ErrorKind::Command(command) if command.code == 2)
}

fn document(message: Option<&RawDocument>) -> Result<&RawDocument, Damaged> {
    message.ok_or_else(|| Damaged("a message is no document".into()))
}

fn id(message: &RawDocument) -> Result<ObjectId, Damaged> {
    message.get_object_id("_id").map_err(|error| Damaged(error.to_string()))
}

fn place(message: &RawDocument) -> Result<Place, Damaged> {
    let time = message.get_timestamp("t").map_err(|error| Damaged(error.to_string()))?;
    Ok(Place { id: id(message)?, time })
}

/// What a message tells. Kinds that this version does not know are nobody's.
fn read(message: &RawDocument) -> Result<Option<Tail>, Damaged> {
    if message.get("gap")?.is_some() {
        return Ok(Some(Tail::Gap));
    }
    let Ok(name) = message.get_str("kind") else { return Ok(None) };
    let Some(kind) = Kind::ALL.iter().find(|kind| kind.name() == name) else { return Ok(None) };
    Ok(Some(Tail::Change(Change {
        id: number(place(message)?),
        kind: *kind,
        record: message.get_str("record").map_err(|error| Damaged(error.to_string()))?.into(),
        revision: row::number(message, "revision")?,
        scope: message.get_str("scope").ok().map(Into::into),
        at: row::number(message, "at")?,
    })))
}

/// A message's number: the time that the server gave it, then what tells it from others of the same time.
fn number(place: Place) -> Id {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&place.time.time.to_be_bytes());
    bytes[4..8].copy_from_slice(&place.time.increment.to_be_bytes());
    bytes[8..].copy_from_slice(&place.id.bytes()[8..]);
    Id::from_bytes(bytes)
}

/// The message with which the collection begins.
#[must_use]
pub fn seed() -> Document {
    super::announce::message(doc! { "seed": true })
}
