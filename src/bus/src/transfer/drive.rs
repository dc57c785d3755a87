//! What a move into a cluster and one out of it have in common: attempts until it is done, and the one write by which it
//! counts.

use std::io;
use std::time::Duration;

use culvert_model::record::{Cluster, ClusterState};
use culvert_model::{HostId, Id};
use tokio::time::sleep;

use super::TransferError;
use super::journal::{Journal, Phase};
use super::told::Told;
use crate::cluster::{self, Known, Unusable};
use crate::store::frozen::Frozen;
use crate::store::mongo::Mongo;
use crate::store::{Store, Trouble};

/// How long to wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Why a move does not go on.
#[derive(Debug)]
pub enum Halt {
    /// It may go on later.
    Again(String),
    /// It may not be done.
    Refused(String),
}

impl Halt {
    /// It may go on later.
    pub fn again(why: impl ToString) -> Self {
        Self::Again(why.to_string())
    }
}

impl From<TransferError> for Halt {
    fn from(error: TransferError) -> Self {
        Self::again(error)
    }
}

impl From<Unusable> for Halt {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Away => Self::again(unusable),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        TransferError::of_target(&trouble).into()
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Again(format!("the state folder cannot be written: {error}"))
    }
}

/// Tries until it is done. Between attempts the store serves as before, unless it may be done already. What is refused is
/// told, and the store serves on.
pub async fn drive<S: Store>(
    journal: &mut Journal,
    store: &Frozen<S>,
    told: &Told,
    mut attempt: impl AsyncFnMut(&mut Journal) -> Result<(), Halt>,
) {
    loop {
        let halt = match attempt(journal).await {
            Ok(()) => return,
            Err(halt) => halt,
        };
        match journal.phase() {
            Phase::Copying => store.thaw().await,
            Phase::Committing | Phase::Done => told.bind(),
        }
        match halt {
            Halt::Again(why) => told.waiting(&why),
            Halt::Refused(why) => {
                told.refused(&why);
                std::future::pending::<()>().await;
            }
        }
        sleep(AGAIN).await;
    }
}

/// Has an empty database say that its records are coming, by whom and by which move. Nothing if they are all there already.
///
/// # Errors
///
/// It is not empty, or does not answer.
pub async fn enter(mongo: &Mongo, host: HostId, move_id: Id, own: Cluster) -> Result<Option<Known>, Halt> {
    let transfer = Some(move_id);
    loop {
        let now = mongo.now().await?;
        let Some(known) = cluster::read(mongo).await? else {
            if !cluster::is_empty(mongo).await? {
                return Err(holds_a_cluster());
            }
            let state = ClusterState::Importing;
            cluster::insert(mongo, &Cluster { state, by: Some(host), transfer, since: now, ..own.clone() }).await?;
            continue;
        };
        match (known.cluster.state, known.cluster.transfer == transfer) {
            (ClusterState::Ready, true) => return Ok(None),
            (ClusterState::Importing, true) => return Ok(Some(known)),
            (ClusterState::Importing, false) if known.cluster.by == Some(host) => {
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

fn holds_a_cluster() -> Halt {
    Halt::Refused(
        "the database holds a cluster already: to join it without this appliance's records, say so to `culvert join`; to \
         move the records, name an empty database"
            .into(),
    )
}

/// The one write by which a move counts.
///
/// # Errors
///
/// It is not known whether it was done, or somebody else came between.
pub async fn commit(mongo: &Mongo, mut known: Known, move_id: Id, state: ClusterState) -> Result<(), Halt> {
    loop {
        let since = mongo.now().await?;
        if cluster::change(mongo, &known, &Cluster { state, since, ..known.cluster.clone() }).await? {
            return Ok(());
        }
        let found = cluster::read(mongo).await?.filter(|found| found.cluster.transfer == Some(move_id));
        let gone = "somebody else has changed the database meanwhile: look at it, then try again";
        known = found.ok_or_else(|| Halt::Refused(gone.into()))?;
        if known.cluster.state == state {
            return Ok(());
        }
    }
}
