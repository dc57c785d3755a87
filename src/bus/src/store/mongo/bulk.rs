//! All records of one moment, beside whoever serves from the database; and records that are put in as they are.

use std::time::Duration;

use culvert_model::{Kind, Millis};
use culvert_wire::bus::{Fault, Row};
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::{ClientSession, Collection};
use tokio::time::{Instant, sleep, timeout};

use super::Mongo;
use super::base::Base;
use super::row::{self, whole};
use super::{announce, document};
use crate::cluster;
use crate::store::{Answer, Store, Trouble};
use crate::transfer::{Feed, PAGE, PAGE_BYTES, Page, Source, TransferError, carried};

/// How long putting a page in is tried: the database may change its primary on the way.
const PATIENCE: Duration = Duration::from_secs(60);
const ATTEMPT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// How long the database may take for the next page.
const NEXT: Duration = Duration::from_secs(30);

/// How long removing all records of a kind is tried.
const DELETING: Duration = Duration::from_secs(60);

impl Mongo {
    /// The records that the database holds now, all of one moment. Needs MongoDB 5.0 or later.
    ///
    /// # Errors
    ///
    /// The database does not answer.
    pub async fn snapshot(&self) -> Result<Source, TransferError> {
        let failed = |error: Error| TransferError::Source(reason(&error));
        let base = self.base.clone();
        let mut total = 0;
        for kind in carried() {
            total += base.plain(kind).estimated_document_count().await.map_err(failed)?;
        }
        let session = base.snapshot().await.map_err(failed)?;
        let cluster = cluster::read(self).await.map_err(|unusable| TransferError::Source(unusable.to_string()))?;
        let (feed, source) = Source::of(total, cluster.map_or(1, |known| known.cluster.format));
        tokio::spawn(async move {
            if let Err(error) = give(&base, session, &feed).await {
                // Who took the pages may be gone.
                let _ = feed.send(Err(error)).await;
            }
        });
        Ok(source)
    }

    /// Removes all records that [`Mongo::put`] may have put in.
    ///
    /// # Errors
    ///
    /// The database does not do it.
    pub async fn clear(&self) -> Answer<()> {
        for kind in carried() {
            let records = self.base.records(kind);
            persist(|| async { records.delete_many(doc! {}).await.map(drop) }, DELETING).await?;
        }
        Ok(())
    }

    /// Puts records in as they are: see [`crate::transfer`]. Nothing is announced.
    ///
    /// # Errors
    ///
    /// Two of them have what only one may have, or the database does not take them in time.
    pub async fn put(&self, kind: Kind, rows: Vec<Row>) -> Answer<()> {
        let now = self.now().await?;
        let documents: Result<Vec<RawDocumentBuf>, Fault> = rows.iter().map(|row| of_row(row, now)).collect();
        let documents = documents.map_err(Trouble::Fault)?;
        let records = self.base.records(kind);
        persist(|| insert(&records, &documents), PATIENCE).await
    }
}

/// Tries something until it is done, or for so long.
async fn persist<F: Future<Output = Result<(), Error>>>(mut step: impl FnMut() -> F, patience: Duration) -> Answer<()> {
    let ends = Instant::now() + patience;
    loop {
        let error = match timeout(ATTEMPT.max(patience / 2), step()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if is_final(&error) => return Err(Trouble::Fault(Fault::Invalid(reason(&error)))),
            Ok(Err(error)) => reason(&error),
            Err(_) => "no answer".to_owned(),
        };
        tracing::debug!(error, "records cannot be moved yet");
        if Instant::now() + PAUSE > ends {
            return Err(Trouble::Fault(Fault::Unavailable));
        }
        sleep(PAUSE).await;
    }
}

async fn insert(records: &Collection<RawDocumentBuf>, documents: &[RawDocumentBuf]) -> Result<(), Error> {
    match records.insert_many(documents).ordered(false).await {
        // What is there already is there from an attempt whose answer was lost: the hash will tell if it is not.
        Err(error) if announce::only_repeats(&error) => Ok(()),
        inserted => inserted.map(drop),
    }
}

/// Whether trying again will not help.
fn is_final(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::InsertMany(failed) => failed.write_errors.as_ref().is_some_and(|errors| !errors.is_empty()),
        ErrorKind::InvalidArgument { .. } | ErrorKind::Bson(_) | ErrorKind::Authentication { .. } => true,
        ErrorKind::Command(command) => command.code == 13,
        _ => false,
    }
}

fn reason(error: &Error) -> String {
    match error.kind.as_ref() {
        // Snapshot reads came with 5.0; the history that they need is kept for five minutes by default.
        ErrorKind::Command(command) if command.code == 72 => {
            "the database is older than MongoDB 5.0, which cannot show all records of one moment".into()
        }
        ErrorKind::Command(command) if command.code == 239 || command.code == 246 => {
            "reading took longer than the database keeps its history: raise its parameter \
             minSnapshotHistoryWindowInSeconds (300 by default)"
                .into()
        }
        kind => kind.to_string(),
    }
}

async fn give(base: &Base, mut session: ClientSession, feed: &Feed) -> Result<(), TransferError> {
    let failed = |error: Error| TransferError::Source(reason(&error));
    for kind in carried() {
        let records = base.plain(kind);
        let found = records.find(doc! {}).projection(row::projection()).sort(doc! { "_id": 1 });
        let mut cursor = found.batch_size(PAGE as u32).session(&mut session).await.map_err(failed)?;
        let mut page = (Vec::new(), 0);
        loop {
            let more = timeout(NEXT, cursor.advance(&mut session)).await;
            let more = more.map_err(|_| TransferError::Source("the database does not answer".into()))?;
            let more = more.map_err(failed)?;
            if more {
                let row = row::read(cursor.current()).map_err(|damage| {
                    let damage = damage.of(kind, &row::id(cursor.current()));
                    TransferError::Source(damage.to_string())
                })?;
                page.1 += row.body.len();
                page.0.push(row);
            }
            let full = page.0.len() >= PAGE || page.1 > PAGE_BYTES;
            if (full || !more) && !page.0.is_empty() {
                let (rows, _) = std::mem::take(&mut page);
                if feed.send(Ok(Page { kind, rows })).await.is_err() {
                    return Ok(());
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(())
}

/// A record as a document, with what is left of its lease from this time on.
fn of_row(row: &Row, now: Millis) -> Result<RawDocumentBuf, Fault> {
    let invalid = |error: &dyn std::fmt::Display| Fault::Invalid(format!("the record {}: {error}", row.id));
    let object = serde_json::from_slice(&row.body).map_err(|error| invalid(&error))?;
    let mut made: Document = doc! { "_id": &row.id, "r": whole(row.revision), "b": document::to_bson(object)? };
    if let Some(lease) = &row.lease {
        let expires = if lease.left == 0 { 0 } else { now + lease.left };
        made.extend(doc! {
            "host": lease.host.to_string(), "owner": &lease.owner, "epoch": whole(lease.epoch),
            "expires": Bson::DateTime(DateTime::from_millis(i64::try_from(expires).unwrap_or(i64::MAX))),
        });
    }
    RawDocumentBuf::try_from(&made).map_err(|error| invalid(&error))
}
