//! A single appliance's records on their way into an empty database (design section 4).
//!
//! The database says `importing` and by whom until one conditional write makes it `ready`; what is refused or broken off
//! before that changes nothing here, and is begun anew. Behind that write, the file here is only to be set aside. A crash
//! anywhere is healed by the next start, which finds in the journal how far it was.

use std::path::PathBuf;

use culvert_model::HostId;
use culvert_model::record::ClusterState;

use super::drive::{Halt, commit, drive, enter};
use super::journal::{Journal, Phase};
use super::told::Told;
use super::{Summary, copy, file};
use crate::choice::Uri;
use crate::cluster;
use crate::store::embedded::{self, Embedded};
use crate::store::frozen::Frozen;
use crate::store::mongo::Mongo;

/// What is moved where.
#[derive(Debug)]
pub struct Import {
    /// The bus's folder.
    pub folder: PathBuf,
    /// The database.
    pub uri: Uri,
    /// This host.
    pub host: HostId,
}

impl Import {
    /// Moves the records, however long it takes; while it does not go on, this host serves as before. Ends when the records
    /// are in the database, and the next start serves from there.
    pub async fn run(&self, journal: &mut Journal, store: &Frozen<Embedded>, told: &Told) {
        drive(journal, store, told, async |journal| self.attempt(journal, store, told).await).await;
    }

    async fn attempt(&self, journal: &mut Journal, store: &Frozen<Embedded>, told: &Told) -> Result<(), Halt> {
        let connected = Mongo::connect(self.uri.reveal(), self.host).await;
        let mongo = connected.map_err(Halt::again)?;
        let own = cluster::read(store).await?.map(|known| known.cluster);
        let own = own.ok_or_else(|| Halt::Refused("this appliance's own store is not in order".into()))?;
        let Some(known) = enter(&mongo, self.host, journal.id(), own).await? else {
            return Ok(journal.reach(Phase::Done)?);
        };
        store.freeze().await;
        if journal.phase() == Phase::Copying {
            self.fill(&mongo, told).await?;
            journal.reach(Phase::Committing)?;
        }
        commit(&mongo, known, journal.id(), ClusterState::Ready).await?;
        Ok(journal.reach(Phase::Done)?)
    }

    /// Copies everything, and looks whether it arrived.
    async fn fill(&self, mongo: &Mongo, told: &Told) -> Result<(), Halt> {
        told.underway("preparing the database", 0, 0);
        mongo.clear().await?;
        let source = embedded::snapshot(&file::store(&self.folder));
        let source = source.map_err(Halt::again)?;
        let sent = copy(source, &mut &*mongo, |done, total| told.underway("copying", done, total)).await?;
        let found = Summary::of(mongo.snapshot().await?, |done, total| told.underway("verifying", done, total)).await?;
        sent.arrived(&found)?;
        tracing::info!(records = sent.records(), "all records are in the database, with the hashes that they had here");
        Ok(())
    }
}
