//! Servers whose network is locked for a job that does not move it any more.
//!
//! What such a job has left half done, the job that gives a server's users their addresses mends, and then it unlocks the
//! network: whoever ends a move enqueues it. Here that is done for those who could not.

use culvert_model::record::{Job, JobState, Server};
use culvert_records::{Failure, Query};

use super::{Done, addresses, counted};
use crate::desk::Desk;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let mut over = 0;
    for server in desk.all::<Server>(Query::all()).await? {
        let Some(job) = &server.record.network_lock else { continue };
        if !moves(desk, job).await? {
            over += u64::from(addresses::settle(desk, &server).await?);
        }
    }
    Ok(Done::of(format!("{} to be unlocked", counted(over, "network"))))
}

/// Whether somebody still moves the network. Of a job that cannot be read, an administrator is told.
async fn moves(desk: &Desk<'_>, job: &str) -> Result<bool, Failure> {
    match desk.bus.get::<Job>(job).await {
        Ok(found) => Ok(found.is_some_and(|job| job.record.state == JobState::Open && !job.record.cancelled)),
        Err(Failure::Invalid(_)) => Ok(true),
        Err(failure) => Err(failure),
    }
}
