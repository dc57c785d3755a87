//! A stage with pools, and a queue that is the test: it ends jobs as it likes.

#![allow(dead_code, reason = "each suite uses a part")]

#[path = "../../../../tests/kit/samples.rs"]
#[allow(missing_docs, reason = "the kit serves other suites, too")]
mod samples;
#[path = "../../../../tests/kit/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use culvert_bus::store::Store;
use culvert_model::record::{
    Certificate, CertificateState, DhParams, Job, JobState, Organization, Purpose, Settings, Tls, Work,
};
use culvert_model::{Bytes, Id, Role};
use culvert_records::{Bus, Query, Stored, delete, insert};
use samples::made;
pub use stage::{Stage, until};

/// The pools process of the stage's host.
pub fn pools<S: Store>(stage: &Stage<S>) {
    let bus = stage.bus(Role::Pools);
    tokio::spawn(async move { culvert_pools::keep(&bus).await });
}

/// Three clients, two servers, two CAs and two sets of parameters.
pub fn settings() -> Settings {
    let dh = culvert_model::record::Dh::Own;
    Settings {
        client_pool: 3,
        server_pool: 2,
        ca_pool: 2,
        dh_pool: 1,
        dh_pool_bits: vec![2048, 3072],
        dh,
        ..Settings::default()
    }
}

/// The ids of the jobs that fill all pools of one organisation and of the cluster.
pub fn slots(organization: Id) -> BTreeSet<String> {
    let of = |prefix: String, level: u16| (0..level).map(move |slot| format!("{prefix}{slot}"));
    of(format!("certificate/{organization}/client/"), 3)
        .chain(of(format!("certificate/{organization}/server/"), 2))
        .chain(of("authority/".into(), 2))
        .chain(of("dh-params/2048/".into(), 1))
        .chain(of("dh-params/3072/".into(), 1))
        .collect()
}

/// The settings, the console's certificate and an organisation with a CA.
pub async fn prepare(api: &Bus) -> Id {
    let id = Id::new();
    let organization =
        Organization { id, name: "acme".into(), auth_api: false, ca: Some(Bytes(vec![1])), ca_expires: Some(2) };
    let tls = Tls { id: Tls::ID.into(), chain: vec![Bytes(vec![1])], expires: 1 };
    api.write(vec![insert(&settings()), insert(&tls), insert(&organization)]).await.expect("a new store");
    id
}

pub async fn jobs(bus: &Bus) -> Vec<Stored<Job>> {
    bus.list::<Job>(Query::all()).await.expect("the bus answers")
}

pub async fn ids(bus: &Bus) -> BTreeSet<String> {
    jobs(bus).await.into_iter().map(|job| job.record.id).collect()
}

/// Ends all jobs as the queue does, each result and its job's removal at once, until there are none.
pub async fn finish(queue: &Bus) {
    until("no jobs", async || {
        let jobs = jobs(queue).await;
        for job in &jobs {
            end(queue, job).await;
        }
        jobs.is_empty().then_some(())
    })
    .await;
}

async fn end(queue: &Bus, job: &Stored<Job>) {
    let id = Id::new();
    let made = match job.record.work {
        Work::SpareCa => insert(&certificate(id, id, Purpose::Authority)),
        Work::Certificate { organization, purpose } => insert(&certificate(id, organization, purpose)),
        Work::DhParams { bits } => insert(&DhParams { id, bits, der: Bytes(vec![1]) }),
        ref other => panic!("{other:?}"),
    };
    let surplus = culvert_pool::surplus(queue, &job.record).await.expect("the bus answers");
    let made = (!surplus).then_some(made);
    let removed = delete::<Job>(&job.record.id, job.unchanged());
    queue.write(made.into_iter().chain([removed]).collect()).await.expect("nobody else ends it");
}

/// Gives a job up as the queue does.
pub async fn give_up(queue: &Bus, mut job: Stored<Job>) {
    job.record.state = JobState::Dead;
    queue.update(&mut job).await.expect("nobody else changes it");
}

fn certificate(id: Id, organization: Id, purpose: Purpose) -> Certificate {
    made(|certificate: &mut Certificate| {
        (certificate.id, certificate.organization, certificate.purpose) = (id, organization, purpose);
        (certificate.state, certificate.reserved) = (CertificateState::Ready, None);
        (certificate.subject, certificate.fingerprint) = (id, id.to_string());
    })
}
