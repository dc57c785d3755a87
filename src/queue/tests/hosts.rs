//! Two hosts with one database: each job once, whoever does it and whoever dies. Needs mongod: `make setup`.

mod kit;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;

use std::sync::Arc;
use std::time::{Duration, Instant};

use culvert_bus::store::mongo::Mongo;
use culvert_model::record::{CertificateState, Job, Organization, Priority, Purpose, Settings, Task, Work};
use culvert_model::{HostId, Id, Role};
use culvert_records::Bus;
use kit::{certificates, job, jobs, organization, serve, until};
use mongod::ReplicaSet;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

struct Hosts {
    folder: TempDir,
    stores: Vec<(HostId, Arc<Mongo>)>,
    stop: watch::Sender<bool>,
    _set: ReplicaSet,
}

impl Hosts {
    async fn two() -> Self {
        let set = ReplicaSet::start(1).expect("a replica set");
        let mut stores = Vec::new();
        for _ in 0..2 {
            let host = HostId::new();
            let store = Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens");
            stores.push((host, Arc::new(store)));
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, stores, stop: watch::Sender::new(false), _set: set }
    }

    fn bus(&self, host: usize, role: Role) -> Bus {
        let (id, store) = &self.stores[host];
        serve(&self.folder, store.clone(), *id, role, self.stop.subscribe())
    }

    fn queue(&self, host: usize) -> JoinHandle<()> {
        tokio::spawn(culvert_queue::attend(self.bus(host, Role::Queue), std::future::pending()))
    }
}

async fn with_ca(api: &Bus) -> Id {
    let organization = organization(api).await;
    api.insert(&job("ca", Work::Ca { organization }, Priority::High)).await.expect("a new job");
    until("a CA", async || api.get::<Organization>(organization).await.expect("the bus answers")?.record.ca).await;
    organization
}

#[tokio::test(flavor = "multi_thread")]
async fn each_job_once() {
    let hosts = Hosts::two().await;
    let _queues = [hosts.queue(0), hosts.queue(1)];
    let api = hosts.bus(0, Role::Api);
    let organization = with_ca(&api).await;
    let begun = Instant::now();
    for number in 0..60 {
        let work = Work::Certificate { organization, purpose: Purpose::Server };
        api.insert(&job(&format!("job-{number}"), work, Priority::Low)).await.expect("a new job");
    }
    until("no jobs", async || (jobs(&api).await == 0).then_some(())).await;
    println!("60 jobs on two hosts took {:?}", begun.elapsed());
    assert_eq!(certificates(&api, organization, Purpose::Server, CertificateState::Ready).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_takes_over() {
    let hosts = Hosts::two().await;
    let api = hosts.bus(0, Role::Api);
    let settings = Settings { user_key: culvert_model::KeyKind::Rsa4096, ..Settings::default() };
    api.insert(&settings).await.expect("no settings yet");
    let lost = hosts.queue(0);
    let organization = with_ca(&api).await;
    let work = Work::Certificate { organization, purpose: Purpose::Client };
    api.insert(&job("one", work, Priority::High)).await.expect("a new job");
    until("the job to be begun", async || {
        let job = api.get::<Job>("one").await.expect("the bus answers")?;
        (job.record.attempts == 1 && job.held_for() > 0).then_some(())
    })
    .await;
    lost.abort();
    let begun = Instant::now();
    let _other = hosts.queue(1);
    until("no jobs", async || (jobs(&api).await == 0).then_some(())).await;
    println!("taken over and done after {:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(10), "not before the lease ended");
    assert_eq!(certificates(&api, organization, Purpose::Client, CertificateState::Ready).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_and_tasks_of_both() {
    let hosts = Hosts::two().await;
    let api = hosts.bus(0, Role::Api);
    let settings = Settings { user_key: culvert_model::KeyKind::Rsa2048, client_pool: 4, ..Settings::default() };
    api.insert(&settings).await.expect("no settings yet");
    for host in 0..2 {
        hosts.queue(host);
        let bus = hosts.bus(host, Role::Pools);
        tokio::spawn(async move { culvert_pools::keep(&bus).await });
        let bus = hosts.bus(host, Role::Tasks);
        tokio::spawn(async move { culvert_tasks::attend(&bus).await });
    }
    let organization = organization(&api).await;
    let ready = async || {
        let counts = [Purpose::Client, Purpose::Server].map(|purpose| {
            let api = api.clone();
            async move { certificates(&api, organization, purpose, CertificateState::Ready).await.len() }
        });
        let [clients, servers] = counts;
        (clients.await, servers.await)
    };
    until("full pools", async || (ready().await == (4, 2) && jobs(&api).await == 0).then_some(())).await;
    let tasks = hosts.bus(1, Role::Tasks);
    let written = async || tasks.get::<Task>("lost-servers").await.expect("the bus answers").map(|task| task.revision);
    let before = until("the first run", written).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let runs = (until("a record", written).await - before) / 2;
    assert!((2..=4).contains(&runs), "{runs} runs of two hosts in 15 s");
    assert_eq!(ready().await, (4, 2), "not above the level");
}
