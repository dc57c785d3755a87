//! Reading: from the primary, what a majority has, and never less than this bus has acknowledged.

use culvert_model::{Kind, Millis};
use culvert_wire::bus::{Fault, Find, Position, Row};
use mongodb::bson::{Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{Hint, ReadPreference, SelectionCriteria};
use mongodb::{ClientSession, SessionCursor};

use super::attempt::{Course, Failure, READ};
use super::base::Base;
use super::row::{self, Damaged};
use super::span::{self, Span};
use crate::store::{Answer, Found, PAGE_BYTES, Trouble};

/// What one attempt of a read gives.
type Attempt<T> = Result<Answer<T>, Error>;

impl Base {
    /// One record, and never an older one than a message named.
    ///
    /// # Errors
    ///
    /// The database could not be asked in time.
    pub async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        let row = self.look_up(kind, id).await?;
        match self.heard.newer(kind, id, row.as_ref()) {
            Some(time) => {
                self.catch_up(time);
                self.look_up(kind, id).await
            }
            None => Ok(row),
        }
    }

    async fn look_up(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        self.reading(|mut session| async move {
            let records = self.records(kind);
            loop {
                let leases = self.has_leases(kind);
                let found = records
                    .find_one(doc! { "_id": id })
                    .projection(wanted(leases))
                    .max_time(READ)
                    .session(&mut session)
                    .await?;
                match found {
                    // Once for each kind: from now on it is asked for in the first place.
                    Some(raw) if !leases && row::is_leased(&raw).unwrap_or(false) => self.saw_lease(kind),
                    found => {
                        let read = found.map(|raw| row::read(&raw)).transpose();
                        return Ok(read.map_err(|damage| Trouble::Damaged(damage.of(kind, id))));
                    }
                }
            }
        })
        .await
    }

    /// A page of records.
    ///
    /// # Errors
    ///
    /// The query does not fit the index, or the database could not be asked in time.
    pub async fn find(&self, find: &Find) -> Answer<Found> {
        let span = Span::of(find).map_err(Trouble::Fault)?;
        if span.is_empty() {
            return Ok(Found::default());
        }
        let found = self.reading(|session| self.page(find, &span, session)).await?;
        // What is missing in a page is not seen here; the tail sees to it that a new primary has it (`Tailer::open`).
        let newer = found.rows.iter().filter_map(|row| self.heard.newer(find.kind, &row.id, Some(row))).max();
        match newer {
            Some(time) => {
                self.catch_up(time);
                self.reading(|session| self.page(find, &span, session)).await
            }
            None => Ok(found),
        }
    }

    async fn page(&self, find: &Find, span: &Span, mut session: ClientSession) -> Attempt<Found> {
        let mut spare = 0;
        loop {
            let (found, cut) = self.page_of(find, span, &mut session, spare).await?;
            if found.damaged.len() <= spare || !cut {
                return Ok(Ok(found));
            }
            // What is damaged took the place of others.
            spare = found.damaged.len() * 2;
        }
    }

    /// A page, and whether there may be more that was not looked at. So many records more than usual may be damaged.
    async fn page_of(
        &self,
        find: &Find,
        span: &Span,
        session: &mut ClientSession,
        spare: usize,
    ) -> Result<(Found, bool), Error> {
        // One to know whether there is more, and one for the position's own place.
        let most = u32::from(find.limit) + 2 + spare as u32;
        'page: loop {
            let leases = self.has_leases(find.kind);
            let mut cursor = self.open(find, span, leases, most, session).await?;
            let mut page = Page { found: Found::default(), last: None, bytes: 0 };
            let mut looked = 0;
            while cursor.advance(&mut *session).await? {
                looked += 1;
                let raw = cursor.current();
                if !leases && row::is_leased(raw).unwrap_or(false) {
                    self.saw_lease(find.kind);
                    continue 'page;
                }
                match page.add(find, span, raw) {
                    Ok(true) => {}
                    Ok(false) => return Ok((page.found, false)),
                    Err(damage) => page.found.damaged.push(damage.of(find.kind, &row::id(raw))),
                }
            }
            return Ok((page.found, looked == most));
        }
    }

    async fn open(
        &self,
        find: &Find,
        span: &Span,
        leases: bool,
        most: u32,
        session: &mut ClientSession,
    ) -> Result<SessionCursor<RawDocumentBuf>, Error> {
        self.records(find.kind)
            .find(doc! {})
            .hint(Hint::Keys(span.hint()))
            .min(span.min())
            .max(span.max())
            .sort(span.order())
            .projection(wanted(leases))
            .limit(most.into())
            .batch_size(most)
            .max_time(READ)
            .session(session)
            .await
    }

    /// How many records a query has.
    ///
    /// # Errors
    ///
    /// As [`Base::find`].
    pub async fn count(&self, find: &Find) -> Answer<u64> {
        let filter = span::filter(find).map_err(Trouble::Fault)?;
        self.reading(|mut session| {
            let counted = self.records(find.kind).clone();
            let filter = filter.clone();
            async move { counted.count_documents(filter).max_time(READ).session(&mut session).await.map(Ok) }
        })
        .await
    }

    /// Milliseconds since 1970 by the primary's clock.
    ///
    /// # Errors
    ///
    /// The database could not be asked in time.
    pub async fn now(&self) -> Answer<Millis> {
        self.reading(|mut session| async move {
            let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
            let hello = self
                .database()
                .run_command(doc! { "hello": 1 })
                .selection_criteria(primary)
                .session(&mut session)
                .await?;
            let time = hello.get_datetime("localTime").map(|time| time.timestamp_millis().try_into().unwrap_or(0));
            Ok(time.map_err(|error| Trouble::Fault(Fault::Invalid(format!("the database tells no time: {error}")))))
        })
        .await
    }

    async fn reading<T, F: Future<Output = Attempt<T>>>(&self, attempt: impl Fn(ClientSession) -> F) -> Answer<T> {
        let mut course = Course::read(self.is_away());
        let _place = self.place(&course).await?;
        loop {
            let read = course.attempt(async {
                let session = self.session().await?;
                attempt(session).await
            });
            match read.await {
                Ok(read) => {
                    self.found(false);
                    return read;
                }
                Err(failure) => {
                    let answered = matches!(failure, Failure::Broken(_));
                    course.overcome(failure.harmless()).await.inspect_err(|_| self.found(!answered))?;
                }
            }
        }
    }
}

/// What is asked of records of a kind: what is left of their leases only where there are any.
fn wanted(leases: bool) -> Document {
    if leases { row::projection() } else { row::plain() }
}

/// A page that is being read.
struct Page {
    found: Found,
    last: Option<Position>,
    bytes: usize,
}

impl Page {
    /// Adds a record, unless the page is full: then it ends behind the last one.
    fn add(&mut self, find: &Find, span: &Span, raw: &mongodb::bson::raw::RawDocument) -> Result<bool, Damaged> {
        let Some(RawBsonRef::Document(body)) = raw.get("b")? else { return Err(Damaged("it has no body".into())) };
        let keys = span::keys(&find.index, find, body)?;
        let row = row::read(raw)?;
        if !span.begins(&keys, &row.id) {
            return Ok(true);
        }
        if self.found.rows.len() >= usize::from(find.limit) || self.bytes > PAGE_BYTES {
            self.found.next = self.last.take();
            return Ok(false);
        }
        self.bytes += row.body.len();
        self.last = Some(Position { keys, id: row.id.clone() });
        self.found.rows.push(row);
        Ok(true)
    }
}
