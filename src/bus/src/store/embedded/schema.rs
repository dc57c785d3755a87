//! The database file: its tables, what version they are of, and how it is opened.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use culvert_model::Kind;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use thiserror::Error;

use super::clock::Clock;
use super::ledger;

/// Raised with each change to the tables.
const VERSION: i64 = 1;

/// "Culv": tells our files from those of other programs that use SQLite.
const APPLICATION: i64 = 0x4375_6c76;

/// How long to wait for another program that has the file locked, a backup for example.
const BUSY: Duration = Duration::from_secs(2);

const TABLES: &str = "
CREATE TABLE records (
    kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE leases (
    kind TEXT NOT NULL, id TEXT NOT NULL, host TEXT NOT NULL, owner TEXT NOT NULL, epoch INTEGER NOT NULL,
    expires INTEGER NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE keys (
    tree TEXT NOT NULL, key BLOB NOT NULL, id TEXT NOT NULL, PRIMARY KEY (tree, key, id)
) WITHOUT ROWID;
CREATE TABLE done (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL, revisions BLOB NOT NULL);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
";

/// Why the embedded store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file is of a later version of Culvert.
    #[error(
        "the store {0} was written by a newer version of Culvert (its format is {1}, this version knows {VERSION}): \
         install that version again, or restore a backup from before"
    )]
    Newer(String, i64),
    /// The file is no store, or its bytes are wrong.
    #[error(
        "the store {0} is damaged or is no store of Culvert ({1}): restore it from a backup, or move it away to begin anew"
    )]
    Damaged(String, String),
    /// The disk has no room.
    #[error("the store {0} cannot be opened because the disk is full: make room on it")]
    Full(String),
    /// The file cannot be made, read or written.
    #[error("the store {0} cannot be opened: {1}; its folder must exist and belong to the user culvert-bus")]
    Io(String, io::Error),
    /// Something else.
    #[error("the store {0} cannot be opened: {1}")]
    Other(String, rusqlite::Error),
}

impl OpenError {
    fn of(path: &Path, error: rusqlite::Error) -> Self {
        let name = path.display().to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(name, error.to_string()),
            Some(ErrorCode::DiskFull) => Self::Full(name),
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::Io(name, io::ErrorKind::PermissionDenied.into())
            }
            _ => Self::Other(name, error),
        }
    }
}

/// Opens the store for its only writer, and makes it if it is not there.
pub fn open(path: &Path, clock: &Clock) -> Result<Connection, OpenError> {
    create(path).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull => OpenError::Full(path.display().to_string()),
        _ => OpenError::Io(path.display().to_string(), error),
    })?;
    let mut connection = connect(path).map_err(|error| OpenError::of(path, error))?;
    prepare(&mut connection, path, clock)?;
    Ok(connection)
}

/// Another connection to an open store, which can only read.
pub fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let connection = connect(path)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error| OpenError::of(path, error))
}

/// Copies an open store into a file, whole or not at all.
pub fn copy(path: &Path, to: &Path) -> Result<(), OpenError> {
    let io = |error| OpenError::Io(to.display().to_string(), error);
    let mut beside = to.as_os_str().to_owned();
    beside.push(".new");
    // SQLite fills a file only if it is empty; made here, it is nobody else's to read.
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(io)?;
    let copied = connect(path).and_then(|from| from.execute("VACUUM INTO ?", [beside.to_string_lossy()]));
    copied.map_err(|error| OpenError::of(to, error))?;
    file.sync_all().map_err(io)?;
    std::fs::rename(&beside, to).map_err(io)?;
    to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()).map_err(io)
}

/// The name does not outlive a power cut before its folder is on the disk.
fn create(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            file.sync_all()?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    // The process can write to its own folder only.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn prepare(connection: &mut Connection, path: &Path, clock: &Clock) -> Result<(), OpenError> {
    let other = |error| OpenError::of(path, error);
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(other);
    let (application, version) = (number("application_id")?, number("user_version")?);
    if version > VERSION && application == APPLICATION {
        return Err(OpenError::Newer(path.display().to_string(), version));
    }
    let empty = version == 0 && application == 0;
    if !empty && (version, application) != (VERSION, APPLICATION) {
        return Err(OpenError::Damaged(path.display().to_string(), "it belongs to another program".into()));
    }
    begin(connection, empty, clock).map_err(other)
}

/// Everything that happens to the file at start, all or none.
fn begin(connection: &mut Connection, empty: bool, clock: &Clock) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    if empty {
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    if replace(&transaction, "boot", clock.boot())? {
        // Of an earlier boot: who held a lease is gone, and so is whoever could ask again about a write.
        transaction.execute("UPDATE leases SET expires = 0", [])?;
        transaction.execute("DELETE FROM done", [])?;
    }
    if replace(&transaction, "indexes", &indexes())? {
        ledger::index_anew(&transaction)?;
    }
    transaction.commit()
}

/// Remembers a fact. Whether it was another one before.
fn replace(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<bool> {
    let old: Option<String> =
        connection.query_row("SELECT value FROM facts WHERE name = ?", [name], |row| row.get(0)).optional()?;
    let other = old.as_deref() != Some(value);
    if other {
        connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", params![name, value])?;
    }
    Ok(other)
}

/// How the kinds' indexes are declared: when that changes, all are made anew.
fn indexes() -> String {
    let each = Kind::ALL.iter().flat_map(|kind| kind.indexes().iter().map(move |index| (kind, index)));
    each.map(|(kind, index)| format!("{}.{}={:?}/{};", kind.name(), index.name, index.fields, index.unique)).collect()
}
