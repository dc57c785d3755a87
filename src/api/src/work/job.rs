//! Jobs: the list, and what can be done with one.

use culvert_contract::JobAction;
use culvert_contract::reply::{self, JobState};
use culvert_model::Millis;
use culvert_model::record::{self, Job, Priority, Work};
use culvert_records::{Failure, Query, Stored, Write, delete, update};

use super::named;
use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::Caller;

/// The most jobs that are looked at.
const MOST: usize = 10_000;

/// Jobs that were given up, then those that are open, most urgent first: the first of them, if they are very many.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<reply::Jobs> {
    let now = api.now().await?;
    let (jobs, truncated) = first(api).await?;
    Ok(reply::Jobs { jobs: jobs.into_iter().map(|found| show(found, now)).collect(), truncated })
}

/// All jobs, or the first of them and that there are more.
///
/// # Errors
///
/// The store can't be reached.
pub async fn first(api: &Api) -> Answer<(Vec<Stored<Job>>, bool)> {
    let mut all = Vec::new();
    let mut query = Query::by("by_state");
    loop {
        let page = api.bus.find::<Job>(query.clone()).await?;
        all.extend(page.items);
        match page.next {
            Some(next) if all.len() < MOST => query = query.after(Some(next)),
            next => return Ok((all, next.is_some())),
        }
    }
}

/// Where a job is.
pub fn state(job: &Stored<Job>) -> JobState {
    let Job { state, cancelled, paused, .. } = job.record;
    match (state, job.held_for()) {
        (record::JobState::Dead, _) => JobState::Dead,
        _ if cancelled => JobState::Cancelled,
        (_, 0) => JobState::Waiting,
        _ if paused => JobState::Paused,
        _ => JobState::Running,
    }
}

fn show(found: Stored<Job>, now: Millis) -> reply::Job {
    let state = state(&found);
    let host = found.lease.as_ref().filter(|lease| lease.left > 0).map(|lease| lease.host);
    let mut job = found.record;
    let begun = job.begun.filter(|_| host.is_some());
    if let Work::Users { users, .. } = &mut job.work {
        // Hundreds of jobs of a hundred users each are no list that anybody reads.
        users.clear();
    }
    reply::Job {
        id: job.id,
        work: job.work,
        priority: job.priority.into(),
        state,
        created: job.created,
        age: now.saturating_sub(job.created),
        not_before: job.not_before,
        deadline: job.deadline,
        attempts: job.attempts,
        begun,
        duration: begun.map(|begun| now.saturating_sub(begun)),
        progress: job.progress,
        preferred: job.preferred,
        host,
        awaited: job.reserved.is_some(),
        reason: job.error,
    }
}

/// Does something with a job.
///
/// # Errors
///
/// That can't be done with it as it is, it is not there, or the store can't be reached. Nothing was changed.
pub async fn change(api: &Api, caller: &Caller, action: JobAction, id: &str) -> Answer<()> {
    for _ in 0..5 {
        let found = named::<Job>(api, id, "job").await?;
        match api.bus.write(vec![step(action, &found)?]).await {
            Ok(_) => {
                let done = match action {
                    JobAction::Retry => "is tried again",
                    JobAction::Discard => "was discarded",
                    JobAction::Cancel => "was cancelled",
                    JobAction::Raise => "was made more urgent",
                };
                api.note(format!("The job {id} {done}, as {} wants it.", caller.admin.username)).await;
                return Ok(());
            }
            // Somebody else changed it: that it can still be done is to be looked at again.
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(No::raced())
}

/// Whether more than the job itself is in the store on its account, which the queue takes back.
const fn leaves(work: &Work) -> bool {
    matches!(work, Work::Users { .. } | Work::AssignPool { .. })
}

/// The write that does it, if the job is still as it was found.
fn step(action: JobAction, found: &Stored<Job>) -> Answer<Write> {
    let job = &found.record;
    let dead = job.state == record::JobState::Dead;
    let held = found.held_for() > 0;
    let remove = || Ok(delete::<Job>(&job.id, found.unchanged()));
    let rewrite = |new: Job| match job.work {
        // What this release does not know of it would be lost.
        Work::Unknown => Err(No::bad(
            "job_unknown",
            "This job is of a newer release: it is done by a host of that release, which can also change it. Here it can \
             only be discarded when it is dead, or cancelled while nobody does it.",
        )),
        _ => Ok(update(&new, found.unchanged())),
    };
    match action {
        JobAction::Retry | JobAction::Discard if !dead => {
            let text =
                "Only a job that is dead can be retried or discarded. This one is still open: wait, or cancel it.";
            Err(No::bad("job_not_dead", text))
        }
        JobAction::Cancel | JobAction::Raise if dead => {
            Err(No::bad("job_dead", "This job is dead: nobody does it. Retry it, or discard it."))
        }
        JobAction::Retry => rewrite(Job {
            reserved: job.reserved.clone(),
            preferred: job.preferred,
            error: job.error.clone(),
            // What went down with its process is begun alone. It has rested since.
            begun: job.begun,
            ..Job::new(job.id.clone(), job.work.clone(), job.priority, job.created)
        }),
        JobAction::Discard if !leaves(&job.work) => remove(),
        JobAction::Cancel if !leaves(&job.work) && !held => remove(),
        // Whoever does it stops, takes back what is to be taken back, and removes it.
        JobAction::Discard | JobAction::Cancel => {
            rewrite(Job { state: record::JobState::Open, cancelled: true, not_before: 0, ..job.clone() })
        }
        JobAction::Raise => match job.priority {
            Priority::High => Err(No::bad("job_urgent", "Nothing is more urgent than this job already is.")),
            Priority::Normal => rewrite(Job { priority: Priority::High, ..job.clone() }),
            Priority::Low | Priority::Lowest => rewrite(Job { priority: Priority::Normal, ..job.clone() }),
        },
    }
}

#[cfg(test)]
mod tests;
