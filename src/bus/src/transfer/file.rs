//! The embedded store's files: set aside when their records live elsewhere, put in place when they have come.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use culvert_model::{HostId, Id};
use tokio::task::spawn_blocking;

use super::journal::sync;
use crate::store::embedded::{Embedded, OpenError};

/// The embedded store in the bus's folder.
#[must_use]
pub fn store(folder: &Path) -> PathBuf {
    folder.join("store.sqlite")
}

/// One that is being filled.
#[must_use]
pub fn incoming(folder: &Path) -> PathBuf {
    folder.join("incoming.sqlite")
}

/// Where a store is put whose records live elsewhere since this move.
#[must_use]
pub fn aside(folder: &Path, id: Id) -> PathBuf {
    folder.join(format!("moved-{id}.sqlite"))
}

/// A database's file, and those that SQLite keeps beside it while it is open, or after a crash.
fn parts(path: &Path) -> impl Iterator<Item = PathBuf> {
    ["-wal", "-shm", ""].into_iter().map(move |suffix| {
        let mut name = OsString::from(path);
        name.push(suffix);
        PathBuf::from(name)
    })
}

/// Gives a closed store another name, if it is there. The main file goes last: as long as it has its old name, this can be
/// done again.
///
/// # Errors
///
/// The disk failed.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for (from, to) in parts(from).zip(parts(to)) {
        match fs::rename(from, to) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    to.parent().map_or(Ok(()), sync)
}

/// Removes a closed store, if it is there.
///
/// # Errors
///
/// The disk failed.
pub fn remove(path: &Path) -> io::Result<()> {
    for part in parts(path) {
        match fs::remove_file(part) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A new store, to be filled.
///
/// # Errors
///
/// It cannot be made.
pub fn prepare(folder: &Path, host: HostId) -> Result<Embedded, OpenError> {
    let path = incoming(folder);
    remove(&path).map_err(|error| OpenError::Io(path.display().to_string(), error))?;
    Embedded::open(&path, host)
}

/// Waits until the threads that have the file open are done with it.
pub async fn closed(store: Embedded) {
    // One that panicked has said so itself.
    let _ = spawn_blocking(move || drop(store)).await;
}
