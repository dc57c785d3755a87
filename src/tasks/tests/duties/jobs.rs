//! Jobs that nobody needs and nobody does, and tasks that nobody knows.

use culvert_model::record::{Job, JobState, NewUser, Priority, Purpose, Server, Task, UserSecret, Work};
use culvert_model::{Id, Role};
use culvert_records::Kept;

use crate::kit::{Broken, made, organization, server, touch, user};

fn job(id: &str, work: Work, change: impl FnOnce(&mut Job)) -> Job {
    let mut job = Job::new(id.into(), work, Priority::Normal, 1);
    change(&mut job);
    job
}

fn console(id: &str, change: impl FnOnce(&mut Job)) -> Job {
    job(id, Work::ConsoleCertificate, change)
}

fn new_user() -> NewUser {
    let text = r#"{"id":"","name":"bob","email":null,"groups":[],"disabled":false,"pin":false,
        "bypass_secondary":false,"dns_servers":null,"dns_suffix":null}"#;
    let mut user: serde_json::Value = serde_json::from_str(text).expect("JSON");
    user["id"] = Id::new().to_string().into();
    serde_json::from_value(user).expect("a user who is to be made")
}

const fn dead(job: &mut Job) {
    job.state = JobState::Dead;
}

#[tokio::test]
async fn what_nobody_needs_goes() {
    let broken = Broken::new();
    let (staff, office) = (organization(), server(&[]));
    broken.put(&staff).await;
    broken.put(&office).await;
    let damaged = Id::new();
    broken.put_damaged::<Server>(damaged).await;
    let (_, now) = broken.bus.here().await.expect("the bus answers");
    let of = |organization| Work::Certificate { organization, purpose: Purpose::Client };
    let kept = [
        console("open", |_| {}),
        console("dead", dead),
        job("of a newer release, late", Work::Unknown, |job| job.deadline = Some(now - 1)),
        console("in time", |job| job.deadline = Some(now + 60_000)),
        console("dead and late", |job| (job.state, job.deadline) = (JobState::Dead, Some(1))),
        job("dead of staff", of(staff.id), dead),
        job("dead of office", Work::AssignAddresses { server: office.id }, dead),
        job("of nobody", of(Id::new()), |_| {}),
        job("of who knows", Work::AssignAddresses { server: damaged }, dead),
    ];
    let gone = [
        console("cancelled", |job| job.cancelled = true),
        job("cancelled and unknown", Work::Unknown, |job| job.cancelled = true),
        console("late for the pool", |job| (job.deadline, job.priority) = (Some(now - 1), Priority::Low)),
        job("dead of nobody", of(Id::new()), dead),
        job("dead of nowhere", Work::UnassignAddress { server: Id::new(), user: Id::new() }, dead),
    ];
    let late = [
        console("late", |job| job.deadline = Some(now - 1)),
        console("late for ann", |job| {
            (job.deadline, job.priority, job.reserved) = (Some(now - 1), Priority::Low, Some("ann".into()));
        }),
    ];
    // Somebody is doing them.
    let held = [console("held", |job| job.cancelled = true), console("held and late", |job| job.deadline = Some(1))];
    for job in kept.iter().chain(&gone).chain(&late).chain(&held) {
        broken.put(job).await;
    }
    let queue = broken.role(Role::Queue);
    for job in &held {
        let claimed = queue.claim::<Job>(&job.id, None, "queue", 60_000).await.expect("the bus answers");
        assert!(matches!(claimed, Kept::Held(_)));
    }
    assert_eq!(broken.says("jobs").await, "5 jobs and 0 tasks removed, 2 given up");
    for job in &gone {
        assert!(!broken.has::<Job>(&job.id).await, "{}", job.id);
    }
    for job in kept.iter().chain(&held) {
        assert_eq!(&broken.get::<Job>(&job.id).await.record, job);
    }
    for job in &late {
        let found = broken.get::<Job>(&job.id).await;
        assert!(found.record.state == JobState::Dead && found.record.error.is_some() && found.held_for() == 0);
    }
    assert_eq!(broken.says("jobs").await, "0 jobs and 0 tasks removed, 0 given up");
}

#[tokio::test]
async fn a_job_that_is_begun_meanwhile_stays() {
    let broken = Broken::new();
    let cancelled = console("cancelled", |job| job.cancelled = true);
    broken.put(&cancelled).await;
    let queue = broken.role(Role::Queue);
    let claim = async || {
        let claimed = queue.claim::<Job>("cancelled", None, "queue", 60_000).await.expect("the bus answers");
        assert!(matches!(claimed, Kept::Held(_)));
    };
    broken.while_it_watches(claim, "jobs", "0 jobs and 0 tasks removed, 0 given up").await;
    let found = broken.get::<Job>("cancelled").await;
    assert!(found.held_for() > 30_000, "it is still the queue's");

    // Or it is wanted again.
    let wanted = console("wanted", |job| job.cancelled = true);
    broken.put(&wanted).await;
    broken.before_the_next(vec![touch(&Job { cancelled: false, ..wanted })]);
    assert_eq!(broken.says("jobs").await, "0 jobs and 0 tasks removed, 0 given up");
    assert!(broken.has::<Job>("wanted").await);
}

#[tokio::test]
async fn users_who_are_not_made_leave_no_secrets() {
    let broken = Broken::new();
    let (made_already, missing) = (new_user(), new_user());
    broken.put(&culvert_model::record::User { id: made_already.id, ..user(Id::new()) }).await;
    for id in [made_already.id, missing.id] {
        broken.put(&made(|secret: &mut UserSecret| secret.id = id)).await;
    }
    let work = Work::Users { organization: Id::new(), users: vec![made_already.clone(), missing.clone()] };
    broken.put(&job("users", work, |job| job.cancelled = true)).await;
    assert_eq!(broken.says("jobs").await, "1 job and 0 tasks removed, 0 given up");
    assert!(broken.has::<UserSecret>(made_already.id).await && !broken.has::<UserSecret>(missing.id).await);
}

#[tokio::test]
async fn tasks_that_nobody_knows_go_after_a_week() {
    let broken = Broken::new();
    let (_, now) = broken.bus.here().await.expect("the bus answers");
    let week = 7 * 24 * 3_600_000;
    let task = |id: &str, due| made(|task: &mut Task| (task.id, task.due) = (id.into(), due));
    for (id, due) in [("old", now - week - 1), ("newer", now - week + 60_000), ("pools", 1)] {
        broken.put(&task(id, due)).await;
    }
    assert_eq!(broken.says("jobs").await, "0 jobs and 1 task removed, 0 given up");
    let left: Vec<String> = broken.all::<Task>().await.into_iter().map(|task| task.id).collect();
    assert_eq!(left, ["newer", "pools"]);
}
