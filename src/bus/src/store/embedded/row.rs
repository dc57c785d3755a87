//! Records as they stand in the tables.

use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Lease, Row};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use crate::store::damage::{Damage, HUGE};

/// The columns that [`read`] expects, of records `r` and leases `l`.
pub const COLUMNS: &str = "r.id, r.revision, r.body, l.host, l.owner, l.epoch, l.expires";

/// How a record's lease is found.
pub const LEASE: &str = "LEFT JOIN leases l ON l.kind = r.kind AND l.id = r.id";

/// The record in this row of a result, at an instant of the boot's clock. SQLite keeps any type in any column, so none is
/// taken for granted.
pub fn read(row: &rusqlite::Row<'_>, kind: Kind, now: i64) -> rusqlite::Result<Result<Row, Damage>> {
    let id = String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
    let read = || -> Result<Row, &'static str> {
        let column = |number| row.get_ref(number).map_err(|_| "a column is missing");
        Ok(Row {
            id: text(column(0)?).ok_or("its id is no text")?,
            revision: whole(column(1)?).ok_or("its revision is no whole number")?,
            body: body(column(2)?)?,
            lease: match column(3)? {
                ValueRef::Null => None,
                host => Some(Lease {
                    host: text(host).and_then(|host| host.parse::<HostId>().ok()).ok_or("its lease names no host")?,
                    owner: text(column(4)?).ok_or("its lease names no owner")?,
                    epoch: whole(column(5)?).ok_or("its lease has no epoch")?,
                    left: integer(column(6)?).ok_or("its lease has no end")?.saturating_sub(now).max(0) as u64,
                }),
            },
        })
    };
    Ok(read().map_err(|why| Damage { kind, id, why: why.into() }))
}

/// One record.
pub fn get(connection: &Connection, kind: Kind, id: &str, now: i64) -> rusqlite::Result<Option<Result<Row, Damage>>> {
    let sql = format!("SELECT {COLUMNS} FROM records r {LEASE} WHERE r.kind = ? AND r.id = ?");
    connection.prepare_cached(&sql)?.query_row(params![kind.name(), id], |row| read(row, kind, now)).optional()
}

/// A body, whose content is not looked at.
pub fn body(column: ValueRef<'_>) -> Result<Vec<u8>, &'static str> {
    match column {
        ValueRef::Blob(bytes) if bytes.len() <= HUGE => Ok(bytes.to_vec()),
        ValueRef::Blob(_) => Err("it is longer than a record may be"),
        _ => Err("its body is of another type"),
    }
}

fn text(column: ValueRef<'_>) -> Option<String> {
    column.as_str().ok().map(str::to_owned)
}

fn integer(column: ValueRef<'_>) -> Option<i64> {
    column.as_i64().ok()
}

/// One that can be counted up.
fn whole(column: ValueRef<'_>) -> Option<u64> {
    integer(column).filter(|number| (0..i64::MAX).contains(number)).map(|number| number as u64)
}
