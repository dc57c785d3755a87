//! The thread that reads. Each read begins after it was asked, so it sees all that was acknowledged by then.

use culvert_model::{Index, Kind};
use culvert_wire::bus::{Fault, Find, Key, Position, Row};
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::clock::Clock;
use super::row::{self, COLUMNS, LEASE};
use super::trouble::{Complaint, Stop};
use super::{key, ledger};
use crate::store::{Answer, Found, PAGE_BYTES, Trouble};

/// What can be read.
pub enum Question {
    /// One record.
    Get { kind: Kind, id: String },
    /// A page.
    Find(Find),
    /// How many.
    Count(Find),
}

/// What was found.
pub enum Reading {
    /// At most one record.
    Row(Option<Row>),
    /// A page.
    Found(Found),
    /// So many.
    Count(u64),
}

/// A question and who waits for it.
pub struct Ask {
    /// What is to be read.
    pub question: Question,
    /// When nobody waits any more.
    pub deadline: Instant,
    /// Who waits.
    pub answer: oneshot::Sender<Answer<Reading>>,
}

/// The thread's state.
pub struct Reader {
    /// A connection that can only read.
    pub connection: Connection,
    /// The clock that leases last by.
    pub clock: Clock,
    /// What is to be read.
    pub asked: mpsc::Receiver<Ask>,
    /// What was said about the file.
    pub complaint: std::sync::Arc<Complaint>,
}

impl Reader {
    /// Until nobody is left who could ask.
    pub fn run(mut self) {
        while let Some(ask) = self.asked.blocking_recv() {
            let answer = if ask.deadline > Instant::now() {
                self.read(&ask.question)
            } else {
                Err(Trouble::Fault(Fault::Unavailable))
            };
            // Who asked may have given up.
            let _ = ask.answer.send(answer);
        }
    }

    fn read(&self, question: &Question) -> Answer<Reading> {
        let now = self.clock.now();
        let read = match question {
            Question::Get { kind, id } => {
                let row = row::get(&self.connection, *kind, id, now).map_err(Stop::from);
                row.and_then(|row| Ok(Reading::Row(row.transpose()?)))
            }
            Question::Find(find) => {
                Span::of(find).and_then(|span| span.find(&self.connection, now)).map(Reading::Found)
            }
            Question::Count(find) => Span::of(find).and_then(|span| span.count(&self.connection)).map(Reading::Count),
        };
        read.map_err(|stop| match stop {
            Stop::Trouble(trouble) => trouble,
            Stop::Sql(error) => {
                self.complaint.about(&error);
                Trouble::Fault(Fault::Unavailable)
            }
        })
    }
}

/// A query as a range of keys.
struct Span<'f> {
    find: &'f Find,
    /// Nothing for the order of ids.
    index: Option<&'static Index>,
    lower: Value,
    upper: Value,
}

impl<'f> Span<'f> {
    fn of(find: &'f Find) -> Result<Self, Stop> {
        if find.index.is_empty() {
            let (lower, upper) = ids(find)?;
            return Ok(Self { find, index: None, lower, upper });
        }
        let index = find
            .kind
            .index(&find.index)
            .ok_or_else(|| Fault::Invalid(format!("{} has no index {}", find.kind.name(), find.index)))?;
        let (lower, upper) = key::span(&find.equal, find.from.as_ref(), find.to.as_ref());
        Ok(Self { find, index: Some(index), lower: lower.into(), upper: upper.into() })
    }

    fn count(&self, connection: &Connection) -> Result<u64, Stop> {
        let sql = match self.index {
            None => "SELECT count(*) FROM records WHERE kind = ?1 AND id >= ?2 AND id < ?3",
            Some(_) => "SELECT count(*) FROM keys WHERE tree = ?1 AND key >= ?2 AND key < ?3",
        };
        let count: i64 = connection
            .prepare_cached(sql)?
            .query_row(params![self.tree(), self.lower, self.upper], |row| row.get(0))?;
        Ok(count as u64)
    }

    fn tree(&self) -> String {
        match self.index {
            None => self.find.kind.name().into(),
            Some(index) => ledger::tree(self.find.kind, index.name),
        }
    }

    /// Where the page before ended, if that is inside of the range at all.
    fn after(&self) -> Option<(Value, Value)> {
        let after = self.find.after.as_ref()?;
        let key: Value = key::encode(&after.keys).into();
        let id: Value = after.id.clone().into();
        let place = if self.index.is_some() { &key } else { &id };
        let outside = match (place, &self.lower, &self.upper, self.find.descending) {
            (Value::Blob(place), Value::Blob(lower), _, false) => place < lower,
            (Value::Text(place), Value::Text(lower), _, false) => place < lower,
            (Value::Blob(place), _, Value::Blob(upper), true) => place >= upper,
            (Value::Text(place), _, Value::Text(upper), true) => place >= upper,
            _ => false,
        };
        (!outside).then_some((key, id))
    }

    fn find(&self, connection: &Connection, now: i64) -> Result<Found, Stop> {
        let mut spare = 0;
        loop {
            let (found, cut) = self.page(connection, now, spare)?;
            if found.damaged.len() <= spare || !cut {
                return Ok(found);
            }
            // What is damaged took the place of others.
            spare = found.damaged.len() * 2;
        }
    }

    /// A page, and whether there may be more that was not looked at. One row more than is wanted tells whether there is
    /// more; so many others may be damaged.
    fn page(&self, connection: &Connection, now: i64, spare: usize) -> Result<(Found, bool), Stop> {
        let most = usize::from(self.find.limit) + 1 + spare;
        let after = self.after();
        let mut statement = connection.prepare_cached(&self.sql(after.is_some()))?;
        let mut values: Vec<Value> = vec![self.tree().into(), self.lower.clone(), self.upper.clone()];
        values.push(self.find.kind.name().to_string().into());
        values.push((most as i64).into());
        values.extend(after.into_iter().flat_map(|(key, id)| [key, id]));
        let mut result = statement.query(params_from_iter(values))?;
        let mut found = Found::default();
        let (mut last, mut bytes, mut looked) = (Vec::new(), 0, 0);
        while let Some(row) = result.next()? {
            looked += 1;
            let record = match row::read(row, self.find.kind, now)? {
                Ok(record) => record,
                Err(damage) => {
                    found.damaged.push(damage);
                    continue;
                }
            };
            if found.rows.len() == usize::from(self.find.limit) || bytes > PAGE_BYTES {
                found.next = self.position(&last, &found.rows)?;
                return Ok((found, false));
            }
            bytes += record.body.len();
            last = row.get_ref(7)?.as_bytes().unwrap_or_default().to_vec();
            found.rows.push(record);
        }
        Ok((found, looked == most))
    }

    fn position(&self, last: &[u8], rows: &[Row]) -> Result<Option<Position>, Stop> {
        let keys = key::decode(last).ok_or_else(|| Fault::Invalid("an index is damaged".into()))?;
        Ok(rows.last().map(|row| Position { keys, id: row.id.clone() }))
    }

    /// With one lower and one upper bound, so that SQLite begins at the right place, however far behind that is.
    fn sql(&self, after: bool) -> String {
        let order = if self.find.descending { "DESC" } else { "ASC" };
        let ascending_after = after && !self.find.descending;
        let descending_after = after && self.find.descending;
        let Some(_) = self.index else {
            let lower = if ascending_after { "r.id > ?7" } else { "r.id >= ?2" };
            let upper = if descending_after { "r.id < ?7" } else { "r.id < ?3" };
            return format!(
                "SELECT {COLUMNS}, x'' FROM records r {LEASE} \
                 WHERE r.kind = ?1 AND {lower} AND {upper} ORDER BY r.id {order} LIMIT ?5"
            );
        };
        let lower = if ascending_after { "(k.key, k.id) > (?6, ?7)" } else { "k.key >= ?2" };
        let upper = if descending_after { "(k.key, k.id) < (?6, ?7)" } else { "k.key < ?3" };
        format!(
            "SELECT {COLUMNS}, k.key FROM keys k CROSS JOIN records r ON r.kind = ?4 AND r.id = k.id {LEASE} \
             WHERE k.tree = ?1 AND {lower} AND {upper} ORDER BY k.key {order}, k.id {order} LIMIT ?5"
        )
    }
}

/// The ids that a query over the order of ids is about.
fn ids(find: &Find) -> Result<(Value, Value), Stop> {
    let text = |key: &Key| match key {
        Key::Text(text) => Ok(text.clone()),
        _ => Err(Fault::Invalid("an id is text".into())),
    };
    if let Some(equal) = find.equal.first() {
        let id = text(equal)?;
        return Ok((id.clone().into(), format!("{id}\0").into()));
    }
    let lower = find.from.as_ref().map(text).transpose()?.unwrap_or_default();
    // In SQLite every text is less than every blob.
    let upper = find.to.as_ref().map(text).transpose()?.map_or(Value::Blob(Vec::new()), Value::from);
    Ok((lower.into(), upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::schema;

    /// However a page is asked for, SQLite seeks to its beginning and does not sort.
    #[test]
    fn pages_are_sought() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let connection = schema::open(&folder.path().join("store"), &Clock::of_boot("x")).expect("it opens");
        for (index, descending, after) in ["", "by_name"]
            .into_iter()
            .flat_map(|i| [false, true].map(|d| (i, d)))
            .flat_map(|(i, d)| [false, true].map(|a| (i, d, a)))
        {
            let find = Find {
                kind: Kind::Server,
                index: index.into(),
                equal: Vec::new(),
                from: None,
                to: None,
                after: None,
                descending,
                limit: 1,
            };
            let Ok(span) = Span::of(&find) else { panic!("the index is there") };
            let sql = format!("EXPLAIN QUERY PLAN {}", span.sql(after));
            let mut statement = connection.prepare(&sql).expect("it is SQL");
            let count = statement.parameter_count();
            let steps: Vec<String> = statement
                .query_map(params_from_iter(vec![Value::Null; count]), |row| row.get(3))
                .expect("it can be explained")
                .collect::<Result<_, _>>()
                .expect("it is text");
            let expected = match (index, descending, after) {
                ("", ..) => "(kind=? AND id>? AND id<?)",
                (_, _, false) => "(tree=? AND key>? AND key<?)",
                (_, false, true) => "(tree=? AND (key,id)>(?,?) AND key<?)",
                (_, true, true) => "(tree=? AND key>? AND (key,id)<(?,?))",
            };
            assert!(steps[0].contains(expected), "{steps:?}");
            assert!(steps.iter().all(|step| step.starts_with("SEARCH")), "{steps:?}");
        }
    }
}
