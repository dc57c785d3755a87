//! Which host this is: an id that is made once and kept in the state folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use culvert_model::HostId;
use thiserror::Error;

const FILE: &str = "host-id";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

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
    /// Tells two machines apart that have the same id, because one is a copy of the other: what boot this is, and which
    /// file the id stands in. Both stay the same when the bus restarts.
    pub machine: String,
}

impl Identity {
    /// The identity that is kept in this folder; made if there is none.
    ///
    /// # Errors
    ///
    /// The file is damaged, or cannot be read or written.
    pub fn keep(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE);
        let name = path.display().to_string();
        let failed = |error| IdentityError::Io(name.clone(), error);
        let host = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| IdentityError::Damaged(name.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(folder).map_err(failed)?,
            Err(error) => return Err(failed(error)),
        };
        let file = fs::metadata(&path).map_err(failed)?;
        let boot = fs::read_to_string(BOOT_ID).map_err(failed)?;
        Ok(Self { host, machine: format!("{}/{:x}/{:x}", boot.trim(), file.dev(), file.ino()) })
    }
}

/// Makes this machine the host of this id from its next start on.
///
/// # Errors
///
/// The file cannot be written.
pub fn bind(folder: &Path, host: HostId) -> Result<(), IdentityError> {
    write(folder, host).map_err(|error| IdentityError::Io(folder.join(FILE).display().to_string(), error))
}

fn make(folder: &Path) -> io::Result<HostId> {
    let host = HostId::new();
    write(folder, host).map(|()| host)
}

/// On the disk before anybody hears of it, and whole or not there at all.
fn write(folder: &Path, host: HostId) -> io::Result<()> {
    let new = folder.join("host-id.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{host}")?;
    file.sync_all()?;
    fs::rename(&new, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_made_once() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let first = Identity::keep(folder.path()).expect("it is made");
        assert_eq!(Identity::keep(folder.path()).expect("it is kept"), first);
        let mode = fs::metadata(folder.path().join(FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let copy = tempfile::tempdir().expect("a folder can be made");
        fs::copy(folder.path().join(FILE), copy.path().join(FILE)).expect("it can be copied");
        let copied = Identity::keep(copy.path()).expect("it is kept");
        assert_eq!(copied.host, first.host);
        assert_ne!(copied.machine, first.machine, "a copy is another machine");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::write(folder.path().join(FILE), "not an id").expect("it can be written");
        assert!(matches!(Identity::keep(folder.path()), Err(IdentityError::Damaged(_))));
        let none = folder.path().join("none");
        assert!(matches!(Identity::keep(&none), Err(IdentityError::Io(..))));
    }
}
