//! Pools are filled, refilled at once when somebody takes from them, and never above their level.

use std::time::{Duration, Instant};

use crate::kit::{Cluster, until};
use culvert_model::record::{Certificate, CertificateState, Job, Purpose, Tls};
use culvert_model::{Id, KeyKind, Role};
use culvert_records::{Bus, Query};
use tokio::task::JoinHandle;

fn pools(cluster: &Cluster) -> JoinHandle<()> {
    let bus = cluster.bus(Role::Pools);
    tokio::spawn(async move { culvert_pools::keep(&bus).await })
}

async fn full(cluster: &Cluster, organization: Id) -> Vec<Certificate> {
    until("full pools", async || {
        let clients = cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await;
        let servers = cluster.certificates(organization, Purpose::Server, CertificateState::Ready).await;
        (clients.len() == 3 && servers.len() == 2).then_some(clients)
    })
    .await
}

async fn settled(cluster: &Cluster, organization: Id) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(cluster.jobs().await, 0);
    let counts = [Purpose::Client, Purpose::Server]
        .map(async |purpose| cluster.certificates(organization, purpose, CertificateState::Ready).await.len());
    let [clients, servers] = counts;
    assert_eq!((clients.await, servers.await), (3, 2), "not above the level");
}

async fn take(bus: &Bus, certificate: &Certificate) {
    let mut stored = bus.get::<Certificate>(certificate.id).await.expect("the bus answers").expect("it is there");
    stored.record.state = CertificateState::Taken;
    bus.update(&mut stored).await.expect("nobody else takes it");
}

#[tokio::test]
async fn from_nothing_and_after_every_take() {
    let cluster = Cluster::new();
    cluster.settings(|settings| (settings.client_pool, settings.user_key) = (3, KeyKind::P256)).await;
    // As on three hosts: they enqueue the same jobs.
    let _all = [pools(&cluster), pools(&cluster), pools(&cluster)];
    let _queue = cluster.queue();
    let organization = cluster.organization().await;
    let ready = full(&cluster, organization).await;
    settled(&cluster, organization).await;
    assert!(cluster.api().get::<Tls>(Tls::ID).await.expect("the bus answers").is_some(), "the console, too");

    let begun = Instant::now();
    take(cluster.api(), &ready[0]).await;
    // The job may be done between two looks.
    until("a job, or a full pool", async || {
        let jobs = cluster.api().list::<Job>(Query::all()).await.expect("the bus answers");
        let clients = cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await.len();
        (clients == 3 || jobs.iter().any(|job| job.record.id.starts_with("certificate/"))).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(500), "refilled at once: {:?}", begun.elapsed());
    full(&cluster, organization).await;
    settled(&cluster, organization).await;
}

#[tokio::test]
async fn a_reservation_does_not_count() {
    let cluster = Cluster::new();
    cluster.settings(|settings| (settings.client_pool, settings.user_key) = (3, KeyKind::P256)).await;
    let organization = cluster.organization().await;
    let _pools = pools(&cluster);
    let queue = cluster.queue();
    full(&cluster, organization).await;
    queue.abort();
    // The queue is away: three are taken, three jobs come, one of them is reserved.
    let ready = cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await;
    for certificate in &ready {
        take(cluster.api(), certificate).await;
    }
    let mut job = until("three jobs", async || {
        let mut jobs = cluster.api().list::<Job>(Query::all()).await.expect("the bus answers");
        (jobs.len() == 3).then(|| jobs.remove(0))
    })
    .await;
    job.record.reserved = Some("alice".into());
    cluster.api().update(&mut job).await.expect("nobody else changes it");
    let _queue = cluster.queue();
    full(&cluster, organization).await;
    settled(&cluster, organization).await;
    let reserved = cluster.certificates(organization, Purpose::Client, CertificateState::Reserved).await;
    assert_eq!(reserved.len(), 1);
}
