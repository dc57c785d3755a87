//! How far a move is, in a file beside the store: whoever starts after a crash goes on from there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use culvert_model::Id;
use serde::{Deserialize, Serialize};

const FILE: &str = "transfer";

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Records are being copied: it can still be given up, or begun anew.
    Copying,
    /// The copy is whole, and the one write that makes it count may be done: nothing may be changed here until that is
    /// known.
    Committing,
    /// It counts: what was here is to be set aside.
    Done,
}

/// A move in this folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    folder: PathBuf,
    entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    id: Id,
    phase: Phase,
}

impl Journal {
    /// The move that was begun in this folder.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something else.
    pub fn find(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(FILE)) {
            Ok(bytes) => {
                let entry = serde_json::from_slice(&bytes).map_err(|_| damaged(folder))?;
                Ok(Some(Self { folder: folder.into(), entry }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins a move.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn begin(folder: &Path) -> io::Result<Self> {
        let journal = Self { folder: folder.into(), entry: Entry { id: Id::new(), phase: Phase::Copying } };
        journal.write()?;
        Ok(journal)
    }

    /// Which move it is.
    #[must_use]
    pub const fn id(&self) -> Id {
        self.entry.id
    }

    /// How far it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.entry.phase
    }

    /// It is that far now, whatever happens.
    ///
    /// # Errors
    ///
    /// The file cannot be written: then it may still be as far as before.
    pub fn reach(&mut self, phase: Phase) -> io::Result<()> {
        self.entry.phase = phase;
        self.write()
    }

    /// All of it is done.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn end(self) -> io::Result<()> {
        fs::remove_file(self.folder.join(FILE))?;
        sync(&self.folder)
    }

    fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.entry)?;
        replace(&self.folder.join(FILE), &bytes)
    }
}

fn damaged(folder: &Path) -> io::Error {
    let name = folder.join(FILE);
    io::Error::new(
        ErrorKind::InvalidData,
        format!("{} is damaged: restore it from a backup of the disk", name.display()),
    )
}

/// Puts a file in the place of another: a crash leaves the old one or the new one.
///
/// # Errors
///
/// It cannot be written.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync)
}

/// Names that were changed in a folder do not outlive a power cut before this.
///
/// # Errors
///
/// The disk failed.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        assert_eq!(Journal::find(folder.path()).expect("it can be read"), None);
        let mut journal = Journal::begin(folder.path()).expect("it can be written");
        assert_eq!(Journal::find(folder.path()).expect("it can be read"), Some(journal.clone()));
        journal.reach(Phase::Committing).expect("it can be written");
        let found = Journal::find(folder.path()).expect("it can be read").expect("it is there");
        assert_eq!((found.id(), found.phase()), (journal.id(), Phase::Committing));
        found.end().expect("it can be removed");
        assert_eq!(Journal::find(folder.path()).expect("it can be read"), None);
        fs::write(folder.path().join(FILE), "{").expect("it can be written");
        assert!(Journal::find(folder.path()).is_err());
    }
}
