//! Jobs that nobody needs any more and nobody does, and the records of tasks that no release has any more.
//!
//! The queue clears up by itself what was cancelled or is too late, and takes back what was half done. Here goes what no
//! queue has touched for a while: perhaps none is left that knows the kind of work.

use std::collections::BTreeSet;

use culvert_model::record::{Job, JobState, Organization, Priority, Server, Task, User, UserSecret, Work};
use culvert_model::{Id, Millis};
use culvert_records::{Failure, Guard, Query, Stored, Write, delete, update};

use super::{DUTIES, Done, counted};
use crate::desk::{Desk, WATCHED};

/// How long a task is kept that nobody attends to: hosts of an older release may have it, milliseconds.
const FORGOTTEN: Millis = 7 * 24 * 3_600_000;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let suspects = suspects(desk).await?;
    if !suspects.is_empty() {
        desk.watch().await;
    }
    let (mut removed, mut given_up) = (0, 0);
    for (job, fate) in &suspects {
        let done = if *fate == Fate::Remove { &mut removed } else { &mut given_up };
        *done += u64::from(end(desk, job, *fate).await?);
    }
    let forgotten = counted(tasks(desk).await?, "task");
    let text = format!("{} and {forgotten} removed, {given_up} given up", counted(removed, "job"));
    Ok(Done::of(text).or_more(suspects.len() >= WATCHED))
}

/// What is to become of a job that nobody touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody needs it.
    Remove,
    /// It is too late, which an administrator is to see.
    Die,
}

/// Jobs that nobody holds and nobody will end, as many as can be watched.
async fn suspects(desk: &Desk<'_>) -> Result<Vec<(Stored<Job>, Fate)>, Failure> {
    let mut suspects = Vec::new();
    let mut pages = desk.bus.pages::<Job>(Query::by("by_state"));
    while let Some(mut page) = pages.next().await? {
        page.retain(|job| job.held_for() == 0);
        let pointless = pointless(desk, &page).await?;
        let fate = |job: &Job| {
            // What this release does not know of a newer one's would be lost.
            let late = job.work != Work::Unknown
                && job.state == JobState::Open
                && job.deadline.is_some_and(|deadline| deadline < desk.now);
            let fills = job.priority == Priority::Low && job.reserved.is_none();
            if job.cancelled || pointless.contains(&job.id) || (late && fills) {
                Some(Fate::Remove)
            } else {
                late.then_some(Fate::Die)
            }
        };
        suspects.extend(page.into_iter().filter_map(|job| fate(&job.record).map(|fate| (job, fate))));
        if suspects.len() >= WATCHED {
            suspects.truncate(WATCHED);
            break;
        }
    }
    Ok(suspects)
}

/// The jobs that died and whose organisation or server is gone. Of others, the queue finds that out when it does them.
async fn pointless(desk: &Desk<'_>, jobs: &[Stored<Job>]) -> Result<BTreeSet<String>, Failure> {
    let dead = || jobs.iter().map(|job| &job.record).filter(|job| job.state == JobState::Dead);
    let ids = |of: fn(&Job) -> Option<Id>| dead().filter_map(of).map(|id| id.to_string()).collect::<BTreeSet<_>>();
    let organizations = desk.absent::<Organization>(&ids(|job| job.work.organization())).await?;
    let servers = desk.absent::<Server>(&ids(server)).await?;
    let gone = |id: Option<Id>, gone: &BTreeSet<String>| id.is_some_and(|id| gone.contains(&id.to_string()));
    let pointless = dead().filter(|job| gone(job.work.organization(), &organizations) || gone(server(job), &servers));
    Ok(pointless.map(|job| job.id.clone()).collect())
}

/// The server that a job is about.
const fn server(job: &Job) -> Option<Id> {
    match job.work {
        Work::AssignPool { server, .. }
        | Work::AssignAddresses { server }
        | Work::AssignAddress { server, .. }
        | Work::UnassignAddress { server, .. } => Some(server),
        _ => None,
    }
}

/// Under its lease: whoever begins it in this moment holds it.
async fn end(desk: &Desk<'_>, found: &Stored<Job>, fate: Fate) -> Result<bool, Failure> {
    let done = desk.settle(found, |guard| vec![ending(&found.record, fate, guard)]).await?;
    if done
        && fate == Fate::Remove
        && let Work::Users { users, .. } = &found.record.work
    {
        forget_secrets(desk, users.iter().map(|user| user.id.to_string()).collect()).await?;
    }
    Ok(done)
}

fn ending(job: &Job, fate: Fate, guard: Guard) -> Write {
    if fate == Fate::Remove {
        return delete::<Job>(&job.id, guard);
    }
    let error = Some("It was not begun by its deadline. Retry it if it is still needed, or discard it.".into());
    update(&Job { state: JobState::Dead, error, ..job.clone() }, guard)
}

/// The secrets of users were there before the job that was to make them. Whoever was made keeps them.
async fn forget_secrets(desk: &Desk<'_>, users: BTreeSet<String>) -> Result<(), Failure> {
    for user in desk.absent::<User>(&users).await? {
        desk.erase::<UserSecret>(user).await?;
    }
    Ok(())
}

async fn tasks(desk: &Desk<'_>) -> Result<u64, Failure> {
    let mut tasks = desk.all::<Task>(Query::all()).await?;
    tasks.retain(|task| {
        let known = DUTIES.iter().any(|duty| duty.name == task.record.id);
        !known && task.held_for() == 0 && task.record.due + FORGOTTEN < desk.now
    });
    desk.remove(&tasks, &[]).await
}
