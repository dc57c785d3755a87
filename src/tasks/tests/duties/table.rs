//! All tasks, by the clock.

use std::collections::BTreeSet;
use std::time::Duration;

use culvert_model::Role;
use culvert_model::record::{Host, Job, Log, Task};
use culvert_records::Bus;
use culvert_tasks::duty::DUTIES;
use tokio::time::{Instant, sleep};

use crate::hosts::host;
use crate::kit::{Broken, organization, touch};
use crate::stage::until;

fn attend(bus: Bus) {
    tokio::spawn(async move { culvert_tasks::attend(&bus).await });
}

#[test]
fn every_task_has_a_name_and_the_time_that_it_needs() {
    let names: BTreeSet<_> = DUTIES.iter().map(|duty| duty.name).collect();
    assert_eq!(names.len(), DUTIES.len());
    for duty in &DUTIES {
        assert!(duty.timeout > 0 && duty.period > 0 && !duty.what.is_empty(), "{}", duty.name);
        assert!(duty.name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-'), "{}", duty.name);
    }
}

#[tokio::test]
async fn a_task_whose_record_is_damaged_runs() {
    let broken = Broken::new();
    broken.put_damaged::<Task>("failover").await;
    attend(broken.role(Role::Tasks));
    attend(broken.role(Role::Tasks));
    until("failover to have run", async || {
        let task = broken.bus.get_whole::<Task>("failover").await.expect("the bus answers")?;
        task.record.succeeded
    })
    .await;
}

#[tokio::test]
async fn every_task_of_the_table_runs() {
    let broken = Broken::new();
    broken.put(&organization()).await;
    let (_, now) = broken.bus.here().await.expect("the bus answers");
    // Two processes share the schedule.
    attend(broken.role(Role::Tasks));
    attend(broken.role(Role::Tasks));
    let tasks = until("all tasks to have run", async || {
        let tasks = broken.all::<Task>().await;
        (tasks.len() == DUTIES.len() && tasks.iter().all(|task| task.finished.is_some())).then_some(tasks)
    })
    .await;
    for Task { id, due, attempts, result, host, .. } in tasks {
        let duty = DUTIES.iter().find(|duty| duty.name == id).expect("it is in the table");
        println!("{id}: {result:?}");
        assert!(due > now && due <= now + duty.period + 60_000, "{id}");
        assert_eq!((attempts, host), (0, Some(broken.here)), "{id}");
    }
    assert!(!broken.all::<Log>().await.iter().any(|log| log.message.contains("The task")), "none failed");
    let jobs = broken.all::<Job>().await;
    assert!(jobs.iter().any(|job| job.id == "console-certificate"), "{jobs:?}");

    // Each run of the shortest task happens once: its record is written twice in a run.
    let written = async || broken.get::<Task>("lost-hosts").await.revision;
    let before = written().await;
    sleep(Duration::from_secs(11)).await;
    let runs = (written().await - before) / 2;
    assert!((1..=3).contains(&runs), "{runs} runs in 11 s");
}

#[tokio::test]
async fn a_task_that_is_made_due_runs_at_once() {
    let broken = Broken::new();
    attend(broken.role(Role::Tasks));
    let finished = async || {
        let task = broken.api.get::<Task>("addresses").await.expect("the bus answers")?;
        task.record.finished.map(|finished| (task, finished))
    };
    let (mut task, before) = until("the first run", finished).await;
    task.record.due = 0;
    let asked = Instant::now();
    broken.api.update(&mut task).await.expect("nobody else writes it");
    until("another run", async || finished().await.filter(|(_, after)| *after > before)).await;
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}

/// By news, not by the clock; and changes that come one after the other are looked at together.
#[tokio::test]
async fn a_task_that_looks_at_what_was_changed_runs_soon() {
    let broken = Broken::new();
    broken.put(&host(broken.here)).await;
    attend(broken.role(Role::Tasks));
    attend(broken.role(Role::Tasks));
    let task = async || broken.api.get::<Task>("failover").await.expect("the bus answers");
    let finished = async || task().await?.record.finished;
    let before = until("a run that looked", async || {
        let record = task().await?.record;
        record.finished.filter(|_| record.result.is_some_and(|said| said.contains("moved")))
    })
    .await;
    let revision = broken.get::<Task>("failover").await.revision;
    let asked = Instant::now();
    for priority in 0..20 {
        broken.write(vec![touch(&Host { priority, ..host(broken.here) })]).await;
        sleep(Duration::from_millis(50)).await;
    }
    until("another run", async || finished().await.filter(|after| *after > before)).await;
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    sleep(Duration::from_secs(8)).await;
    let runs = (broken.get::<Task>("failover").await.revision - revision) / 2;
    assert!((1..=2).contains(&runs), "{runs} runs for 20 changes");
}
