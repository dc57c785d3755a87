//! What a document remembers of the last writes: their ids, so that a write whose outcome got lost can be told from one
//! that was not done.
//!
//! Single writes are remembered in the record itself, since then the write and the memory of it are one operation on one
//! document. A batch, and a deletion (which leaves no document), are remembered in the collection `writes`, in the same
//! transaction; a deletion takes along what the record remembered: whoever does not know whether a record was made may
//! ask when it is gone again.

use std::time::Duration;

use mongodb::bson::raw::RawDocument;
use mongodb::bson::{Binary, Bson, Document, RawBsonRef, doc};

use super::row::{self, Damaged};

/// How many writes a record remembers.
const MOST: usize = 16;

/// For how long: far longer than any request's deadline, and than a caller takes to ask again.
const FOR: Duration = Duration::from_secs(60);

/// Should the next primary's clock be behind.
const SLACK: Duration = Duration::from_secs(1);

/// What a document tells of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Memory {
    /// It was done and made this revision.
    Done(u64),
    /// It was not done.
    NotDone,
    /// So many others were done since the request came that this one may be forgotten.
    Faded,
}

/// Of a new record.
pub fn first(id: &Bson) -> Bson {
    vec![doc! { "i": id.clone(), "r": 1_i64, "t": "$$NOW" }].into()
}

/// Of a record that gets a new revision.
pub fn next(id: &Bson) -> Bson {
    let recent = doc! { "$filter": {
        "input": { "$ifNull": ["$w", []] },
        "cond": { "$gt": ["$$this.t", { "$subtract": ["$$NOW", FOR.as_millis() as i64] }] },
    } };
    let this = doc! { "i": id.clone(), "r": { "$add": ["$r", 1_i64] }, "t": "$$NOW" };
    doc! { "$slice": [{ "$concatArrays": [recent, [this]] }, -(MOST as i32)] }.into()
}

/// That a document has forgotten no write since so long ago: what [`recall`] does not call faded.
pub fn reaches_back(age: Duration) -> Document {
    let writes = doc! { "$ifNull": ["$w", []] };
    let began = doc! { "$subtract": ["$$NOW", millis(age + SLACK)] };
    doc! { "$or": [{ "$lt": [{ "$size": writes }, MOST as i32] }, { "$lte": [{ "$min": "$w.t" }, began] }] }
}

/// When the last write was done that a document remembers.
pub fn last(raw: &RawDocument) -> Result<u64, Damaged> {
    let Some(RawBsonRef::Array(writes)) = raw.get("w")? else { return Err(Damaged("it remembers no write".into())) };
    match writes.into_iter().last().transpose()?.and_then(|write| write.as_document()) {
        Some(write) => row::millis(write, "t"),
        None => Err(Damaged("it remembers no write".into())),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a document, read with the time as `now`, tells of a write that was asked for so long ago.
pub fn recall(raw: &RawDocument, id: u128, age: Duration) -> Result<Memory, Damaged> {
    let Some(RawBsonRef::Array(writes)) = raw.get("w")? else { return Ok(Memory::NotDone) };
    let (mut count, mut oldest) = (0, u64::MAX);
    for write in writes {
        let Some(write) = write?.as_document() else { continue };
        if matches!(write.get("i")?, Some(RawBsonRef::Binary(it)) if it.bytes == id.to_be_bytes()) {
            return row::number(write, "r").map(Memory::Done);
        }
        count += 1;
        oldest = oldest.min(row::millis(write, "t")?);
    }
    let began = row::millis(raw, "now")?.saturating_sub((age + SLACK).as_millis() as u64);
    Ok(if count == MOST && oldest > began { Memory::Faded } else { Memory::NotDone })
}

/// What a record that is being deleted remembers of the last minute.
pub fn past(raw: &RawDocument) -> Result<Vec<Bson>, Damaged> {
    let Some(RawBsonRef::Array(writes)) = raw.get("w")? else { return Ok(Vec::new()) };
    let oldest = row::millis(raw, "at")?.saturating_sub(FOR.as_millis() as u64);
    let mut past = Vec::new();
    for write in writes {
        let Some(write) = write?.as_document() else { continue };
        if let Some(RawBsonRef::Binary(id)) = write.get("i")?
            && row::millis(write, "t")? >= oldest
        {
            let id = Binary { subtype: id.subtype, bytes: id.bytes.to_vec() };
            past.push(doc! { "i": id, "r": row::whole(row::number(write, "r")?) }.into());
        }
    }
    Ok(past)
}

/// The revision that a write made of a record that is gone, as the deletion has it.
pub fn of_the_gone(raw: &RawDocument, id: u128) -> Result<Option<u64>, Damaged> {
    let Some(RawBsonRef::Array(writes)) = raw.get("of")? else { return Ok(None) };
    for write in writes {
        let Some(write) = write?.as_document() else { continue };
        if matches!(write.get("i")?, Some(RawBsonRef::Binary(it)) if it.bytes == id.to_be_bytes()) {
            return row::number(write, "r").map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, RawDocumentBuf};

    use super::*;
    use crate::store::mongo::plan::binary;

    fn with(writes: impl IntoIterator<Item = (u128, i64)>) -> RawDocumentBuf {
        let writes: Vec<Bson> = writes
            .into_iter()
            .map(|(id, at)| doc! { "i": binary(id), "r": id as i64, "t": DateTime::from_millis(at) }.into())
            .collect();
        RawDocumentBuf::try_from(&doc! { "w": writes, "now": DateTime::from_millis(100_000) }).expect("a document")
    }

    #[test]
    fn tells_what_was_done() {
        let age = Duration::from_secs(7);
        assert_eq!(recall(&with([(1, 99_000), (2, 99_500)]), 2, age).expect("whole"), Memory::Done(2));
        assert_eq!(recall(&with([(1, 99_000)]), 3, age).expect("whole"), Memory::NotDone);
        assert_eq!(recall(&with([]), 3, age).expect("whole"), Memory::NotDone);
    }

    #[test]
    fn does_not_tell_what_it_may_have_forgotten() {
        let full = |from: i64| with((0..MOST as u128).map(move |id| (id, from + id as i64)));
        let age = Duration::from_secs(7);
        assert_eq!(recall(&full(95_000), 77, age).expect("whole"), Memory::Faded);
        assert_eq!(recall(&full(80_000), 77, age).expect("whole"), Memory::NotDone);
    }
}
