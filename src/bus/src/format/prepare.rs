//! The embedded store is one host's alone, so its format is raised at start; a copy of the file is kept from before.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Release, raise};
use crate::cluster;
use crate::store::embedded::Embedded;

/// Copies the file and raises its format to this release's, if it is of the one before. What is in it is migrated while it
/// is served ([`super::upkeep`]).
///
/// # Errors
///
/// The copy cannot be made, so nothing was changed; or the record of the database is damaged.
pub async fn prepare(store: &Embedded, path: &Path, release: &Release) -> Result<(), Box<dyn Error>> {
    let Some(known) = cluster::read(store).await? else { return Ok(()) };
    let format = known.cluster.format;
    if format + 1 != release.format {
        return Ok(());
    }
    let copy = copy_of(path, format);
    let name = copy.display();
    Embedded::copy(path, &copy).map_err(|error| {
        format!(
            "the store is to be brought to the format of this version, and the copy of before cannot be made in {name}: \
             {error}; make room for it, then start Culvert again; nothing was changed"
        )
    })?;
    for other in (1..format).map(|older| copy_of(path, older)) {
        // One copy is enough; most never were there.
        let _ = fs::remove_file(other);
    }
    tracing::info!("the store is brought to format {}; a copy of before is kept in {name}", release.format);
    raise(store, release, |_| false).await?;
    Ok(())
}

fn copy_of(path: &Path, format: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".format-{format}"));
    name.into()
}
