//! Jobs that are to be done after they were asked for, whatever became of the same job before: one at a time is enough.

use culvert_model::record::{Job, JobState};
use culvert_records::{Bus, Failure, Write, insert, update};

/// How often one is tried that others change all the time.
const TRIES: usize = 10;

/// The write that enqueues a job, to be done together with what makes it necessary. If the job is there already, it is
/// written once more: whoever is doing it finds it changed when the result is to be written, and looks again.
///
/// # Errors
///
/// The store can't be reached, or the caller may not read jobs.
pub async fn anew(bus: &Bus, job: Job) -> Result<Write, Failure> {
    Ok(match bus.get::<Job>(&job.id).await? {
        None => insert(&job),
        Some(there) => update(&merged(&there.record, &job), there.unchanged()),
    })
}

/// Enqueues a job. Where it is there already and no less than this one, that is enough. Whether there is one that was not
/// there, or was given up.
pub async fn demand(bus: &Bus, job: &Job) -> Result<bool, Failure> {
    let mut tries = 1;
    loop {
        let there = bus.get::<Job>(&job.id).await?;
        let new = there.as_ref().is_none_or(|there| given_up(&there.record));
        let written = match there {
            None => bus.insert(job).await,
            Some(mut there) => {
                let merged = merged(&there.record, job);
                if merged == there.record {
                    return Ok(false);
                }
                there.record = merged;
                bus.update(&mut there).await
            }
        };
        match written {
            // It was begun, has ended, or somebody else enqueued it.
            Err(Failure::Refused { .. }) if tries < TRIES => tries += 1,
            written => return written.map(|()| new),
        }
    }
}

/// Whether nobody will do it.
fn given_up(job: &Job) -> bool {
    job.state == JobState::Dead || job.cancelled
}

/// What is to be there when one is there and another of the same id is wanted.
fn merged(there: &Job, job: &Job) -> Job {
    if given_up(there) {
        let begun = there.begun.filter(|_| there.state == JobState::Dead);
        return Job { begun, error: there.error.clone(), ..job.clone() };
    }
    Job {
        work: there.work.with(&job.work),
        not_before: job.not_before.min(there.not_before),
        priority: job.priority.min(there.priority),
        ..there.clone()
    }
}

#[cfg(test)]
mod tests {
    use culvert_model::Id;
    use culvert_model::record::{Priority, Work};

    use super::*;

    fn renewal(certificate: Id, immediate: bool, compromised: bool, priority: Priority) -> Job {
        let work = Work::Renew { certificate, immediate, compromised };
        Job::new(format!("renew/{certificate}"), work, priority, 7)
    }

    #[test]
    fn what_is_open_becomes_as_much_as_either() {
        let id = Id::new();
        let plain = Job { attempts: 2, not_before: 9, ..renewal(id, false, false, Priority::Low) };
        let all = merged(&plain, &renewal(id, true, true, Priority::Normal));
        let expected =
            Job { work: Work::Renew { certificate: id, immediate: true, compromised: true }, ..plain.clone() };
        assert_eq!(all, Job { priority: Priority::Normal, not_before: 0, ..expected });
        assert_eq!(merged(&all, &renewal(id, false, false, Priority::Low)), all, "nothing less");
        assert_eq!(merged(&all, &renewal(id, true, false, Priority::High)).work, all.work);
    }

    #[test]
    fn what_was_given_up_is_begun_anew() {
        let id = Id::new();
        let wanted = renewal(id, true, true, Priority::Normal);
        let plain = Job { attempts: 5, error: Some("no room".into()), ..renewal(id, false, false, Priority::High) };
        for gone in [Job { state: JobState::Dead, ..plain.clone() }, Job { cancelled: true, ..plain }] {
            assert_eq!(merged(&gone, &wanted), Job { error: Some("no room".into()), ..wanted.clone() });
        }
    }
}
