//! What ties everything that a run changes to its reservation.

use culvert_model::Kind;
use culvert_records::{Claim, Failure, Guard, Refusal, Write};
use tokio::sync::watch;

/// The name under which this process claims.
pub const OWNER: &str = "tasks";

/// The reservation of a task, which whoever began the run keeps.
#[derive(Debug, Clone)]
pub struct Fence {
    task: &'static str,
    epochs: watch::Receiver<Option<u64>>,
}

impl Fence {
    /// Of this task, held under these epochs.
    #[must_use]
    pub const fn new(task: &'static str, epochs: watch::Receiver<Option<u64>>) -> Self {
        Self { task, epochs }
    }

    /// Under what claim the run acts now. If the lease has run out, this waits until it is held again: should another have
    /// it by then, the run is ended here.
    ///
    /// # Errors
    ///
    /// The reservation was given back.
    pub async fn claim(&self) -> Result<Claim, Failure> {
        let held = self.epochs.clone().wait_for(Option::is_some).await.map(|epoch| *epoch);
        match held {
            Ok(Some(epoch)) => Ok(Claim { owner: OWNER.into(), epoch }),
            _ => Err(Failure::Refused { write: 0, why: Refusal::NotHeld { lease: None } }),
        }
    }

    /// The condition that the run still has the task.
    ///
    /// # Errors
    ///
    /// As [`Fence::claim`].
    pub async fn check(&self) -> Result<Write, Failure> {
        let guard = Guard { revision: None, claim: Some(self.claim().await?) };
        Ok(Write::Check { kind: Kind::Task, id: self.task.into(), guard })
    }
}
