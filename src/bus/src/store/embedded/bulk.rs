//! All records of one moment, beside whoever serves from the file; and records that are put in as they are.

use std::path::Path;

use culvert_model::Kind;
use culvert_model::record::Cluster;
use culvert_wire::bus::Row;
use rusqlite::{Connection, params};

use super::clock::Clock;
use super::ledger::{Image, Ledger};
use super::row::{self, COLUMNS, LEASE};
use super::schema::{self, OpenError};
use super::trouble::Stop;
use crate::transfer::{Feed, PAGE, PAGE_BYTES, Page, Source, TransferError, carried};

/// The records that the file holds now. They are read on a thread of its own.
///
/// # Errors
///
/// The file cannot be opened.
pub fn snapshot(path: &Path) -> Result<Source, OpenError> {
    let name = || path.display().to_string();
    let clock = Clock::of_this_boot().map_err(|error| OpenError::Io(name(), error))?;
    let connection = schema::open_reader(path)?;
    let begin = || {
        connection.execute_batch("BEGIN")?;
        // The first look fixes the moment.
        let total = connection.query_row("SELECT count(*) FROM records", [], |row| row.get::<_, i64>(0))?;
        Ok((total, row::get(&connection, Kind::Cluster, Cluster::ID, clock.now())?))
    };
    let (total, cluster) = begin().map_err(|error| OpenError::Other(name(), error))?;
    let cluster = cluster.and_then(Result::ok).and_then(|row| serde_json::from_slice::<Cluster>(&row.body).ok());
    // Stores had no such record before there was more than one format.
    let (feed, source) = Source::of(total.unsigned_abs(), cluster.map_or(1, |cluster| cluster.format));
    let read = move || {
        if let Err(error) = give(&connection, clock.now(), &feed) {
            // Who took the pages may be gone.
            let _ = feed.blocking_send(Err(TransferError::Source(error.to_string())));
        }
    };
    let begun = std::thread::Builder::new().name("snapshot".into()).spawn(read);
    begun.map_err(|error| OpenError::Io(name(), error))?;
    Ok(source)
}

fn give(connection: &Connection, now: i64, feed: &Feed) -> rusqlite::Result<()> {
    let sql =
        format!("SELECT {COLUMNS} FROM records r {LEASE} WHERE r.kind = ? AND r.id > ? ORDER BY r.id LIMIT {PAGE}");
    let mut statement = connection.prepare(&sql)?;
    for kind in carried() {
        let mut after = String::new();
        loop {
            let mut rows: Vec<Row> = Vec::new();
            let mut bytes = 0;
            let mut found = statement.query(params![kind.name(), after])?;
            while bytes <= PAGE_BYTES
                && let Some(row) = found.next()?
            {
                let row = match row::read(row, kind, now)? {
                    Ok(row) => row,
                    Err(damage) => {
                        // Nothing is left behind silently.
                        let _ = feed.blocking_send(Err(TransferError::Source(damage.to_string())));
                        return Ok(());
                    }
                };
                bytes += row.body.len();
                rows.push(row);
            }
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.id);
            if feed.blocking_send(Ok(Page { kind, rows })).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Ledger<'_> {
    /// Puts a record in as it is, in the place of one of the same id. Nothing is announced.
    pub fn put(&mut self, kind: Kind, row: Row) -> Result<(), Stop> {
        if let Some(old) = row::get(self.connection, kind, &row.id, self.now)? {
            let announced = self.changes.len();
            self.remove(kind, &row.id, old.as_ref().ok())?;
            self.changes.truncate(announced);
        }
        self.connection.prepare_cached("INSERT INTO records VALUES (?, ?, ?, ?)")?.execute(params![
            kind.name(),
            row.id,
            row.revision as i64,
            row.body
        ])?;
        // A damaged record is taken along, and is found by its id alone.
        if let Ok(image) = Image::of(kind, &row.body) {
            self.move_keys(kind, &row.id, &Vec::new(), &image.keys)?;
        }
        if let Some(lease) = row.lease.clone() {
            // A record of an id that is gone does not begin below what came from elsewhere.
            self.remember_epoch(&lease)?;
            self.keep(kind, row, lease)?;
        }
        Ok(())
    }
}
