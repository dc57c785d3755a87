//! Moving a server's users into another network. Only the last batch makes it so; a job that is given up leaves the rest
//! to [`super::assign_all`].

use std::collections::BTreeSet;

use culvert_model::Id;
use culvert_model::network::overlap;
use culvert_model::record::{Job, Networks, Priority, Progress, Server, Work};
use culvert_records::{BATCH, Query, Stored, Write, update};
use ipnet::Ipv4Net;

use super::held;
use super::plan::Move;
use crate::Desk;
use crate::claimed::Claimed;
use crate::work::Trouble;

/// Moves a server into another network, unless another has that by then.
///
/// Several may want it at the same time: the first to be ready has it. The other's last batch is refused then, and it
/// looks again.
pub async fn move_all(claimed: &mut Claimed, id: Id, [old, new]: [Ipv4Net; 2]) -> Result<Vec<Write>, Trouble> {
    let desk = claimed.desk.clone();
    let Some(stored) = locked(claimed, id, old).await? else {
        return give_up_move(&desk, &claimed.job.record, id).await;
    };
    vacant(&desk, id, new).await?;
    stage(claimed, id, [old, new]).await?;
    let turn = desk.bus.turn::<Networks>().await?;
    vacant(&desk, id, new).await?;
    let moved = Server { network: new, ..stored.record.clone() };
    Ok(vec![update(&moved, stored.unchanged()), assign_now(&desk, id).await?, turn])
}

/// The server, locked for this job. A job that was given up and is tried again has no lock any more. None, if there is
/// nothing to move.
async fn locked(claimed: &mut Claimed, id: Id, old: Ipv4Net) -> Result<Option<Stored<Server>>, Trouble> {
    let desk = claimed.desk.clone();
    loop {
        let Some(stored) = desk.bus.get::<Server>(id).await? else { return Ok(None) };
        let server = &stored.record;
        if server.network != old || server.online {
            return Ok(None);
        }
        match &server.network_lock {
            Some(lock) => return Ok((lock == claimed.id()).then_some(stored)),
            None => {
                let locked = Server { network_lock: Some(claimed.id().into()), ..server.clone() };
                claimed.put_at_once(vec![update(&locked, stored.unchanged())]).await?;
            }
        }
    }
}

/// Fails if another server has a network that overlaps with this one.
async fn vacant(desk: &Desk, id: Id, new: Ipv4Net) -> Result<(), Trouble> {
    let mut pages = desk.bus.pages::<Server>(Query::all());
    while let Some(page) = pages.next().await? {
        if page.iter().any(|other| other.record.id != id && overlap(other.record.network, new)) {
            return Err(Trouble::Hopeless(format!("The network {new} belongs to another server by now.")));
        }
    }
    Ok(())
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
        Trouble::Hopeless(format!("The network {new} has too few addresses for the {given} that are given away."))
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
