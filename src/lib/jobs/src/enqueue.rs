//! Enqueueing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use culvert_model::HostId;
use culvert_model::record::{Host, HostStatus, Job};
use culvert_records::{BATCH, Bus, Failure, Query, Refusal, Stored, insert};

use crate::anew;
use crate::spread::{Given, Load, Spread};

/// How many open jobs are looked at to see what the hosts have: the most urgent ones. Behind so many a job waits longer
/// than for a preferred host.
const GLANCE: u16 = 500;

/// What this process gave to each host.
static GIVEN: Mutex<Given> = Mutex::new(Given::new());

/// What came of enqueueing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// Jobs that are new.
    pub enqueued: usize,
    /// Jobs that were there already.
    pub there: usize,
}

/// Enqueues jobs, unless they are there already: a job's id is its idempotency key. Each gets the host that is to take it.
/// To be called again after a failure; what was enqueued by then is there, or done: work that is wanted once whatever happens
/// has to look for its result first, as the queue does.
///
/// # Errors
///
/// The store can't be reached, or the caller may not do that.
pub async fn enqueue(bus: &Bus, jobs: Vec<Job>) -> Result<Enqueued, Failure> {
    batches(bus, jobs, There::Left).await
}

/// As [`enqueue`], of jobs that are to be done from now on, whatever became of the same ones before: one that was given up
/// is begun anew, what is open becomes as urgent as this and as much, and what ends in this moment is done once more.
///
/// # Errors
///
/// The store can't be reached, others change the same jobs all the time, or the caller may not do that.
pub async fn demand(bus: &Bus, jobs: Vec<Job>) -> Result<Enqueued, Failure> {
    batches(bus, jobs, There::Merged).await
}

/// What becomes of a job that is there already.
#[derive(Clone, Copy)]
enum There {
    Left,
    Merged,
}

async fn batches(bus: &Bus, mut jobs: Vec<Job>, there: There) -> Result<Enqueued, Failure> {
    let mut done = Enqueued::default();
    if jobs.is_empty() {
        return Ok(done);
    }
    place(bus, &mut jobs).await?;
    for batch in jobs.chunks(BATCH) {
        match bus.write(batch.iter().map(insert).collect()).await {
            Ok(_) => done.enqueued += batch.len(),
            Err(Failure::Refused { why: Refusal::Exists, .. }) => one_by_one(bus, batch, there, &mut done).await?,
            Err(failure) => return Err(failure),
        }
    }
    Ok(done)
}

/// Gives each job the host that is to take it: for who enqueues it in one batch with other writes.
///
/// # Errors
///
/// The store can't be reached, or the caller may not do that.
pub async fn place(bus: &Bus, jobs: &mut [Job]) -> Result<(), Failure> {
    let loads = loads(bus).await?;
    let mut given = given();
    let mut spread = Spread::over(loads, &mut given);
    for job in jobs {
        job.preferred = spread.next(&job.id);
    }
    Ok(())
}

fn given() -> MutexGuard<'static, Given> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of them at least is there already. One that is damaged is reported when the others are enqueued.
async fn one_by_one(bus: &Bus, jobs: &[Job], there: There, done: &mut Enqueued) -> Result<(), Failure> {
    let mut damaged = None;
    for job in jobs {
        let new = match there {
            There::Merged => match anew::demand(bus, job).await {
                Err(failure @ Failure::Invalid(_)) => {
                    damaged = Some(failure);
                    continue;
                }
                demanded => demanded?,
            },
            There::Left => match bus.insert(job).await {
                Err(Failure::Refused { why: Refusal::Exists, .. }) => false,
                inserted => inserted.map(|()| true)?,
            },
        };
        if new {
            done.enqueued += 1;
        } else {
            done.there += 1;
            job.preferred.into_iter().for_each(|host| given().take_back(host));
        }
    }
    damaged.map_or(Ok(()), Err)
}

/// The hosts that are online, and the open jobs: the most urgent ones, if there are very many.
///
/// # Errors
///
/// The store can't be reached, or the caller may not do that.
pub async fn glance(bus: &Bus) -> Result<(Vec<Host>, Vec<Stored<Job>>), Failure> {
    let hosts = bus.list::<Host>(Query::all()).await?.into_iter().map(|stored| stored.record);
    let online = hosts.filter(|host| host.status == HostStatus::Online).collect();
    let open = bus.find::<Job>(Query::by("by_state").equal("open").limit(GLANCE)).await?.items;
    Ok((online, open))
}

/// The hosts that are online, with the open jobs that each of them does or is to do.
async fn loads(bus: &Bus) -> Result<Vec<Load>, Failure> {
    let (online, open) = glance(bus).await?;
    let mut counts: BTreeMap<HostId, u64> = BTreeMap::new();
    for host in open.iter().filter_map(host_of) {
        *counts.entry(host).or_default() += 1;
    }
    let load = |host: Host| Load { host: host.id, cores: host.cores, open: counts.get(&host.id).copied().unwrap_or(0) };
    Ok(online.into_iter().map(load).collect())
}

/// Whoever holds the job, or else whoever is to take it.
fn host_of(job: &Stored<Job>) -> Option<HostId> {
    let holder = job.lease.as_ref().filter(|lease| lease.left > 0);
    holder.map(|lease| lease.host).or(job.record.preferred)
}
