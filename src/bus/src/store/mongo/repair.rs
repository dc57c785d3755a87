//! Putting a body in the place of a damaged record, whatever is there.

use culvert_model::Kind;
use culvert_wire::bus::{Change, Refusal};
use mongodb::bson::{Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::ReturnDocument;

use super::attempt::{Course, Failure, OPERATION};
use super::base::Base;
use super::{announce, document};
use crate::store::{Answer, Trouble, index};

impl Base {
    /// Puts a body in the place of a record, or removes it. Gives what is to be announced.
    ///
    /// # Errors
    ///
    /// There is no such record, the body is none that the kind can have, or it could not be done in time.
    pub async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<Option<Change>> {
        let object = body.map(|body| index::parse(kind, &body)).transpose().map_err(Trouble::Fault)?;
        let scope = object.as_ref().and_then(|object| index::scope(kind, object));
        let body = object.map(document::to_bson).transpose().map_err(Trouble::Fault)?;
        let refused = |why| Err(Trouble::Refused { write: 0, why });
        let mut course = Course::write(self.is_away());
        let _place = self.place(&course).await?;
        let raw = loop {
            match course.attempt(self.replace(kind, id, body.as_ref())).await {
                Ok(Some(raw)) => break Some(raw),
                // An attempt that got lost removed it.
                Ok(None) if course.unsure() && body.is_none() => break None,
                Ok(None) => return refused(Refusal::Missing),
                Err(Failure::Duplicate(index)) if kind.index(&index).is_some() => {
                    return refused(Refusal::Taken { index });
                }
                Err(failure) => course.overcome(failure).await?,
            }
        };
        let revision = match raw.as_ref().and_then(|raw| raw.get("r").ok().flatten()) {
            Some(RawBsonRef::Int64(revision)) if body.is_some() => revision as u64,
            _ => 0,
        };
        let now = self.now().await.unwrap_or_default();
        Ok(kind.announced().then(|| announce::change(kind, id, revision, scope, now)))
    }

    async fn replace(&self, kind: Kind, id: &str, body: Option<&Document>) -> Result<Option<RawDocumentBuf>, Error> {
        let mut session = self.session().await?;
        let (records, this) = (self.records(kind), doc! { "_id": id });
        let done = match body {
            None => records.find_one_and_delete(this).max_time(OPERATION).session(&mut session).await?,
            Some(body) => {
                let counted = doc! { "$cond": [{ "$in": [{ "$type": "$r" }, ["int", "long"]] }, "$r", 0_i64] };
                let new = doc! { "_id": "$_id", "r": { "$toLong": { "$add": [{ "$max": [counted, 0_i64] }, 1_i64] } }, "b": { "$literal": body } };
                records
                    .find_one_and_update(this, vec![doc! { "$replaceWith": new }])
                    .return_document(ReturnDocument::After)
                    .max_time(OPERATION)
                    .session(&mut session)
                    .await?
            }
        };
        self.learn(&session);
        Ok(done)
    }
}
