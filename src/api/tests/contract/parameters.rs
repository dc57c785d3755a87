//! Servers with Diffie-Hellman parameters of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use culvert_model::record::{DhParams, Job, JobState, Priority, Server, Work};
use culvert_model::{Bytes, Id, Kind, Role};
use culvert_records::{Query, Write, delete, insert, update};
use culvert_wire::bus::Request;
use serde_json::{Value, json};

use crate::away::between;
use crate::kit::{Console, World, until};
use crate::pools::ways;

fn new(bits: u16) -> Value {
    json!({ "name": "office", "protocol": "udp", "cipher": "aes256", "hash": "sha256", "dh_param_bits": bits })
}

async fn own(world: &World) -> Console {
    let console = world.log_in().await;
    world.ask(&console, "PUT", "/v1/settings", Some(json!({ "dh": "own", "dh_pool": 1 }))).await.good();
    console
}

async fn create(world: &World, console: &Console, bits: u16) -> (String, String) {
    let server = world.ask(console, "POST", "/server", Some(new(bits))).await.good();
    let text = |field: &str| server[field].as_str().expect("text").to_owned();
    (text("id"), text("status"))
}

/// A real search, which a server reserves while it is under way. It takes some seconds of a processor's time.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_is_under_way_becomes_the_servers() {
    let world = World::new().await;
    let console = own(&world).await;
    world.start_pools();
    world.start_queue();
    until("a search", async || {
        let jobs = world.get(&console, "/v1/jobs").await.good();
        let search = jobs.as_array()?.iter().find(|job| job["what"] == "dh_params")?.clone();
        (search["state"] == "running").then_some(())
    })
    .await;
    let (server, status) = create(&world, &console, 2048).await;
    assert_eq!(status, "pending");
    assert_eq!(ways(&world, "dh_params"), [0, 1, 0]);
    let job = world.api.bus.get::<Job>("dh-params/2048/0").await.expect("a store").expect("it is under way").record;
    assert_eq!((job.reserved.as_deref(), job.priority), (Some(server.as_str()), Priority::High));
    let path = format!("/server/{server}");
    until("its parameters", async || (world.get(&console, &path).await.good()["status"] == "offline").then_some(()))
        .await;
    let server = world.api.bus.get::<Server>(&server).await.expect("a store").expect("it is there").record;
    assert!(server.dh_params.is_some_and(|params| params.0.len() > 256));
    assert_eq!(world.api.bus.count::<DhParams>(Query::by("by_bits")).await.expect("a number"), 0, "they are its own");
}

#[tokio::test]
async fn ready_ones_are_the_servers_at_once() {
    let world = World::new().await;
    let console = own(&world).await;
    let queue = world.has(Role::Queue);
    let ready = DhParams { id: Id::new(), bits: 2048, der: Bytes(vec![7]) };
    queue.insert(&ready).await.expect("new ones");
    // The smallest that anybody gets.
    let (server, status) = create(&world, &console, 1024).await;
    assert_eq!((status.as_str(), ways(&world, "dh_params")), ("offline", [1, 0, 0]));
    let stored = world.api.bus.get::<Server>(&server).await.expect("a store").expect("it is there").record;
    assert_eq!(stored.dh_params, Some(Bytes(vec![7])));
    assert_eq!(queue.count::<DhParams>(Query::by("by_bits")).await.expect("a number"), 0);
    assert_eq!(queue.count::<Job>(Query::by("by_state")).await.expect("a number"), 0);
}

/// The server waits, and asks for nothing twice; another size is another order, and the former one is not made.
#[tokio::test]
async fn without_any_a_job_is_made_that_outlives_whoever_ordered_it() {
    let world = World::new().await;
    let console = own(&world).await;
    let queue = world.has(Role::Queue);
    let (server, status) = create(&world, &console, 4096).await;
    assert_eq!((status.as_str(), ways(&world, "dh_params")), ("pending", [0, 0, 1]));
    let order = async || {
        let mut jobs = queue.list::<Job>(Query::all()).await.expect("jobs");
        assert_eq!(jobs.len(), 1, "{jobs:?}");
        jobs.remove(0)
    };
    let ordered = order().await;
    assert_eq!((&ordered.record.work, ordered.record.priority), (&Work::DhParams { bits: 4096 }, Priority::High));
    assert_eq!((ordered.record.reserved.as_deref(), ordered.record.deadline), (Some(server.as_str()), None));
    let start = format!("/server/{server}/operation/start");
    assert_eq!(world.ask(&console, "PUT", &start, None).await.bad(503), "server_dh_pending");
    assert_eq!(order().await.record.id, ordered.record.id);
    assert_eq!(ways(&world, "dh_params"), [0, 0, 1], "who waits already is not counted once more");

    let path = format!("/server/{server}");
    assert_eq!(world.ask(&console, "PUT", &path, Some(new(3072))).await.good()["status"], "pending");
    let ordered = order().await;
    assert_eq!(ordered.record.work, Work::DhParams { bits: 3072 });

    // As the queue does it, while no api need be there.
    let mut waiting = queue.get::<Server>(&server).await.expect("a store").expect("it is there");
    waiting.record.dh_params = Some(Bytes(vec![9]));
    let made = update(&waiting.record, waiting.unchanged());
    queue.write(vec![made, delete::<Job>(&ordered.record.id, ordered.unchanged())]).await.expect("it is done");
    assert_eq!(world.get(&console, &path).await.good()["status"], "offline");
    assert_eq!(world.ask(&console, "PUT", &start, None).await.bad(400), "server_no_organization", "nothing is pending");
    assert_eq!(world.ask(&console, "PUT", &path, Some(new(3072))).await.good()["status"], "offline", "they are kept");
}

async fn shown(world: &World, console: &Console, server: &str) -> (String, String) {
    let shown = world.get(console, &format!("/server/{server}")).await.good();
    let text = |field: &str| shown[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// A search that was given up is no reason to wait, until it is retried.
#[tokio::test]
async fn a_server_says_what_became_of_its_search() {
    let world = World::new().await;
    let console = own(&world).await;
    let queue = world.has(Role::Queue);
    let (server, _) = create(&world, &console, 2048).await;
    let (status, reason) = shown(&world, &console, &server).await;
    assert!(status == "pending" && reason.contains("searched for"), "{status} {reason}");

    // As the queue gives it up.
    let mut job = queue.list::<Job>(Query::all()).await.expect("jobs").remove(0);
    (job.record.state, job.record.error) = (JobState::Dead, Some("There is no entropy.".into()));
    queue.update(&mut job).await.expect("nobody else changes it");
    let id = &job.record.id;
    let (status, reason) = shown(&world, &console, &server).await;
    assert_eq!(status, "offline", "nobody does it: {reason}");
    assert!(reason.contains("There is no entropy.") && reason.contains(id), "{reason}");
    let jobs = world.get(&console, "/v1/jobs").await.good();
    assert_eq!((&jobs[0]["state"], &jobs[0]["reason"]), (&json!("dead"), &json!("There is no entropy.")));

    world.ask(&console, "PUT", "/v1/jobs/retry", Some(json!({ "id": id }))).await.good();
    assert_eq!(shown(&world, &console, &server).await.0, "pending");
    let job = queue.list::<Job>(Query::all()).await.expect("jobs").remove(0);
    assert_eq!(job.record.reserved.as_ref(), Some(&server), "what comes of it is the server's");
    world.ask(&console, "PUT", "/v1/jobs/cancel", Some(json!({ "id": id }))).await.good();
    let (status, reason) = shown(&world, &console, &server).await;
    assert!(status == "offline" && reason.contains("Nobody searches"), "{status} {reason}");
    // Another one is begun by whoever starts it.
    let start = format!("/server/{server}/operation/start");
    assert_eq!(world.ask(&console, "PUT", &start, None).await.bad(503), "server_dh_pending");
    assert_eq!(shown(&world, &console, &server).await.0, "pending");
}

/// Those that are there when the settings are changed are not left without.
#[tokio::test]
async fn all_servers_get_some_when_the_settings_say_so() {
    let world = World::new().await;
    let console = world.log_in().await;
    let servers = [create(&world, &console, 2048).await, create(&world, &console, 3072).await];
    assert!(servers.iter().all(|(_, status)| status == "offline"));
    own(&world).await;
    let jobs = world.api.bus.list::<Job>(Query::all()).await.expect("jobs");
    for (server, _) in &servers {
        assert_eq!(shown(&world, &console, server).await.0, "pending");
        assert_eq!(jobs.iter().filter(|job| job.record.reserved.as_ref() == Some(server)).count(), 1);
    }
}

/// That a server could not be written does not mean that the settings are as before.
#[tokio::test]
async fn settings_are_changed_whatever_comes_of_the_servers() {
    let mut world = World::new().await;
    let away = Arc::new(AtomicBool::new(false));
    let gone = away.clone();
    let needs = |request: &Request| {
        let of_server = |write: &Write| matches!(write, Write::Update { kind: Kind::Server, .. });
        matches!(request, Request::Write { writes, .. } if writes.iter().any(of_server))
    };
    world.between(move |listener, bus| between(listener, bus, gone, needs)).await;
    let console = world.log_in().await;
    let (server, _) = create(&world, &console, 2048).await;
    away.store(true, Relaxed);
    own(&world).await;
    assert_eq!(world.get(&console, "/v1/settings").await.good()["dh"], "own");
    let (status, reason) = shown(&world, &console, &server).await;
    assert_eq!(status, "offline");
    assert!(reason.contains("start it to begin a search"), "{reason}");
}

/// Whoever deletes a server takes its order back, and a dead job does not count as one.
#[tokio::test]
async fn orders_that_nobody_needs_or_that_died() {
    let world = World::new().await;
    let console = own(&world).await;
    let queue = world.has(Role::Queue);
    let slot = Job::new("dh-params/2048/0".into(), Work::DhParams { bits: 2048 }, Priority::Low, 1);
    queue.write(vec![insert(&slot)]).await.expect("a new job");
    let (server, _) = create(&world, &console, 2048).await;
    assert_eq!(ways(&world, "dh_params"), [0, 1, 0]);
    let mut job = queue.get::<Job>(&slot.id).await.expect("a store").expect("it is there");
    assert_eq!(job.record.reserved, Some(server.clone()));
    job.record.state = JobState::Dead;
    queue.update(&mut job).await.expect("nobody else changes it");
    // Starting it asks anew.
    let start = format!("/server/{server}/operation/start");
    assert_eq!(world.ask(&console, "PUT", &start, None).await.bad(503), "server_dh_pending");
    assert_eq!(ways(&world, "dh_params"), [0, 1, 1]);
    assert_eq!(queue.list::<Job>(Query::all()).await.expect("jobs").len(), 2);
    world.ask(&console, "DELETE", &format!("/server/{server}"), None).await.good();
    let left = queue.list::<Job>(Query::all()).await.expect("jobs");
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((&left[0].record.id, left[0].record.state, &left[0].record.reserved), (&slot.id, JobState::Dead, &None));
}
