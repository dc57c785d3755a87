//! The figures that somebody is woken by: tasks that do not succeed, and pools that are empty.

use culvert_api::process;
use culvert_model::record::{Certificate, Job, JobState, Organization, Priority, Purpose, Task, Work};
use culvert_model::{Bytes, Id};
use http::Method;
use tokio::net::UnixListener;

use crate::kit::World;
use crate::pools::spare;
use crate::sockets::{ask, me, task};

/// Looks for these lines among the figures.
async fn figures(world: &World, wanted: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cli.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(process::serve_commands(world.api.clone(), listener, me()));
    let (_, text) = ask(&path, Method::GET, "/metrics").await.expect("an answer");
    for figure in wanted {
        assert!(text.contains(&format!("\n{figure}\n")), "{figure} in {text}");
    }
}

/// Also what has never succeeded is as old as an alert can tell.
#[tokio::test]
async fn of_tasks() {
    let world = World::new().await;
    for task in [
        task("never_run"),
        Task { attempts: 3, finished: Some(2_000), ..task("never_succeeded") },
        Task { finished: Some(2_000), succeeded: Some(2_000), duration: Some(500), ..task("good") },
    ] {
        world.put(&task).await;
    }
    let figure = |name: &str, task: &str, value: &str| format!("culvert_task_{name}{{task=\"{task}\"}} {value}");
    let wanted = [
        figure("last_success_timestamp_seconds", "never_run", "0"),
        figure("last_success_timestamp_seconds", "never_succeeded", "0"),
        figure("last_success_timestamp_seconds", "good", "2"),
        figure("failed", "never_run", "0"),
        figure("failed", "never_succeeded", "1"),
        figure("failed", "good", "0"),
        figure("attempts", "never_succeeded", "3"),
        figure("duration_seconds", "good", "0.5"),
    ];
    figures(&world, &wanted.each_ref().map(String::as_str)).await;
}

/// An organisation without a certificate left is seen, however many others have.
#[tokio::test]
async fn of_pools() {
    let world = World::new().await;
    figures(&world, &["culvert_pool_level{pool=\"client\"} 0", "culvert_pool_empty{pool=\"client\"} 0"]).await;

    let [full, empty, new] = [(); 3].map(|()| Id::new());
    for (id, ca) in [(full, Some(Bytes(vec![1]))), (empty, Some(Bytes(vec![1]))), (new, None)] {
        world.put(&Organization { id, name: "o".into(), auth_api: false, ca, ca_expires: None }).await;
    }
    for _ in 0..6 {
        world.put(&Certificate { organization: full, purpose: Purpose::Client, ..spare(None) }).await;
    }
    let job = |slot: u16| {
        let work = Work::Certificate { organization: empty, purpose: Purpose::Client };
        Job::new(format!("certificate/{empty}/client/{slot}"), work, Priority::Low, 1)
    };
    let dead = Job { state: JobState::Dead, ..job(0) };
    world.enqueue([dead, job(1), job(2)]).await;
    let wanted = [
        "culvert_pool_ready{pool=\"client\"} 6",
        "culvert_pool_level{pool=\"client\"} 12",
        "culvert_pool_coming{pool=\"client\"} 2",
        "culvert_pool_dead{pool=\"client\"} 1",
        "culvert_pool_empty{pool=\"client\"} 1",
        "culvert_pool_empty{pool=\"server\"} 2",
        "culvert_pool_empty{pool=\"authority\"} 1",
    ];
    figures(&world, &wanted).await;
}
