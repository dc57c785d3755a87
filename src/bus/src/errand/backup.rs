//! All records into an encrypted file, of one moment, while whoever serves goes on; and a file read through.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use culvert_model::record::Host;
use culvert_model::{HostId, Kind};
use culvert_wire::errand::{Place, Report};

use super::Reporter;
use crate::identity::Identity;
use crate::store::embedded;
use crate::store::mongo::Mongo;
use crate::store::{Store, wall};
use crate::transfer::archive::{self, Head, Writer};
use crate::transfer::{Source, Summary, copy, file};

/// Kinds that mean nothing elsewhere or later: logins, who is connected, what was printed.
const FLEETING: &[Kind] = &[Kind::Session, Kind::Connection, Kind::Output];

/// Writes a backup.
///
/// # Errors
///
/// The records cannot be read, or the file cannot be written. It is no backup then.
pub async fn write(
    folder: &Path,
    from: Place,
    passphrase: &str,
    archive: File,
    reporter: &mut Reporter,
) -> Result<String, Box<dyn Error>> {
    let identity = Identity::keep(folder)?;
    let (source, name, made) = source(folder, from, identity.host).await?;
    let source = source.without(FLEETING);
    let head = Head {
        version: env!("CARGO_PKG_VERSION").into(),
        format: source.format(),
        host: identity.host,
        name,
        made,
        records: source.total(),
    };
    let mut writer = Writer::new(archive, passphrase, head)?;
    let summary = copy(source, &mut writer, |done, total| reporter.progress("writing", done, total)).await?;
    writer.finish(&summary)?.sync_all()?;
    Ok(format!("{} records", summary.records()))
}

/// Where the records come from, this host's name there, and what time it is there.
async fn source(folder: &Path, from: Place, host: HostId) -> Result<(Source, String, u64), Box<dyn Error>> {
    match from {
        Place::Embedded => {
            let path = file::store(folder);
            if !path.exists() {
                return Err(format!("there is no store at {}: nothing was ever kept here", path.display()).into());
            }
            Ok((embedded::snapshot(&path)?, own_name(), wall()))
        }
        Place::Mongo(uri) => {
            let mongo = Mongo::look(&uri, host).await?;
            let away = |_| "the database does not answer";
            let row = mongo.get(Kind::Host, &host.to_string()).await.map_err(away)?;
            let name = row.and_then(|row| serde_json::from_slice::<Host>(&row.body).ok()).map(|host| host.name);
            let made = mongo.now().await.map_err(away)?;
            Ok((mongo.snapshot().await?, name.unwrap_or_else(own_name), made))
        }
    }
}

fn own_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// Reads a backup to its end.
///
/// # Errors
///
/// It is none, is damaged, or another passphrase opens it.
pub async fn verify(passphrase: &str, archive: File, reporter: &mut Reporter) -> Result<String, Box<dyn Error>> {
    let (head, source) = archive::open(archive, passphrase)?;
    let summary = Summary::of(source, |done, total| reporter.progress("reading it back", done, total)).await?;
    reporter.tell(&Report::Archive { host: head.name, made: head.made, version: head.version });
    Ok(format!("{} records", summary.records()))
}
