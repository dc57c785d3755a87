//! Where the appliance's records are kept, as `culvert join` and `culvert leave` decide it: a file of root's in the state
//! folder, which the supervisor reads each time that it starts the bus.

use std::fs::{self, File};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const FILE: &str = "cluster";

/// What the bus does on the way to a database, or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It takes the records of its own store along into the database.
    Import,
    /// It leaves them behind.
    Join,
    /// It leaves the database.
    Export,
}

/// Whether it was decided that they are in a database.
#[must_use]
pub fn moved(state: &Path) -> bool {
    state.join(FILE).exists()
}

/// Decides for a database.
///
/// # Errors
///
/// The state folder can't be written.
pub fn put(state: &Path, way: Way) -> Result<()> {
    let word = match way {
        Way::Import => "import",
        Way::Join => "join",
        Way::Export => "export",
    };
    let (path, beside) = (state.join(FILE), state.join("cluster.new"));
    let _ = fs::remove_file(&beside);
    let mut file = File::options().write(true).create_new(true).mode(0o644).open(&beside)?;
    writeln!(file, "{word}")?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    File::open(state)?.sync_all()
}

/// Decides for the store of the appliance's own.
///
/// # Errors
///
/// The state folder can't be written.
pub fn clear(state: &Path) -> Result<()> {
    match fs::remove_file(state.join(FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => File::open(state)?.sync_all(),
    }
}
