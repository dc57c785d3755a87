//! A host on its way out of a cluster. The only host takes the records along, into a store of its own; one of several leaves
//! empty, and the others go on.
//!
//! Taking along is importing the other way around: the database says `leaving` until everything has arrived, then `left`,
//! and nobody serves from it any more.

use std::path::PathBuf;

use culvert_model::record::{Cluster, ClusterState};
use culvert_model::{HostId, Kind};
use culvert_wire::bus::{Find, Guard, Refusal, Write};

use super::drive::{Halt, commit, drive};
use super::journal::{Journal, Phase};
use super::told::Told;
use super::{Summary, copy, file};
use crate::cluster::{self, Known};
use crate::store::embedded;
use crate::store::frozen::Frozen;
use crate::store::mongo::Mongo;
use crate::store::{Awaited, Store, Trouble, write_id};

/// Whether the database can be taken along.
enum Closed {
    /// It can: nobody else uses it.
    Now(Known),
    /// It was.
    Already,
    /// It can't: other hosts use it.
    Others,
}

/// Who leaves.
#[derive(Debug)]
pub struct Export {
    /// The bus's folder.
    pub folder: PathBuf,
    /// This host.
    pub host: HostId,
}

impl Export {
    /// Leaves, however long it takes. Ends when this host's own store is ready, and the next start serves from it.
    pub async fn run(&self, journal: &mut Journal, store: &Frozen<Awaited<Mongo>>, mongo: &Mongo, told: &Told) {
        drive(journal, store, told, async |journal| self.attempt(journal, store, mongo, told).await).await;
    }

    async fn attempt(
        &self,
        journal: &mut Journal,
        store: &Frozen<Awaited<Mongo>>,
        mongo: &Mongo,
        told: &Told,
    ) -> Result<(), Halt> {
        // Also the heartbeat stops, which would enter this host anew.
        store.freeze().await;
        match self.close(mongo, journal).await? {
            Closed::Already => {}
            Closed::Others => self.go(mongo).await?,
            Closed::Now(known) => {
                if journal.phase() == Phase::Copying {
                    self.fill(mongo, &known.cluster, told).await?;
                    journal.reach(Phase::Committing)?;
                }
                commit(mongo, known, journal.id(), ClusterState::Left).await?;
            }
        }
        Ok(journal.reach(Phase::Done)?)
    }

    /// Has the database say that its records are being taken along, if nobody else uses it.
    async fn close(&self, mongo: &Mongo, journal: &Journal) -> Result<Closed, Halt> {
        let transfer = Some(journal.id());
        loop {
            let now = mongo.now().await?;
            let known = cluster::read(mongo).await?;
            let known = known.ok_or_else(|| Halt::Refused("the database holds no cluster any more".into()))?;
            let others = self.others(mongo).await?;
            let of = |state| Cluster { state, by: Some(self.host), transfer, since: now, ..known.cluster.clone() };
            match (known.cluster.state, known.cluster.transfer == transfer) {
                (ClusterState::Left, true) => return Ok(Closed::Already),
                (ClusterState::Leaving, true) if !others => return Ok(Closed::Now(known)),
                (ClusterState::Leaving, true) => {
                    // One came in at the last moment: it stays theirs.
                    cluster::change(mongo, &known, &of(ClusterState::Ready)).await?;
                }
                (ClusterState::Ready, _) if others => return Ok(Closed::Others),
                (ClusterState::Ready, _) => drop(cluster::change(mongo, &known, &of(ClusterState::Leaving)).await?),
                (ClusterState::Leaving, false) if known.cluster.by == Some(self.host) => {
                    // An earlier one that was given up.
                    cluster::change(mongo, &known, &of(ClusterState::Leaving)).await?;
                }
                _ => {
                    cluster::judge(&known.cluster, known.cluster.format, now)?;
                    return Err(Halt::Again("the database is not in use".into()));
                }
            }
        }
    }

    /// Whether other hosts belong to the cluster.
    async fn others(&self, mongo: &Mongo) -> Result<bool, Halt> {
        let own = self.host.to_string();
        Ok(mongo.find(Find::all(Kind::Host)).await?.rows.iter().any(|row| row.id != own))
    }

    /// Takes this host out of the cluster, with an empty store of its own.
    async fn go(&self, mongo: &Mongo) -> Result<(), Halt> {
        let (kind, id) = (Kind::Host, self.host.to_string());
        match mongo.write(write_id(), vec![Write::Delete { kind, id, guard: Guard::default() }]).await {
            Ok(_) | Err(Trouble::Refused { why: Refusal::Missing, .. }) => {}
            Err(trouble) => return Err(trouble.into()),
        }
        let target = file::prepare(&self.folder, self.host).map_err(Halt::again)?;
        cluster::ensure(&target).await?;
        file::closed(target).await;
        Ok(())
    }

    /// Copies everything into a new store, and looks whether it arrived.
    async fn fill(&self, mongo: &Mongo, known: &Cluster, told: &Told) -> Result<(), Halt> {
        let target = file::prepare(&self.folder, self.host).map_err(Halt::again)?;
        let own = Cluster { state: ClusterState::Ready, by: None, transfer: None, ..known.clone() };
        cluster::insert(&target, &own).await?;
        let mut telling = |done, total| told.underway("copying", done, total);
        let sent = copy(mongo.snapshot().await?, &mut &target, &mut telling).await;
        file::closed(target).await;
        let sent = sent?;
        let source = embedded::snapshot(&file::incoming(&self.folder)).map_err(Halt::again)?;
        let found = Summary::of(source, |done, total| told.underway("verifying", done, total)).await?;
        sent.arrived(&found)?;
        tracing::info!(records = sent.records(), "all records are here, with the hashes that they had in the database");
        Ok(())
    }
}
