//! What happens around a job: its process stops and goes on, the database goes away, a clock is wrong, the disk is full.

use std::time::{Duration, Instant};

use crate::kit::mongod::ReplicaSet;
use crate::kit::process::{Process, shifted};
use crate::kit::proxy::{Moment, Proxy, ends_a_job};
use crate::kit::{Stage, job, jobs, queue, until, with_ca};
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Certificate, Job, JobState, Priority, Purpose, Work};
use culvert_model::{HostId, Id, Kind, Role};
use culvert_records::{Bus, Query};
use culvert_wire::bus::{Request, Write};
use nix::sys::signal::Signal;

async fn mongo(set: &ReplicaSet, database: &str, host: HostId) -> Stage<Mongo> {
    Stage::over(Mongo::connect(&set.uri(database), host).await.expect("the store opens"), host)
}

fn certificate(organization: Id, id: &str) -> Job {
    job(id, Work::Certificate { organization, purpose: Purpose::Server }, Priority::High)
}

/// A CA, and a job that needs it.
async fn one_job<S: Store>(stage: &Stage<S>) -> Bus {
    let api = stage.bus(Role::Api);
    let queue = queue(stage);
    let organization = with_ca(&api).await;
    queue.abort();
    api.insert(&certificate(organization, "one")).await.expect("a new job");
    api
}

async fn done(api: &Bus) {
    until("no jobs", async || (jobs(api).await == 0).then_some(())).await;
    assert_eq!(made(api).await, 1);
}

async fn made(api: &Bus) -> usize {
    api.list::<Certificate>(Query::all()).await.expect("the bus answers").len()
}

/// Holds a request of this kind before the bus has it.
fn before(is: impl Fn(&Request) -> bool + Send + 'static) -> impl FnMut(&Request) -> Option<Moment> + Send + 'static {
    let mut held = false;
    move |request| {
        let now = !held && is(request);
        held |= now;
        now.then_some(Moment::Before)
    }
}

/// Whether it is the write that counts the attempt.
fn begins_a_job(request: &Request) -> bool {
    let Request::Write { writes, .. } = request else { return false };
    writes.iter().any(|write| matches!(write, Write::Update { kind: Kind::Job, .. }))
}

fn reads_the_key(request: &Request) -> bool {
    matches!(request, Request::Get { kind: Kind::CaKey, .. })
}

/// A queue whose process stopped just before it wrote its result.
async fn stopped<S: Store>(stage: &Stage<S>) -> (Proxy, Process) {
    let proxy = Proxy::start(&stage.socket(Role::Queue), before(ends_a_job));
    let queue = Process::start(&proxy.socket);
    proxy.reached().await;
    queue.signal(Signal::SIGSTOP);
    (proxy, queue)
}

/// Nobody else is there: it claims the job anew.
async fn goes_on<S: Store>(stage: Stage<S>) {
    let api = one_job(&stage).await;
    let (proxy, queue) = stopped(&stage).await;
    until("the end of its lease", async || {
        (api.get::<Job>("one").await.expect("the bus answers")?.held_for() == 0).then_some(())
    })
    .await;
    proxy.go();
    // The bus has refused by the time that the process can ask again.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((jobs(&api).await, made(&api).await), (1, 0), "what came late was refused");
    queue.signal(Signal::SIGCONT);
    done(&api).await;
    assert!(queue.log().contains("ran out"), "{}", queue.log());
}

/// Another host does the job meanwhile.
async fn gives_up<S: Store>(stage: Stage<S>, other: Stage<S>) {
    let api = one_job(&stage).await;
    let (proxy, stopped) = stopped(&stage).await;
    queue(&other);
    done(&api).await;
    proxy.go();
    stopped.signal(Signal::SIGCONT);
    until("it to notice", async || {
        let log = stopped.log();
        (log.contains("another has the job now") || log.contains("the job is gone")).then_some(())
    })
    .await;
    assert_eq!(made(&api).await, 1, "what came late was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_for_longer_than_the_lease() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let host = HostId::new();
    let embedded = Embedded::open(&folder.path().join("store.sqlite"), host).expect("a new store");
    let alone = mongo(&set, "alone", HostId::new()).await;
    let (one, other) = (mongo(&set, "two", HostId::new()).await, mongo(&set, "two", HostId::new()).await);
    tokio::join!(goes_on(Stage::over(embedded, host)), goes_on(alone), gives_up(one, other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_goes_away() {
    tokio::join!(away(false), away(true));
}

/// The database is killed, or frozen, while queues are at three moments of a job.
async fn away(killed: bool) {
    let mut set = ReplicaSet::start(1).expect("a replica set");
    let moments: [fn(&Request) -> bool; 3] = [begins_a_job, reads_the_key, ends_a_job];
    let mut held = Vec::new();
    for (number, moment) in moments.into_iter().enumerate() {
        let stage = mongo(&set, &format!("away{number}"), HostId::new()).await;
        let api = one_job(&stage).await;
        let proxy = Proxy::start(&stage.socket(Role::Queue), before(moment));
        let queue = Process::start(&proxy.socket);
        proxy.reached().await;
        held.push((stage, api, proxy, queue));
    }
    if killed { set.kill(0) } else { set.freeze(0) }.expect("it runs");
    held.iter().for_each(|(_, _, proxy, _)| proxy.go());
    // Longer than a request may take.
    tokio::time::sleep(Duration::from_secs(4)).await;
    if killed { set.restart(0) } else { set.thaw(0) }.expect("it was away");
    let begun = Instant::now();
    for (_, api, ..) in &held {
        let back = until("the bus", async || api.list::<Job>(Query::all()).await.ok()).await;
        assert!(back.iter().all(|job| job.record.state == JobState::Open), "{back:?}");
        until("no jobs", async || api.list::<Job>(Query::all()).await.ok()?.is_empty().then_some(())).await;
        assert_eq!(made(api).await, 1);
    }
    println!("done {:?} after the database was back", begun.elapsed());
}

/// The whole host, bus and queue, has a clock that is an hour off: a job is neither late for it nor early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_is_wrong() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let stage = mongo(&set, "culvert", HostId::new()).await;
    let api = stage.bus(Role::Api);
    let queue = queue(&stage);
    let organization = with_ca(&api).await;
    queue.abort();
    let shifts = ["+3600s", "-3600s"].map(|shift| {
        let host = HostId::new();
        (host, shifted(&stage.socket(Role::Api), &set.uri("culvert"), host, shift))
    });
    let (_, now) = api.here().await.expect("the bus answers");
    let waits = 4_000;
    for number in 0..24_usize {
        let preferred = Some(shifts[number % 2].0);
        let not_before = if number < 12 { now + waits } else { 0 };
        let job = certificate(organization, &format!("job-{number}"));
        let job = Job { preferred, not_before, created: now, deadline: Some(now + 60_000), ..job };
        api.insert(&job).await.expect("a new job");
    }
    let begun = Instant::now();
    until("half of the jobs", async || (jobs(&api).await == 12).then_some(())).await;
    assert!(begun.elapsed() < Duration::from_millis(waits), "done at once");
    until("no jobs", async || (jobs(&api).await == 0).then_some(())).await;
    let (_, then) = api.here().await.expect("the bus answers");
    assert!(then >= now + waits, "none was done too early");
    assert_eq!(made(&api).await, 24);
    for (_, host) in &shifts {
        assert!(host.log().contains("done"), "it did some:\n{}", host.log());
    }
}

/// A file system that is small, if this runs as root.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut mount = std::process::Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(folder.path()).status();
        done.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_is_full() {
    let Some(small) = Small::mount() else {
        println!("skipped: this needs root, to mount a small file system");
        return;
    };
    let host = HostId::new();
    let stage = Stage::over(Embedded::open(&small.0.path().join("store.sqlite"), host).expect("a new store"), host);
    let api = one_job(&stage).await;
    let proxy = Proxy::start(&stage.socket(Role::Queue), before(ends_a_job));
    let queue = Process::start(&proxy.socket);
    proxy.reached().await;
    let ballast = small.0.path().join("ballast");
    let full = std::fs::write(&ballast, vec![0; 4 << 20]).expect_err("it does not fit");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    proxy.go();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((jobs(&api).await, made(&api).await), (1, 0), "there is no room");
    std::fs::remove_file(&ballast).expect("it is there");
    done(&api).await;
    assert!(!queue.log().contains("failed"), "it waited: {}", queue.log());
}
