//! The unix sockets: `culvert` and health checks for one user, the terms for the proxy.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use culvert_api::{process, terms};
use culvert_model::record::{Job, JobState, Priority, Task, Work};
use culvert_wire::proxy::Terms;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::kit::World;

/// The user that the tests run as.
pub fn me() -> u32 {
    std::fs::metadata("/proc/self").expect("a process has a user").uid()
}

/// The answer of a socket of this path, unless it hangs up.
pub async fn ask(path: &PathBuf, method: Method, target: &str) -> Option<(u16, String)> {
    let stream = UnixStream::connect(path).await.expect("a socket");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(target).header("host", "culvert").body(Empty::<Bytes>::new());
    let answer = sender.send_request(request.expect("a request")).await.ok()?;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&bytes).into_owned()))
}

fn job(id: &str) -> Job {
    Job::new(id.into(), Work::SpareCa, Priority::Low, 1)
}

/// A task that has never run.
pub fn task(id: &str) -> Task {
    Task {
        id: id.into(),
        due: 3_000,
        attempts: 0,
        finished: None,
        succeeded: None,
        duration: None,
        host: None,
        result: None,
    }
}

#[tokio::test]
async fn the_local_socket() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cli.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(process::serve_commands(world.api.clone(), listener, me()));
    let get = async |target| ask(&path, Method::GET, target).await.expect("an answer");

    let dead = Job { state: JobState::Dead, error: Some("no entropy".into()), ..job("authority/0") };
    world.api.bus.insert(&dead).await.expect("a new job");
    let failed =
        Task { finished: Some(2_000), succeeded: Some(1_500), result: Some("no room".into()), ..task("pools") };
    world.api.bus.insert(&failed).await.expect("a new task");

    assert_eq!(get("/health").await, (200, "{\"status\":\"ok\"}".into()));
    let (status, text) = get("/metrics").await;
    assert!(status == 200 && text.contains("\nculvert_store_reachable 1\n"), "{text}");
    for figure in [
        "culvert_pool_takes_total{pool=\"client\",way=\"ready\"} 0",
        "culvert_jobs{work=\"spare_ca\",state=\"dead\"} 1",
        "culvert_jobs_oldest_waiting_seconds 0",
        "culvert_jobs_longest_running_seconds 0",
        "culvert_task_last_success_timestamp_seconds{task=\"pools\"} 1.5",
        "culvert_pool_ready{pool=\"authority\"} 0",
        "culvert_pool_level{pool=\"authority\"} 1",
    ] {
        assert!(text.contains(&format!("\n{figure}\n")), "{figure} in {text}");
    }
    let (status, text) = get("/v1/cli/status").await;
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((status, value["hosts"][0]["status"].as_str()), (200, Some("online")));
    assert_eq!(value["dead_jobs"], json!([{ "name": "authority/0", "status": "no entropy" }]));
    assert_eq!(value["failed_tasks"], json!([{ "name": "pools", "status": "no room" }]));

    let (_, text) = get("/v1/cli/default-password").await;
    let first: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((first["username"].as_str(), first["password"].as_str().map(str::len)), (Some("admin"), Some(12)));
    let (status, text) = ask(&path, Method::POST, "/v1/cli/reset-password").await.expect("an answer");
    let second: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status, 200);
    assert_ne!(first["password"], second["password"]);
    world.log_in_as("admin", second["password"].as_str().expect("a password")).await;
    assert_eq!(get("/organization").await.0, 404, "the contract is not here");
}

#[tokio::test]
async fn the_local_socket_is_for_one_user() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cli.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(process::serve_commands(world.api.clone(), listener, me() + 1));
    assert_eq!(ask(&path, Method::GET, "/health").await, None);
}

#[tokio::test]
async fn the_proxy_gets_its_terms_as_soon_as_there_are_any() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(terms::serve(world.api.clone(), listener, me()));
    let mut stream = UnixStream::connect(&path).await.expect("a socket");
    let mut length = [0; 4];
    let early = timeout(Duration::from_millis(300), stream.read_exact(&mut length)).await;
    assert!(early.is_err(), "there is no certificate yet");

    world.start_queue();
    let job = Job::new("console-certificate".into(), Work::ConsoleCertificate, Priority::High, 0);
    world.api.bus.insert(&job).await.expect("written");
    for stream in [stream, UnixStream::connect(&path).await.expect("a socket")] {
        let terms = read(stream).await;
        assert!(!terms.chain.is_empty() && !terms.key.is_empty() && terms.rate > 0 && terms.burst > 0);
    }
}

async fn read(mut stream: UnixStream) -> Terms {
    let frame = timeout(Duration::from_secs(20), async {
        let length = stream.read_u32().await.expect("a length");
        let mut frame = vec![0; length as usize];
        stream.read_exact(&mut frame).await.expect("a frame");
        frame
    });
    culvert_wire::decode(&frame.await.expect("in time")).expect("terms")
}

#[tokio::test]
async fn the_terms_are_for_the_proxy_alone() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("proxy.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    tokio::spawn(terms::serve(world.api.clone(), listener, me() + 1));
    let mut stream = UnixStream::connect(&path).await.expect("a socket");
    let end = timeout(Duration::from_secs(5), stream.read(&mut [0])).await.expect("in time");
    assert!(matches!(end, Ok(0) | Err(_)), "somebody else is cut: {end:?}");
}
