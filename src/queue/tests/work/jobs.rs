//! Jobs from the enqueueing to the result, over a real bus: each done once, whatever happens to who does it.

use std::time::{Duration, Instant};

use crate::kit::{Cluster, job, until, with_ca};
use culvert_model::record::{
    CaKey, CertificateState, Job, JobState, Organization, Priority, Purpose, Tls, TlsKey, Work,
};
use culvert_model::{HostId, Id, Role};
use culvert_records::{Kept, Stored};
use openssl::pkey::PKey;
use openssl::x509::X509;

fn certificate(organization: Id, purpose: Purpose, id: &str, priority: Priority) -> Job {
    job(id, Work::Certificate { organization, purpose }, priority)
}

async fn begun(cluster: &Cluster, id: &str) -> Stored<Job> {
    let bus = cluster.api();
    until("the job to be begun", async || {
        bus.get::<Job>(id).await.expect("the bus answers").filter(|job| job.record.attempts > 0 && job.held_for() > 0)
    })
    .await
}

#[tokio::test]
async fn a_ca_and_certificates_under_it() {
    let cluster = Cluster::new();
    cluster.settings(|_| {}).await;
    let _queue = cluster.queue();
    let organization = with_ca(cluster.api()).await;
    let bus = cluster.api();
    bus.insert(&certificate(organization, Purpose::Client, "one", Priority::Low)).await.expect("a new job");
    bus.insert(&certificate(organization, Purpose::Server, "two", Priority::High)).await.expect("a new job");
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;

    let record = bus.get::<Organization>(organization).await.expect("the bus answers").expect("it is there").record;
    let ca = X509::from_der(&record.ca.expect("it was waited for").0).expect("DER");
    let key = cluster.bus(Role::Queue).get::<CaKey>(organization).await.expect("the bus answers").expect("a key");
    let key = PKey::private_key_from_pkcs8(&key.record.key.0).expect("PKCS #8");
    assert!(ca.verify(&key).expect("it can be checked") && record.ca_expires.is_some());
    for purpose in [Purpose::Client, Purpose::Server] {
        let made = cluster.certificates(organization, purpose, CertificateState::Ready).await;
        assert_eq!(made.len(), 1);
        let leaf = X509::from_der(&made[0].der.0).expect("DER");
        assert!(leaf.verify(&key).expect("it can be checked"));
        let digest = leaf.digest(openssl::hash::MessageDigest::sha256()).expect("a digest");
        assert_eq!(made[0].fingerprint, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
}

#[tokio::test]
async fn the_console_has_one_certificate() {
    let cluster = Cluster::new();
    let _queue = cluster.queue();
    let bus = cluster.api();
    let enqueue = async || {
        let job = job("console-certificate", Work::ConsoleCertificate, Priority::High);
        bus.insert(&job).await.expect("a new job");
        until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;
        bus.get::<Tls>(Tls::ID).await.expect("the bus answers").expect("a certificate")
    };
    let first = enqueue().await;
    let key = bus.get::<TlsKey>(Tls::ID).await.expect("the bus answers").expect("a key");
    let key = PKey::private_key_from_pkcs8(&key.record.key.0).expect("PKCS #8");
    let certificate = X509::from_der(&first.record.chain[0].0).expect("DER");
    assert!(certificate.public_key().expect("it has one").public_eq(&key));
    assert_eq!(enqueue().await, first, "what is there is left alone");
}

#[tokio::test]
async fn reserved_in_the_middle() {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.user_key = culvert_model::KeyKind::Rsa4096).await;
    let _queue = cluster.queue();
    let organization = with_ca(cluster.api()).await;
    let bus = cluster.api();
    bus.insert(&certificate(organization, Purpose::Client, "one", Priority::Low)).await.expect("a new job");
    let mut job = begun(&cluster, "one").await;
    job.record.reserved = Some("alice".into());
    bus.update(&mut job).await.expect("nobody else changes it");
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;
    let made = cluster.certificates(organization, Purpose::Client, CertificateState::Reserved).await;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].reserved.as_deref(), Some("alice"));
    assert!(cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await.is_empty());
}

#[tokio::test]
async fn killed_in_the_middle() {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.user_key = culvert_model::KeyKind::Rsa4096).await;
    let queue = cluster.queue();
    let organization = with_ca(cluster.api()).await;
    let bus = cluster.api();
    bus.insert(&certificate(organization, Purpose::Client, "one", Priority::Low)).await.expect("a new job");
    let before = begun(&cluster, "one").await;
    // Nothing is given back: as after kill -9.
    queue.abort();
    let killed = Instant::now();
    let _next = cluster.queue();
    until("the job to be begun again", async || {
        let job = bus.get::<Job>("one").await.expect("the bus answers")?;
        (job.record.attempts == 2 && job.lease.map(|lease| lease.epoch) > before.claim().map(|claim| claim.epoch))
            .then_some(())
    })
    .await;
    assert!(killed.elapsed() < Duration::from_secs(5), "it was not waited for the old lease");
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;
    assert_eq!(cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await.len(), 1);
}

#[tokio::test]
async fn stopped_in_the_middle() {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.user_key = culvert_model::KeyKind::Rsa4096).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let first = tokio::spawn(culvert_queue::attend(cluster.bus(Role::Queue), async {
        let _ = stopped.await;
    }));
    let organization = with_ca(cluster.api()).await;
    let bus = cluster.api();
    bus.insert(&certificate(organization, Purpose::Client, "one", Priority::Low)).await.expect("a new job");
    begun(&cluster, "one").await;
    drop(stop);
    first.await.expect("it ends");
    let job = bus.get::<Job>("one").await.expect("the bus answers").expect("it is not done");
    assert_eq!((job.record.attempts, job.held_for()), (0, 0), "given back, and not counted");
}

#[tokio::test]
async fn another_takes_it_and_the_first_cannot_write() {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.user_key = culvert_model::KeyKind::Rsa4096).await;
    let queue = cluster.queue();
    let organization = with_ca(cluster.api()).await;
    let bus = cluster.api();
    bus.insert(&certificate(organization, Purpose::Client, "one", Priority::Low)).await.expect("a new job");
    let held = begun(&cluster, "one").await;
    // The store's clock says that it ran out, and another was quicker: here by giving it back in the first one's name.
    let role = cluster.bus(Role::Queue);
    role.release::<Job>("one", &held.claim().expect("it is held")).await.expect("the bus answers");
    let thief = cluster.bus_of(HostId::new(), Role::Queue);
    let Kept::Held(stolen) = thief.claim::<Job>("one", None, "thief", 15_000).await.expect("the bus answers") else {
        panic!("nobody holds it");
    };
    // Long enough for the first to end its work and to see that it lost.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let job = bus.get::<Job>("one").await.expect("the bus answers").expect("it is not done");
    assert_eq!(job.claim(), stolen.claim());
    assert!(cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await.is_empty());
    queue.abort();
}

#[tokio::test]
async fn what_fails_waits_and_dies_in_the_end() {
    let cluster = Cluster::new();
    let organization = cluster.organization().await;
    let bus = cluster.api();
    let first = certificate(organization, Purpose::Client, "first", Priority::High);
    let last = Job { attempts: 4, ..certificate(organization, Purpose::Client, "last", Priority::High) };
    let crashed = Job { attempts: 5, ..certificate(organization, Purpose::Client, "crashed", Priority::High) };
    for job in [&first, &last, &crashed] {
        bus.insert(job).await.expect("a new job");
    }
    let _queue = cluster.queue();
    let failed = async |id: &str, state: JobState| {
        until("a failure", async || {
            let job = bus.get::<Job>(id).await.expect("the bus answers")?;
            (job.record.state == state && job.record.error.is_some() && job.held_for() == 0).then_some(job.record)
        })
        .await
    };
    let first = failed("first", JobState::Open).await;
    assert!(first.attempts >= 1 && first.not_before > 0);
    assert!(first.error.is_some_and(|error| error.contains("CA")));
    assert_eq!(failed("last", JobState::Dead).await.attempts, 5);
    let crashed = failed("crashed", JobState::Dead).await;
    assert!(crashed.error.is_some_and(|error| error.contains("begun 5 times")));
    // The CA comes, and with it what waited.
    bus.insert(&job("ca", Work::Ca { organization }, Priority::High)).await.expect("a new job");
    until("a certificate", async || {
        let made = cluster.certificates(organization, Purpose::Client, CertificateState::Ready).await;
        (made.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn many_jobs_one_after_the_other() {
    let cluster = Cluster::new();
    let _queue = cluster.queue();
    let organization = with_ca(cluster.api()).await;
    for number in 0..250 {
        let job = certificate(organization, Purpose::Server, &format!("job-{number}"), Priority::Low);
        cluster.api().insert(&job).await.expect("a new job");
    }
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;
    assert_eq!(cluster.certificates(organization, Purpose::Server, CertificateState::Ready).await.len(), 250);
}

#[tokio::test]
async fn of_an_organisation_that_is_gone() {
    let cluster = Cluster::new();
    let bus = cluster.api();
    let organization = Id::new();
    bus.insert(&certificate(organization, Purpose::Client, "one", Priority::Low)).await.expect("a new job");
    bus.insert(&job("two", Work::Ca { organization }, Priority::Low)).await.expect("a new job");
    let _queue = cluster.queue();
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;
}
