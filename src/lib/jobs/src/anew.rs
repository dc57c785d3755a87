//! Jobs that bring something up to date, whatever it takes: one at a time is enough.

use culvert_model::record::{Job, JobState};
use culvert_records::{Bus, Failure, Write, insert, update};

/// The write that enqueues a job, to be done together with what makes it necessary. If the job is there already, it is
/// written once more: whoever is doing it finds it changed when the result is to be written, and looks again.
///
/// # Errors
///
/// The store can't be reached, or the caller may not read jobs.
pub async fn anew(bus: &Bus, job: Job) -> Result<Write, Failure> {
    Ok(match bus.get::<Job>(&job.id).await? {
        None => insert(&job),
        Some(dead) if dead.record.state == JobState::Dead => update(&job, dead.unchanged()),
        Some(open) => {
            let not_before = job.not_before.min(open.record.not_before);
            let priority = job.priority.min(open.record.priority);
            update(&Job { not_before, priority, ..open.record.clone() }, open.unchanged())
        }
    })
}
