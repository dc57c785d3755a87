//! Jobs, tasks and pools, as an administrator sees and changes them.

use std::time::Duration;

use culvert_model::Role;
use culvert_model::record::{Job, JobState, Priority, Task, Work};
use culvert_records::{Kept, Query};
use serde_json::{Value, json};

use crate::kit::{Console, World};

async fn job(world: &World, console: &Console, id: &str) -> Value {
    let jobs = world.get(console, "/v1/jobs").await.good();
    jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == id).cloned()).unwrap_or_default()
}

pub async fn act(world: &World, console: &Console, action: &str, id: &str) -> crate::kit::Answered {
    world.ask(console, "PUT", &format!("/v1/jobs/{action}"), Some(json!({ "id": id }))).await
}

#[tokio::test]
async fn jobs_are_shown_and_changed() {
    let world = World::new().await;
    let console = world.log_in().await;
    let queue = world.has(Role::Queue);
    let now = world.api.now().await.expect("a time");
    let new = |id: &str| Job::new(id.into(), Work::SpareCa, Priority::Low, now - 5_000);
    let dead = Job { state: JobState::Dead, attempts: 5, error: Some("no entropy".into()), ..new("authority/1") };
    queue.insert(&dead).await.expect("a new job");
    queue.insert(&new("authority/0")).await.expect("a new job");

    let shown = job(&world, &console, "authority/1").await;
    assert_eq!(
        (&shown["state"], &shown["reason"], &shown["attempts"]),
        (&json!("dead"), &json!("no entropy"), &json!(5))
    );
    let shown = job(&world, &console, "authority/0").await;
    assert_eq!(
        (&shown["state"], &shown["what"], &shown["host"], &shown["duration"]),
        (&json!("waiting"), &json!("spare_ca"), &Value::Null, &Value::Null)
    );
    assert!(shown["age"].as_u64().is_some_and(|age| (5_000..60_000).contains(&age)), "{shown}");
    let Kept::Held(mut held) = queue.claim::<Job>("authority/0", None, "test", 60_000).await.expect("a store") else {
        panic!("nobody else has it")
    };
    held.record.paused = true;
    held.record.begun = Some(now - 3_000);
    queue.update(&mut held).await.expect("nobody else changes it");
    let host = world.api.host().await.expect("a host");
    let shown = job(&world, &console, "authority/0").await;
    assert_eq!((&shown["state"], &shown["host"]), (&json!("paused"), &json!(host)));
    assert_eq!(shown["begun"], now - 3_000);
    assert!(shown["duration"].as_u64().is_some_and(|duration| (3_000..60_000).contains(&duration)), "{shown}");

    // What is refused changes nothing.
    for (action, id, status, why) in [
        ("retry", "authority/0", 400, "job_not_dead"),
        ("discard", "authority/0", 400, "job_not_dead"),
        ("cancel", "authority/1", 400, "job_dead"),
        ("raise", "authority/1", 400, "job_dead"),
        ("retry", "authority/2", 404, "not_found"),
        ("retry", "", 404, "not_found"),
    ] {
        let before = queue.list::<Job>(Query::all()).await.expect("jobs");
        assert_eq!(act(&world, &console, action, id).await.bad(status), why, "{action} {id}");
        let revisions = |jobs: &[culvert_records::Stored<Job>]| jobs.iter().map(|job| job.revision).collect::<Vec<_>>();
        assert_eq!(revisions(&queue.list::<Job>(Query::all()).await.expect("jobs")), revisions(&before));
    }

    act(&world, &console, "raise", "authority/0").await.good();
    assert_eq!(job(&world, &console, "authority/0").await["priority"], 1);
    act(&world, &console, "cancel", "authority/0").await.good();
    assert_eq!(job(&world, &console, "authority/0").await["state"], "cancelled");
    act(&world, &console, "retry", "authority/1").await.good();
    let shown = job(&world, &console, "authority/1").await;
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("waiting"), &json!(0)));
    act(&world, &console, "cancel", "authority/1").await.good();
    assert_eq!(job(&world, &console, "authority/1").await, Value::Null, "nobody did it: it is gone");
    queue.insert(&dead).await.expect("a new job");
    act(&world, &console, "discard", "authority/1").await.good();
    assert_eq!(job(&world, &console, "authority/1").await, Value::Null);
    let log = world.get(&console, "/log").await.good().to_string();
    assert!(log.contains("The job authority/1 was discarded, as admin wants it."), "{log}");
}

/// A list that ends before its end says so.
#[tokio::test]
async fn of_very_many_jobs_the_first_are_shown() {
    const MOST: usize = 10_000;
    let world = World::new().await;
    let console = world.log_in().await;
    let new = |number| Job::new(format!("authority/{number}"), Work::SpareCa, Priority::Low, 1);
    for (more, truncated) in [(0..MOST, false), (MOST..MOST + 1, true)] {
        world.enqueue(more.map(new)).await;
        let answer = world.get(&console, "/v1/jobs").await;
        assert_eq!(answer.good().as_array().map(Vec::len), Some(MOST));
        assert_eq!(answer.headers.get("culvert-truncated").is_some_and(|value| value == "true"), truncated);
    }
}

#[tokio::test]
async fn tasks_are_shown_and_run() {
    let world = World::new().await;
    let console = world.log_in().await;
    let tasks = world.has(Role::Tasks);
    let none = Task {
        id: "pools".into(),
        due: u64::MAX / 4,
        attempts: 0,
        finished: Some(9),
        succeeded: Some(7),
        duration: Some(2),
        host: None,
        result: Some("no room".into()),
    };
    tasks.insert(&none).await.expect("a new task");
    let shown = world.get(&console, "/v1/tasks").await.good();
    assert_eq!(
        (&shown[0]["running"], &shown[0]["succeeded"], &shown[0]["result"]),
        (&json!(false), &json!(7), &json!("no room"))
    );
    let run = async |id: &str| world.ask(&console, "PUT", "/v1/tasks/run", Some(json!({ "id": id }))).await;
    assert_eq!(run("nothing").await.bad(404), "not_found");
    run("pools").await.good();
    let due = tasks.get::<Task>("pools").await.expect("a store").expect("it is there").record.due;
    assert!(due <= world.api.now().await.expect("a time"), "it is due");
    let Kept::Held(_) = tasks.claim::<Task>("pools", None, "test", 60_000).await.expect("a store") else {
        panic!("nobody else has it")
    };
    let shown = world.get(&console, "/v1/tasks").await.good();
    assert_eq!((&shown[0]["running"], &shown[0]["host"]), (&json!(true), &json!(world.api.host().await.expect("one"))));
    assert_eq!(run("pools").await.bad(400), "task_running");
}

/// Ten changes at once are one event of each kind for whoever polls.
#[tokio::test]
async fn consoles_hear_of_it() {
    let world = World::new().await;
    let console = world.log_in().await;
    let queue = world.has(Role::Queue);
    let poll = async |path: String| {
        let events = world.get(&console, &path).await.good();
        let events = events.as_array().cloned().unwrap_or_default();
        let last = events.last().map(|event| event["id"].as_str().expect("an id").to_owned());
        (events.into_iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect::<Vec<_>>(), last)
    };
    let change = async {
        // The poll begins before: it waits for what comes behind it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        for number in 0..10 {
            let job = Job::new(format!("authority/{number}"), Work::SpareCa, Priority::Low, 1);
            queue.insert(&job).await.expect("a new job");
        }
    };
    let ((heard, last), ()) = tokio::join!(poll("/event".into()), change);
    let count = |heard: &[String], kind: &str| heard.iter().filter(|other| *other == kind).count();
    assert_eq!((count(&heard, "jobs_updated"), count(&heard, "pools_updated")), (1, 1), "{heard:?}");
    queue.delete::<Job>("authority/0").await.expect("deleted");
    let (heard, _) = poll(format!("/event/{}", last.expect("an event"))).await;
    assert_eq!(count(&heard, "jobs_updated"), 1, "{heard:?}");
}
