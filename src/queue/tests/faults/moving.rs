//! Servers with thousands of users are moved into another network: page by page, so that the queue's memory hardly grows
//! with them, and it is told how far that is. How long ten thousand take, on both stores (needs mongod: `make setup`):
//! `cargo test -p culvert-queue --test faults moving -- --ignored --nocapture`; `CULVERT_ADDRESSES` names another number.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use culvert_bus::store::Store;
use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{Address, Job, JobState, Priority, Server, User, Work};
use culvert_model::{HostId, Id, Kind, Role};
use culvert_records::{BATCH, Bus, Query, Write, insert, update};
use culvert_wire::bus::Request;
use tokio::time::sleep;

use crate::kit::mongod::ReplicaSet;
use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy};
use crate::kit::samples::{self, user};
use crate::kit::{Stage, organization, until};

const NETWORKS: [&str; 2] = ["10.40.0.0/14", "10.64.0.0/14"];

/// A server whose users have the lowest addresses of its network.
struct Scene<S> {
    stage: Stage<S>,
    api: Bus,
    server: Id,
    count: usize,
}

impl<S: Store> Scene<S> {
    async fn new(stage: Stage<S>, count: usize) -> Self {
        let api = stage.bus(Role::Api);
        let organization = organization(&api).await;
        let server = Server { network: NETWORKS[0].parse().expect("a network"), ..samples::server(&[organization]) };
        api.insert(&server).await.expect("a new server");
        let lowest = u32::from(server.network.network()) + 2;
        let users: Vec<User> = (0..count).map(|_| user(organization)).collect();
        let addresses: Vec<Write> = (lowest..)
            .zip(&users)
            .map(|(address, user)| insert(&Address::new(server.id, user.id, 0, Ipv4Addr::from(address))))
            .collect();
        let users: Vec<Write> = users.iter().map(insert).collect();
        for batch in users.chunks(BATCH).chain(addresses.chunks(BATCH)) {
            api.write(batch.to_vec()).await.expect("they are new");
        }
        Self { stage, api, server: server.id, count }
    }

    async fn record(&self) -> Server {
        self.api.get::<Server>(self.server).await.expect("the bus answers").expect("it is there").record
    }

    async fn job(&self) -> Option<Job> {
        self.api.get::<Job>("move").await.expect("the bus answers").map(|job| job.record)
    }

    async fn begin(&self) {
        let [old, new] = NETWORKS.map(|network| network.parse().expect("a network"));
        let mut stored = self.api.get::<Server>(self.server).await.expect("the bus answers").expect("it is there");
        stored.record.network_lock = Some("move".into());
        let locked = update(&stored.record, stored.unchanged());
        let work = Work::AssignPool { server: self.server, old, new };
        let job = Job::new("move".into(), work, Priority::High, 0);
        self.api.write(vec![locked, insert(&job)]).await.expect("nobody else writes it");
    }

    async fn until(&self, is_so: impl Fn(&Server) -> bool) -> Duration {
        let begun = Instant::now();
        while !is_so(&self.record().await) {
            assert!(begun.elapsed() < Duration::from_secs(120), "within two minutes");
            sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// Everybody has the address at the same place in the new network, and nothing is left of the move.
    async fn moved(&self) {
        let held = self.api.list::<Address>(Query::by("by_address").equal(self.server)).await.expect("the bus answers");
        let lowest = u32::from(self.record().await.network.network()) + 2;
        let wanted: BTreeSet<_> = (lowest..lowest + self.count as u32).map(Ipv4Addr::from).collect();
        let users: BTreeSet<_> = held.iter().map(|held| held.record.user).collect();
        assert_eq!(held.iter().map(|held| held.record.address).collect::<BTreeSet<_>>(), wanted);
        assert_eq!((held.len(), users.len()), (self.count, self.count));
        assert!(held.iter().all(|held| held.record.next.is_none()));
    }
}

/// Killed in the middle: how far it was is told, the old network counts, and the next one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn page_by_page() {
    let scene = Scene::new(Stage::embedded(), 2_500).await;
    scene.begin().await;
    let mut batches = 0;
    let proxy = Proxy::start(&scene.stage.socket(Role::Queue), move |request| {
        batches += usize::from(matches!(request, Request::Write { writes, .. } if writes.len() == BATCH));
        (batches == 15).then_some(Moment::After)
    });
    let dying = Process::start(&proxy.socket);
    proxy.reached().await;
    drop(dying);
    let progress = scene.job().await.expect("it is not done").progress.expect("it tells how far it is");
    assert!(progress.done > 0 && progress.of == Some(2_500), "{progress:?}");
    let held = scene.api.list::<Address>(Query::by("by_address").equal(scene.server)).await.expect("the bus answers");
    let staged = held.iter().filter(|held| held.record.next.is_some()).count();
    assert_eq!(staged, 15 * (BATCH - 1));
    let network = scene.record().await.network;
    assert!(network.to_string() == NETWORKS[0] && held.iter().all(|held| held.record.within(network).is_some()));
    let _next = Process::start(&scene.stage.socket(Role::Queue));
    scene.until(|server| server.network_lock.is_none()).await;
    scene.moved().await;
}

/// However many batches came before: the server is in its new network only together with the job that unlocks it.
#[tokio::test(flavor = "multi_thread")]
async fn killed_behind_the_last_batch() {
    // The last batch but one has room for one write more.
    let scene = Scene::new(Stage::embedded(), 2 * (BATCH - 1) - 1).await;
    scene.begin().await;
    let moves = |write: &Write| matches!(write, Write::Update { kind: Kind::Server, .. });
    let proxy = Proxy::start(&scene.stage.socket(Role::Queue), move |request| {
        matches!(request, Request::Write { writes, .. } if writes.iter().any(moves)).then_some(Moment::After)
    });
    let dying = Process::start(&proxy.socket);
    proxy.reached().await;
    drop(dying);
    assert_eq!(scene.record().await.network.to_string(), NETWORKS[1]);
    let _next = Process::start(&scene.stage.socket(Role::Queue));
    scene.until(|server| server.network_lock.is_none()).await;
    scene.moved().await;
}

/// One that was given up, so that its server is not locked any more, and is tried again: the server is locked before
/// anything else, and nobody else's network is taken away, not even one that somebody got meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn tried_again() {
    let scene = Scene::new(Stage::embedded(), 10).await;
    let [old, new] = NETWORKS.map(|network| network.parse().expect("a network"));
    let work = Work::AssignPool { server: scene.server, old, new };
    scene.api.insert(&Job::new("move".into(), work, Priority::High, 0)).await.expect("a new job");
    let mut held = false;
    let proxy = Proxy::start(&scene.stage.socket(Role::Queue), move |request| {
        let reads = matches!(request, Request::Find(find) if find.kind == Kind::Address);
        (reads && !std::mem::replace(&mut held, true)).then_some(Moment::Before)
    });
    let _queue = Process::start(&proxy.socket);
    proxy.reached().await;
    assert_eq!(scene.record().await.network_lock.as_deref(), Some("move"));
    let other = Server { network: "10.65.0.0/16".parse().expect("a network"), ..samples::server(&[]) };
    scene.api.insert(&other).await.expect("a new server");
    proxy.go();
    let error = until("it to fail", async || scene.job().await.expect("it is not done").error).await;
    assert!(error.contains("belongs to another server"), "{error}");
    assert_eq!(scene.record().await.network, old);
    scene.api.delete::<Server>(other.id).await.expect("it is there");
    let mut dead = scene.api.get::<Job>("move").await.expect("the bus answers").expect("an administrator sees why");
    assert_eq!(dead.record.state, JobState::Dead);
    dead.record.state = JobState::Open;
    scene.api.update(&mut dead).await.expect("nobody else writes it");
    scene.until(|server| server.network == new && server.network_lock.is_none()).await;
    scene.moved().await;
}

async fn measure<S: Store>(name: &str, stage: Stage<S>) {
    let count = std::env::var("CULVERT_ADDRESSES").map_or(10_000, |count| count.parse().expect("a number"));
    let scene = Scene::new(stage, count).await;
    let queue = Process::start(&scene.stage.socket(Role::Queue));
    let begun = Instant::now();
    scene.begin().await;
    let switched = scene.until(|server| server.network.to_string() == NETWORKS[1]).await;
    scene.until(|server| server.network_lock.is_none()).await;
    let (unlocked, memory) = (begun.elapsed(), queue.most_memory() >> 10);
    println!(
        "{name}, {count} addresses: moved after {switched:?}, unlocked after {unlocked:?}, {memory} KiB of memory at most"
    );
    scene.moved().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn measured_on_the_embedded_store() {
    measure("embedded", Stage::embedded()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn measured_on_mongodb() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let host = HostId::new();
    let store = Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens");
    measure("MongoDB", Stage::over(store, host)).await;
}
