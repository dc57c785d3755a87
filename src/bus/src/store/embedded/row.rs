//! Records as they stand in the tables.

use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Lease, Row};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, params};

/// The columns that [`read`] expects, of records `r` and leases `l`.
pub const COLUMNS: &str = "r.id, r.revision, r.body, l.host, l.owner, l.epoch, l.expires";

/// How a record's lease is found.
pub const LEASE: &str = "LEFT JOIN leases l ON l.kind = r.kind AND l.id = r.id";

/// The record in this row of a result, at an instant of the boot's clock.
pub fn read(row: &rusqlite::Row<'_>, now: i64) -> rusqlite::Result<Row> {
    let host: Option<String> = row.get(3)?;
    let lease = match host {
        None => None,
        Some(host) => Some(Lease {
            host: host.parse::<HostId>().map_err(|error| damaged(3, error))?,
            owner: row.get(4)?,
            epoch: row.get::<_, i64>(5)? as u64,
            left: (row.get::<_, i64>(6)? - now).max(0) as u64,
        }),
    };
    Ok(Row { id: row.get(0)?, revision: row.get::<_, i64>(1)? as u64, body: row.get(2)?, lease })
}

/// One record.
pub fn get(connection: &Connection, kind: Kind, id: &str, now: i64) -> rusqlite::Result<Option<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM records r {LEASE} WHERE r.kind = ? AND r.id = ?");
    connection.prepare_cached(&sql)?.query_row(params![kind.name(), id], |row| read(row, now)).optional()
}

fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
