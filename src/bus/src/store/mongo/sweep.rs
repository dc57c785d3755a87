//! Deleting what an index has up to a value.

use culvert_model::Kind;
use culvert_wire::bus::{Change, Fault, Find, Key};
use mongodb::bson::{Bson, doc};

use super::attempt::Course;
use super::base::Base;
use super::{announce, span};
use crate::store::index;
use crate::store::{Answer, Trouble};

/// Records that are deleted at a time.
const PAGE: u16 = 500;

impl Base {
    /// Deletes a page of the records whose first field in the index is a smaller number. Gives how many there were, and
    /// what is to be announced.
    ///
    /// # Errors
    ///
    /// There is no such index, or the database could not do it in time.
    pub async fn sweep_page(&self, kind: Kind, name: &str, before: i64) -> Answer<(u64, bool, Vec<Change>)> {
        let field = kind
            .index(name)
            .and_then(|index| index.fields.first())
            .ok_or_else(|| Trouble::Fault(Fault::Invalid(format!("{} has no index {name}", kind.name()))))?;
        let stretch = Find {
            kind,
            index: name.into(),
            equal: Vec::new(),
            from: Some(Key::Int(i64::MIN)),
            to: Some(Key::Int(before)),
            after: None,
            descending: false,
            limit: PAGE,
        };
        let found = self.find(&stretch).await?;
        let ids: Vec<Bson> = found
            .rows
            .iter()
            .map(|row| &row.id)
            .chain(found.damaged.iter().map(|damage| &damage.id))
            .map(|id| id.clone().into())
            .collect();
        if ids.is_empty() {
            return Ok((0, false, Vec::new()));
        }
        let smaller = doc! { "_id": { "$in": ids }, span::path(field): { "$lt": before } };
        let deleted = self.delete(kind, smaller).await?;
        let now = self.now().await.unwrap_or_default();
        // A record that somebody else has just changed or deleted may be among them: a message is only a hint.
        let announced = found.rows.iter().filter(|_| kind.announced());
        let changes = announced.map(|row| {
            let scope = index::parse(kind, &row.body).ok().and_then(|object| index::scope(kind, &object));
            announce::change(kind, &row.id, 0, scope, now)
        });
        Ok((deleted, found.next.is_some(), changes.collect()))
    }

    async fn delete(&self, kind: Kind, filter: mongodb::bson::Document) -> Answer<u64> {
        let mut course = Course::write(self.is_away());
        let _place = self.place(&course).await?;
        loop {
            let attempt = async {
                let mut session = self.session().await?;
                let deleted = self.records(kind).delete_many(filter.clone()).session(&mut session).await?;
                self.learn(&session);
                Ok(deleted.deleted_count)
            };
            match course.attempt(attempt).await {
                Ok(deleted) => return Ok(deleted),
                Err(failure) => course.overcome(failure).await?,
            }
        }
    }
}
