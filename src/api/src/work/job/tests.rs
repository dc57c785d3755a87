//! Every action on a job in every state.

use culvert_model::HostId;
use culvert_records::Lease;

use super::*;

fn job(work: Work, state: record::JobState, held: bool) -> Stored<Job> {
    let record =
        Job { state, attempts: 5, error: Some("no room".into()), ..Job::new("a".into(), work, Priority::Low, 7) };
    let lease = held.then(|| Lease { host: HostId::new(), owner: "queue".into(), epoch: 1, left: 5 });
    Stored { record, revision: 3, lease }
}

/// What becomes of the job, or the error's id.
fn done(action: JobAction, found: &Stored<Job>) -> Result<Option<Job>, String> {
    match step(action, found) {
        Ok(Write::Update { body, guard, .. }) => {
            assert_eq!(guard, found.unchanged());
            Ok(Some(serde_json::from_slice(&body).expect("a job")))
        }
        Ok(Write::Delete { guard, .. }) => {
            assert_eq!(guard, found.unchanged());
            Ok(None)
        }
        Ok(other) => panic!("{other:?}"),
        Err(no) => Err(no.id.into()),
    }
}

#[test]
fn dead_ones_are_retried_or_discarded() {
    let dead = job(Work::SpareCa, record::JobState::Dead, false);
    let again = done(JobAction::Retry, &dead).expect("it may").expect("it stays");
    assert_eq!((again.state, again.attempts, again.error.as_deref()), (record::JobState::Open, 0, Some("no room")));
    assert_eq!(done(JobAction::Discard, &dead), Ok(None));
    for action in [JobAction::Cancel, JobAction::Raise] {
        assert_eq!(done(action, &dead), Err("job_dead".into()));
    }
}

#[test]
fn open_ones_are_cancelled_or_raised() {
    let waiting = job(Work::SpareCa, record::JobState::Open, false);
    let running = job(Work::SpareCa, record::JobState::Open, true);
    assert_eq!(done(JobAction::Cancel, &waiting), Ok(None), "nobody else would remove it");
    assert!(done(JobAction::Cancel, &running).expect("it may").expect("its host removes it").cancelled);
    let raised = done(JobAction::Raise, &running).expect("it may").expect("it stays");
    assert_eq!(raised.priority, Priority::Normal);
    let high = Stored { record: Job { priority: Priority::High, ..raised }, ..running };
    assert_eq!(done(JobAction::Raise, &high), Err("job_urgent".into()));
    for action in [JobAction::Retry, JobAction::Discard] {
        assert_eq!(done(action, &waiting), Err("job_not_dead".into()));
    }
}

/// What went down with its process is begun alone the next time, too.
#[test]
fn suspects_stay_suspects() {
    let mut dead = job(Work::SpareCa, record::JobState::Dead, false);
    dead.record.begun = Some(9);
    let again = done(JobAction::Retry, &dead).expect("it may").expect("it stays");
    assert_eq!((again.state, again.attempts, again.begun), (record::JobState::Open, 0, Some(9)));
}

/// Else the secrets of users who are never made would stay, or the lock of a server.
#[test]
fn what_leaves_something_in_the_store_is_removed_by_the_queue() {
    let work = Work::Users { organization: culvert_model::Id::new(), users: Vec::new() };
    let dead = job(work.clone(), record::JobState::Dead, false);
    let waiting = job(work, record::JobState::Open, false);
    for (action, found) in [(JobAction::Discard, dead), (JobAction::Cancel, waiting)] {
        let cancelled = done(action, &found).expect("it may").expect("it stays until then");
        assert_eq!((cancelled.state, cancelled.cancelled), (record::JobState::Open, true));
    }
}

/// Written by this release, it would not be what it was.
#[test]
fn what_a_newer_release_enqueued_is_never_written() {
    let dead = job(Work::Unknown, record::JobState::Dead, false);
    assert_eq!(done(JobAction::Retry, &dead), Err("job_unknown".into()));
    assert_eq!(done(JobAction::Discard, &dead), Ok(None));
    let running = job(Work::Unknown, record::JobState::Open, true);
    for action in [JobAction::Cancel, JobAction::Raise] {
        assert_eq!(done(action, &running), Err("job_unknown".into()));
    }
    assert_eq!(done(JobAction::Cancel, &job(Work::Unknown, record::JobState::Open, false)), Ok(None));
}

#[test]
fn where_jobs_are() {
    let of = |held, paused, cancelled| {
        let mut found = job(Work::SpareCa, record::JobState::Open, held);
        (found.record.paused, found.record.cancelled) = (paused, cancelled);
        state(&found)
    };
    assert_eq!(of(false, false, false), JobState::Waiting);
    assert_eq!(of(false, true, false), JobState::Waiting, "its host is gone");
    assert_eq!(of(true, false, false), JobState::Running);
    assert_eq!(of(true, true, false), JobState::Paused);
    assert_eq!(of(true, true, true), JobState::Cancelled);
    assert_eq!(state(&job(Work::SpareCa, record::JobState::Dead, false)), JobState::Dead);
}
