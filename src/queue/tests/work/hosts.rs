//! Hosts with one database: each job once, whoever does it and whoever dies, and each host its share. Needs mongod: `make setup`.

use std::time::{Duration, Instant};

use crate::kit::proxy::Proxy;
use crate::kit::{Hosts, SHORT, certificates, host, job, jobs, organization, queue_at, until, with_ca};
use culvert_jobs::enqueue;
use culvert_model::record::{CertificateState, Job, Priority, Purpose, Settings, Task, Work};
use culvert_model::{Id, KeyKind, Role};
use culvert_records::Bus;
use futures_util::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn each_job_once() {
    let hosts = Hosts::of(2).await;
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
    let hosts = Hosts::of(2).await;
    let api = hosts.bus(0, Role::Api);
    let settings = Settings { user_key: KeyKind::Rsa4096, ..Settings::default() };
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
    // It was renewed after a third of it.
    let least = Duration::from_millis(SHORT.length / 2);
    assert!(begun.elapsed() > least, "not before the lease ended");
    assert_eq!(certificates(&api, organization, Purpose::Client, CertificateState::Ready).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pools_and_tasks_of_both() {
    let hosts = Hosts::of(2).await;
    let api = hosts.bus(0, Role::Api);
    let settings = Settings { user_key: KeyKind::P256, client_pool: 4, ..Settings::default() };
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
    tokio::time::sleep(Duration::from_secs(10)).await;
    let runs = (until("a record", written).await - before) / 2;
    assert!((1..=3).contains(&runs), "{runs} runs of two hosts in 10 s");
    assert_eq!(ready().await, (4, 2), "not above the level");
}

/// Four hosts whose queues' ends are counted.
struct Counted {
    apis: Vec<Bus>,
    proxies: Vec<Proxy>,
    organization: Id,
    _hosts: Hosts,
}

impl Counted {
    /// Of hosts whose users' keys are of this kind.
    async fn making(user_key: KeyKind) -> Self {
        let hosts = Hosts::of(4).await;
        let apis: Vec<Bus> = (0..4).map(|host| hosts.bus(host, Role::Api)).collect();
        let settings = Settings { user_key, ..Settings::default() };
        apis[0].insert(&settings).await.expect("no settings yet");
        let first = hosts.queue(0);
        let organization = with_ca(&apis[0]).await;
        first.abort();
        for stage in &hosts.stages {
            apis[0].insert(&host(stage.host)).await.expect("a new host");
        }
        let proxies: Vec<Proxy> =
            hosts.stages.iter().map(|stage| Proxy::start(&stage.socket(Role::Queue), |_| None)).collect();
        for proxy in &proxies {
            queue_at(Bus::new(&proxy.socket));
        }
        Self { apis, proxies, organization, _hosts: hosts }
    }

    /// A user's certificate, enqueued by this host's API.
    async fn enqueue(&self, api: usize, id: String) {
        let api = &self.apis[api];
        let (_, now) = api.here().await.expect("the bus answers");
        let work = Work::Certificate { organization: self.organization, purpose: Purpose::Client };
        let new = Job::new(id, work, Priority::Normal, now);
        assert_eq!(enqueue(api, vec![new]).await.expect("the bus answers").enqueued, 1);
    }

    /// How many ended on each host.
    fn ended(&self) -> [usize; 4] {
        std::array::from_fn(|host| self.proxies[host].ended())
    }

    /// Waits until so many have ended, each once.
    async fn until_ended(&self, all: usize) {
        until("every job's end", async || (self.ended().iter().sum::<usize>() >= all).then_some(())).await;
        let made = certificates(&self.apis[0], self.organization, Purpose::Client, CertificateState::Ready).await.len();
        assert_eq!((self.ended().iter().sum::<usize>(), made), (all, all), "each once");
    }

    /// No host has more than its share.
    fn expect_shares(&self) {
        let counts = self.ended();
        let ratio = *counts.iter().max().expect("four") as f64 / *counts.iter().min().expect("four") as f64;
        println!("{counts:?} in all, the busiest {ratio:.2} times the idlest");
        assert!(ratio <= 1.25, "one host had more than its share: {counts:?}");
    }
}

/// Every host's API enqueues users' certificates one by one, as fast as it can. A key of RSA takes far longer than hearing of
/// a job and claiming it: who is quickest at those has no more for it.
#[tokio::test(flavor = "multi_thread")]
async fn each_host_its_share() {
    const TURNS: usize = 2;
    const OF_EACH: usize = 40;
    let hosts = Counted::making(KeyKind::Rsa2048).await;
    for turn in 1..=TURNS {
        let (before, begun) = (hosts.ended(), Instant::now());
        join_all((0..4).map(async |host| {
            for number in 0..OF_EACH {
                hosts.enqueue(host, format!("job-{turn}-{host}-{number}")).await;
            }
        }))
        .await;
        let enqueued = begun.elapsed();
        hosts.until_ended(4 * OF_EACH * turn).await;
        let counts: Vec<_> = hosts.ended().iter().zip(before).map(|(now, before)| now - before).collect();
        println!("enqueued in {enqueued:?}, done in {:?}: {counts:?}", begun.elapsed());
    }
    hosts.expect_shares();
}

/// Each job ends before the next one is enqueued: nobody has anything to do when it comes.
#[tokio::test(flavor = "multi_thread")]
async fn each_host_its_share_of_a_trickle() {
    const JOBS: usize = 120;
    let hosts = Counted::making(KeyKind::P256).await;
    for number in 0..JOBS {
        hosts.enqueue(number * 7 % 4, format!("job-{number}")).await;
        hosts.until_ended(number + 1).await;
    }
    hosts.expect_shares();
}

/// Whoever enqueues the same again, or at the same time, enqueues it once.
#[tokio::test(flavor = "multi_thread")]
async fn enqueued_once() {
    let hosts = Hosts::of(2).await;
    let (one, other) = (hosts.bus(0, Role::Pools), hosts.bus(1, Role::Tasks));
    let all =
        || (0..150).map(|number| job(&format!("job-{number}"), Work::ConsoleCertificate, Priority::Low)).collect();
    let (first, second) = tokio::join!(enqueue(&one, all()), enqueue(&other, all()));
    let (first, second) = (first.expect("the bus answers"), second.expect("the bus answers"));
    assert_eq!(first.enqueued + second.enqueued, 150, "{first:?} {second:?}");
    assert_eq!(first.there + second.there, 150, "{first:?} {second:?}");
    assert_eq!(jobs(&one).await, 150);
}
