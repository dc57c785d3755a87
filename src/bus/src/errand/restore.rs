//! All records of a backup into a store of this host's own, or into an empty database.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use culvert_model::record::{Cluster, ClusterState};
use culvert_model::{FORMAT, HostId, Id, Kind};
use culvert_wire::errand::{Place, Report};

use super::Reporter;
use crate::cluster;
use crate::identity::{self, Identity};
use crate::store::mongo::Mongo;
use crate::store::{Store, embedded, wall};
use crate::transfer::archive::{self, Head};
use crate::transfer::drive::{Halt, commit, enter};
use crate::transfer::{Source, Summary, TransferError, copy, file};

/// Restores a backup. A machine that is none of its hosts takes the place of the one that made it, unless it is to be a
/// host of its own.
///
/// # Errors
///
/// It is no backup, or the place is not free: nothing that is in use was changed.
pub async fn run(
    folder: &Path,
    to: Place,
    passphrase: &str,
    fresh: bool,
    archive: File,
    reporter: &mut Reporter,
) -> Result<String, Box<dyn Error>> {
    let own = Identity::keep(folder)?.host;
    let (head, source) = archive::open(archive, passphrase)?;
    reporter.tell(&Report::Archive { host: head.name.clone(), made: head.made, version: head.version.clone() });
    let cluster = cluster_of(&head);
    cluster::judge(&cluster, FORMAT, wall())?;
    let source = source.released();
    let records = match to {
        Place::Embedded => into_own(folder, own, &cluster, source, reporter).await?,
        Place::Mongo(uri) => {
            let restored = into_database(&uri, own, &cluster, source, reporter).await;
            restored.map_err(|halt| match halt {
                Halt::Again(why) | Halt::Refused(why) => why,
            })?
        }
    };
    if !fresh && !records.hosts.contains(&own) {
        identity::bind(folder, head.host)?;
    }
    Ok(format!("{} records", records.count))
}

/// What was restored.
struct Restored {
    count: u64,
    hosts: Vec<HostId>,
}

fn cluster_of(head: &Head) -> Cluster {
    Cluster {
        id: Cluster::ID.into(),
        state: ClusterState::Ready,
        by: None,
        transfer: None,
        since: head.made,
        format: head.format,
        version: cluster::version_of(head.format).into(),
        migration: None,
    }
}

async fn into_own(
    folder: &Path,
    host: HostId,
    cluster: &Cluster,
    source: Source,
    reporter: &mut Reporter,
) -> Result<Restored, Box<dyn Error>> {
    let target = file::prepare(folder, host)?;
    let put = cluster::insert(&target, &Cluster { since: wall(), ..cluster.clone() }).await;
    put.map_err(|trouble| TransferError::of_target(&trouble))?;
    let sent = copy(source, &mut &target, |done, total| reporter.progress("restoring", done, total)).await;
    let hosts = hosts(&target).await;
    file::closed(target).await;
    let sent = sent?;
    let incoming = file::incoming(folder);
    let source = embedded::snapshot(&incoming)?;
    sent.arrived(&Summary::of(source, |done, total| reporter.progress("verifying", done, total)).await?)?;
    file::rename(&file::store(folder), &file::aside(folder, Id::new()))?;
    file::rename(&incoming, &file::store(folder))?;
    Ok(Restored { count: sent.records(), hosts })
}

async fn into_database(
    uri: &str,
    host: HostId,
    cluster: &Cluster,
    source: Source,
    reporter: &mut Reporter,
) -> Result<Restored, Halt> {
    let mongo = Mongo::connect(uri, host).await.map_err(Halt::again)?;
    let id = Id::new();
    let Some(known) = enter(&mongo, host, id, cluster.clone()).await? else {
        return Err(Halt::Refused("somebody else restores into this database".into()));
    };
    mongo.clear().await?;
    let sent = copy(source, &mut &mongo, |done, total| reporter.progress("restoring", done, total)).await?;
    let found = mongo.snapshot().await?;
    sent.arrived(&Summary::of(found, |done, total| reporter.progress("verifying", done, total)).await?)?;
    let hosts = hosts(&mongo).await;
    commit(&mongo, known, id, ClusterState::Ready).await?;
    Ok(Restored { count: sent.records(), hosts })
}

/// The hosts in a store.
async fn hosts<S: Store>(store: &S) -> Vec<HostId> {
    let rows = store.find(culvert_wire::bus::Find::all(Kind::Host)).await.map(|found| found.rows);
    rows.unwrap_or_default().iter().filter_map(|row| row.id.parse().ok()).collect()
}
