//! A single appliance's records on their way into an empty database (design section 4).
//!
//! The database says `importing` and by whom until one conditional write makes it `ready`; what is refused or broken off
//! before that changes nothing here, and is begun anew. Behind that write, the file here is only to be set aside. A crash
//! anywhere is healed by the next start, which finds in the journal how far it was.

use std::path::PathBuf;

use culvert_model::HostId;
use culvert_model::record::{Cluster, ClusterState};

use super::drive::{Halt, commit, drive};
use super::journal::{Journal, Phase};
use super::told::Told;
use super::{Summary, copy, file};
use crate::choice::Uri;
use crate::cluster::{self, Known};
use crate::store::Store;
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
        let Some(known) = self.enter(&mongo, journal, store).await? else {
            return Ok(journal.reach(Phase::Done)?);
        };
        store.freeze().await;
        if journal.phase() == Phase::Copying {
            self.fill(&mongo, told).await?;
            journal.reach(Phase::Committing)?;
        }
        commit(&mongo, known, journal, ClusterState::Ready).await?;
        Ok(journal.reach(Phase::Done)?)
    }

    /// Has the database say that its records are coming. Nothing if they are all there already.
    async fn enter(&self, mongo: &Mongo, journal: &Journal, store: &Frozen<Embedded>) -> Result<Option<Known>, Halt> {
        let transfer = Some(journal.id());
        loop {
            let now = mongo.now().await?;
            let Some(known) = cluster::read(mongo).await? else {
                if !cluster::is_empty(mongo).await? {
                    return Err(holds_a_cluster());
                }
                let own = cluster::read(store).await?.map(|known| known.cluster);
                let own = own.ok_or_else(|| Halt::Refused("this appliance's own store is not in order".into()))?;
                let state = ClusterState::Importing;
                cluster::insert(mongo, &Cluster { state, by: Some(self.host), transfer, since: now, ..own }).await?;
                continue;
            };
            match (known.cluster.state, known.cluster.transfer == transfer) {
                (ClusterState::Ready, true) => return Ok(None),
                (ClusterState::Importing, true) => return Ok(Some(known)),
                (ClusterState::Importing, false) if known.cluster.by == Some(self.host) => {
                    // An earlier one that was given up.
                    cluster::change(mongo, &known, &Cluster { transfer, since: now, ..known.cluster.clone() }).await?;
                }
                (ClusterState::Ready, false) => return Err(holds_a_cluster()),
                _ => {
                    cluster::judge(&known.cluster, known.cluster.format, now)?;
                    return Err(holds_a_cluster());
                }
            }
        }
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

fn holds_a_cluster() -> Halt {
    Halt::Refused(
        "the database holds a cluster already: to join it without this appliance's records, say so to `culvert join`; to \
         move the records, name an empty database"
            .into(),
    )
}
