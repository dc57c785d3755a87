//! Moving a server's users into another network. Only the last batch makes it so; a job that is given up leaves the rest
//! to [`super::assign_all`].

use std::collections::BTreeSet;

use culvert_model::Id;
use culvert_model::record::{Job, Priority, Progress, Server, Work};
use culvert_records::{BATCH, Query, Write, update};
use ipnet::Ipv4Net;

use super::held;
use super::plan::Move;
use crate::Desk;
use crate::claimed::Claimed;
use crate::work::Trouble;

/// Moves a server into another network.
pub async fn move_all(claimed: &mut Claimed, id: Id, [old, new]: [Ipv4Net; 2]) -> Result<Vec<Write>, Trouble> {
    let desk = claimed.desk.clone();
    let Some(stored) = desk.bus.get::<Server>(id).await? else { return Ok(Vec::new()) };
    let Server { network, online, ref network_lock, .. } = stored.record;
    let job = claimed.id().to_owned();
    // A job that was given up and is tried again has no lock any more.
    let ours = network_lock.as_ref().is_none_or(|lock| *lock == job);
    if network != old || online || !ours {
        return Ok(Vec::new());
    }
    let others = desk.bus.list::<Server>(Query::by("by_name")).await?;
    let overlaps = |other: Ipv4Net| other.contains(&new) || new.contains(&other);
    if others.iter().any(|other| other.record.id != id && overlaps(other.record.network)) {
        return Err(Trouble::Failed(format!("The network {new} belongs to another server by now.")));
    }
    stage(claimed, id, [old, new]).await?;
    let moved = Server { network: new, network_lock: Some(job), ..stored.record.clone() };
    Ok(vec![update(&moved, stored.unchanged()), assign_now(&desk, id).await?])
}

/// Writes beside each address the one that it becomes.
async fn stage(claimed: &mut Claimed, server: Id, [old, new]: [Ipv4Net; 2]) -> Result<(), Trouble> {
    let desk = claimed.desk.clone();
    let mut current = BTreeSet::new();
    let mut pages = held(&desk, server);
    while let Some(page) = pages.next().await? {
        current.extend(page.iter().map(|held| Move::current(old, &held.record)));
    }
    let given = current.len() as u64;
    let plan = Move::plan(&current, [old, new]).ok_or_else(|| {
        Trouble::Failed(format!("The network {new} has too few addresses for the {given} that are given away."))
    })?;
    drop(current);
    let mut done = 0;
    let mut pages = held(&desk, server);
    while let Some(page) = pages.next().await? {
        for some in page.chunks(BATCH) {
            done += some.len() as u64;
            claimed.put(plan.stage(some), Some(Progress { done, of: Some(given) })).await?;
        }
    }
    Ok(())
}

/// Has the server unlocked, if it still waits for this job.
pub async fn give_up_move(desk: &Desk, job: &Job, server: Id) -> Result<Vec<Write>, Trouble> {
    let stored = desk.bus.get::<Server>(server).await?;
    match stored.is_some_and(|stored| stored.record.network_lock.as_ref() == Some(&job.id)) {
        true => Ok(vec![assign_now(desk, server).await?]),
        false => Ok(Vec::new()),
    }
}

async fn assign_now(desk: &Desk, server: Id) -> Result<Write, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let job = Job::new(Job::of_addresses(server), Work::AssignAddresses { server }, Priority::High, now);
    Ok(culvert_jobs::anew(&desk.bus, job).await?)
}
