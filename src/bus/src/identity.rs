//! Which host this is: an id that is made once and kept in the state folder, and bound to another machine's record when
//! an administrator says so.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use culvert_model::HostId;
use thiserror::Error;

const FILE: &str = "host-id";

/// Who this was before it took another identity, for as long as something of that is left in the store.
const BEFORE: &str = "host-id.before";

/// Why it is not known which host this is.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error(
        "this host's id cannot be kept in {0} ({1}): the folder must belong to the user culvert-bus, on a disk with room"
    )]
    Io(String, #[source] io::Error),
    /// The file holds something else.
    #[error("{0} holds no host id (32 hexadecimal digits): restore it, or remove it to make this a new host")]
    Damaged(String),
}

/// This host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub host: HostId,
    /// The id that it had before it was bound to this one, if its record may still be there.
    pub before: Option<HostId>,
    folder: PathBuf,
}

impl Identity {
    /// The identity that is kept in this folder; made if there is none. What was interrupted while it took another is
    /// either done or not begun.
    ///
    /// # Errors
    ///
    /// The file is damaged, or cannot be read or written.
    pub fn keep(folder: &Path) -> Result<Self, IdentityError> {
        let host = match read(folder, FILE)? {
            Some(host) => host,
            None => {
                let host = HostId::new();
                write(folder, FILE, host)?;
                host
            }
        };
        let mut identity = Self { host, before: read(folder, BEFORE)?, folder: folder.into() };
        if identity.before == Some(host) {
            identity.settled()?;
        }
        Ok(identity)
    }

    /// Becomes another host, and remembers which one this was. Killed anywhere in between, it is either the one or the
    /// other.
    ///
    /// # Errors
    ///
    /// The files cannot be written; then it is still the one that it was.
    pub fn become_host(&mut self, host: HostId) -> Result<(), IdentityError> {
        write(&self.folder, BEFORE, self.host)?;
        write(&self.folder, FILE, host)?;
        self.before = Some(self.host);
        self.host = host;
        Ok(())
    }

    /// Nothing is left of what it was before.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn settled(&mut self) -> Result<(), IdentityError> {
        let path = self.folder.join(BEFORE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(IdentityError::Io(path.display().to_string(), error));
            }
            _ => self.before = None,
        }
        Ok(())
    }
}

fn read(folder: &Path, file: &str) -> Result<Option<HostId>, IdentityError> {
    let path = folder.join(file);
    let name = path.display().to_string();
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| IdentityError::Damaged(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::Io(name, error)),
    }
}

/// Makes this machine the host of this id from its next start on.
///
/// # Errors
///
/// The file cannot be written.
pub fn bind(folder: &Path, host: HostId) -> Result<(), IdentityError> {
    write(folder, FILE, host)
}

/// On the disk before anybody hears of it, and whole or not there at all.
fn write(folder: &Path, file: &str, host: HostId) -> Result<(), IdentityError> {
    let path = folder.join(file);
    let written = || {
        let new = folder.join(format!("{file}.new"));
        let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(out, "{host}")?;
        out.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| IdentityError::Io(path.display().to_string(), error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn keep(folder: &tempfile::TempDir) -> Identity {
        Identity::keep(folder.path()).expect("it is kept")
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder can be made")
    }

    #[test]
    fn it_is_made_once() {
        let folder = folder();
        let first = keep(&folder);
        assert_eq!(keep(&folder), first);
        let mode = fs::metadata(folder.path().join(FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let folder = folder();
        fs::write(folder.path().join(FILE), "not an id").expect("it can be written");
        assert!(matches!(Identity::keep(folder.path()), Err(IdentityError::Damaged(_))));
        let none = folder.path().join("none");
        assert!(matches!(Identity::keep(&none), Err(IdentityError::Io(..))));
    }

    #[test]
    fn it_becomes_another_and_remembers_until_that_is_settled() {
        let folder = folder();
        let (mut identity, other) = (keep(&folder), HostId::new());
        let interim = identity.host;
        identity.become_host(other).expect("it can be written");
        let mut again = keep(&folder);
        assert_eq!((again.host, again.before), (other, Some(interim)));
        again.settled().expect("it can be removed");
        assert_eq!(keep(&folder).before, None);
    }

    #[test]
    fn killed_in_between_it_is_still_the_one_that_it_was() {
        let folder = folder();
        let identity = keep(&folder);
        write(folder.path(), BEFORE, identity.host).expect("it can be written");
        assert_eq!(keep(&folder), identity);
        assert!(!folder.path().join(BEFORE).exists(), "nothing was begun");
    }
}
