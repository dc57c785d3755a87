//! The bare program: the same collections with the same concerns, by the driver alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_model::Record;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, RawDocumentBuf, Timestamp, doc, serialize_to_document};
use mongodb::options::{CollectionOptions, CursorType, ReadConcern, ReturnDocument, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database};
use tokio::sync::mpsc;

use super::messages::Heard;

/// How long a claim lasts: over before its record has its turn again.
pub const LEASE: Duration = Duration::from_millis(1000);

/// A client of its own.
#[derive(Clone)]
pub struct Bare(Database);

impl Bare {
    /// Connects.
    pub async fn connect(uri: &str) -> Result<Self> {
        let client = Client::with_uri_str(uri).await?;
        Ok(Self(client.default_database().context("the URI names a database")?))
    }

    /// The same, and makes the collections.
    pub async fn prepare(uri: &str) -> Result<Self> {
        let bare = Self::connect(uri).await?;
        bare.0.create_collection("messages").capped(true).size(20 << 20).write_concern(majority()).await?;
        // A tail on an empty collection is dead at once.
        bare.messages().insert_one(doc! { "seed": true }).await?;
        Ok(bare)
    }

    fn state<T: Record>(&self) -> Collection<Document> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(majority())
            .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
            .build();
        self.0.collection_with_options(T::KIND.name(), options)
    }

    fn messages(&self) -> Collection<Document> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::local())
            .write_concern(WriteConcern::nodes(1))
            .build();
        self.0.collection_with_options("messages", options)
    }

    /// Makes records.
    pub async fn insert<T: Record>(&self, records: &[T]) -> Result<()> {
        let document = |record: &T| Ok(doc! { "_id": record.id(), "r": 1_i64, "b": serialize_to_document(record)? });
        let documents: Vec<Document> = records.iter().map(document).collect::<Result<_>>()?;
        self.state::<T>().insert_many(documents).await?;
        Ok(())
    }

    /// Writes a record of this revision, and announces it once a majority has it.
    pub async fn publish<T: Record>(&self, record: &T, revision: i64, scope: &str) -> Result<()> {
        let changed = doc! { "$set": { "r": revision + 1, "b": serialize_to_document(record)? } };
        let done = self.state::<T>().update_one(doc! { "_id": record.id(), "r": revision }, changed).await?;
        ensure!(done.matched_count == 1, "the record is of another revision");
        let message = doc! {
            "_id": ObjectId::new(),
            "t": Timestamp { time: 0, increment: 0 },
            "kind": T::KIND.name(),
            "record": record.id(),
            "revision": revision + 1,
            "scope": scope,
            "at": DateTime::now().timestamp_millis(),
        };
        self.messages().insert_one(message).await?;
        Ok(())
    }

    /// Tells of every message until nobody listens.
    pub async fn tail(self, heard: mpsc::Sender<Heard>) -> Result<()> {
        let messages: Collection<RawDocumentBuf> = self.messages().clone_with_type();
        let mut cursor = messages
            .find(doc! {})
            .cursor_type(CursorType::TailableAwait)
            .max_await_time(Duration::from_millis(500))
            .await?;
        while cursor.advance().await? {
            let message = cursor.current();
            let Ok(revision) = message.get_i64("revision") else { continue };
            if heard.send(Heard { revision: revision.unsigned_abs(), at: Instant::now() }).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a record.
    pub async fn read<T: Record>(&self, id: &str) -> Result<RawDocumentBuf> {
        let records: Collection<RawDocumentBuf> = self.state::<T>().clone_with_type();
        records.find_one(doc! { "_id": id }).await?.context("the record is there")
    }

    /// Takes a lease by the primary's clock, as that is done by one command (`mechanisms.md` 4.1).
    pub async fn claim<T: Record>(&self, id: &str) -> Result<()> {
        let free = doc! { "_id": id, "$expr": { "$or": [{ "$not": ["$owner"] }, { "$lte": ["$expires", "$$NOW"] }] } };
        let taken = vec![doc! { "$set": {
            "owner": { "$literal": "bench" },
            "epoch": { "$add": [{ "$ifNull": ["$epoch", 0] }, 1] },
            "claimed": "$$NOW",
            "expires": { "$add": ["$$NOW", LEASE.as_millis() as i64] },
        } }];
        let record = self.state::<T>().find_one_and_update(free, taken).return_document(ReturnDocument::After).await?;
        record.context("the lease is free").map(drop)
    }
}

fn majority() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern
}
