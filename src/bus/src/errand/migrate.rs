//! Bringing the records to this release's format now, and what that would do.

use std::error::Error;
use std::path::Path;

use culvert_model::HostId;
use culvert_model::record::Migration;
use culvert_wire::errand::Report;

use super::Reporter;
use super::place::Deed;
use crate::cluster;
use crate::format::{Behind, Ended, Release, Survey, Tally, migrate, raise, survey};
use crate::store::Store;
use crate::store::embedded::Embedded;
use crate::transfer::{TransferError, file};

/// Tells what a migration would do.
pub struct Look<'r> {
    /// Where to.
    pub reporter: &'r mut Reporter,
}

impl Deed for Look<'_> {
    async fn to<S: Store>(self, store: S) -> Result<String, Box<dyn Error>> {
        let release = Release::THIS;
        let format = cluster::read(&store).await?.map_or(1, |known| known.cluster.format);
        let Survey { kinds, behind } =
            survey(&store, &release).await.map_err(|trouble| TransferError::of_target(&trouble))?;
        for Tally { kind, records, older, failing, named } in &kinds {
            let failing = if *failing == 0 { String::new() } else { format!(", {failing} cannot be, being damaged") };
            let text = format!("{records} records, {older} would be changed{failing}");
            self.reporter.tell(&Report::Step { name: kind.name().into(), good: named.is_empty(), text });
            for damage in named {
                let name = format!("{}/{}", kind.name(), damage.id);
                self.reporter.tell(&Report::Step { name, good: false, text: damage.why.clone() });
            }
        }
        let older: u64 = kinds.iter().map(|tally| tally.older).sum();
        let new = release.format;
        Ok(if format > new {
            format!("the database is of format {format}, which this version does not know (it knows {new})")
        } else if !behind.is_empty() {
            format!(
                "{older} records would be changed, once these hosts know format {new} or are removed: {}",
                names(&behind)
            )
        } else {
            format!("{older} records would be changed; the database is of format {format}, this version's is {new}")
        })
    }
}

/// Does what happens by itself, now.
pub struct Migrate<'r> {
    /// The bus's folder.
    pub folder: &'r Path,
    /// Where to tell how far it is.
    pub reporter: &'r mut Reporter,
}

impl Deed for Migrate<'_> {
    async fn to<S: Store>(self, store: S) -> Result<String, Box<dyn Error>> {
        let release = Release::THIS;
        cluster::ensure(&store).await?;
        let alone = (&store as &dyn std::any::Any).downcast_ref::<Embedded>();
        if let Some(embedded) = alone {
            crate::format::prepare(embedded, &file::store(self.folder), &release).await?;
        } else if !raise(&store, &release, |_| true).await? {
            let survey = survey(&store, &release).await.map_err(|trouble| TransferError::of_target(&trouble))?;
            let hosts = names(&survey.behind);
            return Err(format!(
                "these hosts do not know format {} yet: {hosts}; update them, or remove those that are gone for good; \
                 nothing was changed",
                release.format
            )
            .into());
        }
        let (mut changed, mut failed) = (0, 0);
        let ended = migrate(&store, &release, HostId::new(), |migration: &Migration| {
            (changed, failed) = (migration.changed, migration.failed);
            self.reporter.progress(&migration.kind, migration.looked, migration.looked);
        });
        match ended.await? {
            Ended::Done if failed > 0 => {
                Ok(format!("{changed} records were changed, {failed} are damaged: see `culvert store damaged`"))
            }
            Ended::Done => Ok(format!("{changed} records were changed; all are of format {}", release.format)),
            Ended::Elsewhere => Ok("another host is at it".into()),
        }
    }
}

fn names(hosts: &[Behind]) -> String {
    hosts.iter().map(Behind::to_string).collect::<Vec<_>>().join(", ")
}
