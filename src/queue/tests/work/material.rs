//! What is made for nobody yet, or for a server: CAs of organisations that are still to be made, and Diffie-Hellman
//! parameters.

use std::time::Duration;

use crate::kit::{Cluster, job, samples, until};
use culvert_model::record::{CaKey, Certificate, CertificateState, Dh, DhParams, Job, Priority, Purpose, Server, Work};
use culvert_model::{KeyKind, Role};
use culvert_records::Query;
use openssl::dh::Dh as Params;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::X509;
use tokio::time::{sleep, timeout};

/// A search may have bad luck: of two thousand that take ten seconds on average, one takes longer.
const LUCK: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_ca_for_an_organisation_to_be() {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.ca_key = KeyKind::P384).await;
    let _queue = cluster.queue();
    let bus = cluster.api();
    bus.insert(&job("spare", Work::SpareCa, Priority::Low)).await.expect("a new job");
    let mut wanted = job("wanted", Work::SpareCa, Priority::High);
    wanted.reserved = Some("acme".into());
    bus.insert(&wanted).await.expect("a new job");
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;

    let mut made = bus.list::<Certificate>(Query::all()).await.expect("the bus answers");
    made.sort_by_key(|one| one.record.reserved.is_some());
    let states: Vec<_> = made.iter().map(|one| (one.record.state, one.record.reserved.as_deref())).collect();
    assert_eq!(states, [(CertificateState::Ready, None), (CertificateState::Reserved, Some("acme"))]);
    for Certificate { id, organization, subject, purpose, der, .. } in made.into_iter().map(|one| one.record) {
        assert_eq!((organization, subject, purpose), (id, id, Purpose::Authority));
        let certificate = X509::from_der(&der.0).expect("DER");
        let names = [Nid::ORGANIZATIONNAME, Nid::COMMONNAME].map(|nid| {
            let entry = certificate.subject_name().entries_by_nid(nid).next().expect("a name");
            entry.data().to_string().expect("text")
        });
        assert_eq!(names, [id.to_string(), id.to_string()]);
        let key = cluster.bus(Role::Queue).get::<CaKey>(id).await.expect("the bus answers").expect("a key");
        let key = PKey::private_key_from_pkcs8(&key.record.key.0).expect("PKCS #8");
        assert!(key.bits() == 384 && certificate.verify(&key).expect("it can be checked"));
    }
}

#[tokio::test]
async fn parameters_for_whoever_waits_and_for_nobody_without_need() {
    let cluster = Cluster::new();
    cluster.settings(|settings| settings.dh = Dh::None).await;
    let _queue = cluster.queue();
    let bus = cluster.api();
    let work = || Work::DhParams { bits: 2048 };
    bus.insert(&job("spare", work(), Priority::Low)).await.expect("a new job");
    until("no jobs", async || (cluster.jobs().await == 0).then_some(())).await;
    let found = async || bus.list::<DhParams>(Query::all()).await.expect("the bus answers");
    assert!(found().await.is_empty(), "servers have no parameters of their own");

    // A server that waited when the settings were changed gets what it waits for.
    let server = Server { dh_param_bits: 1024, ..samples::server(&[]) };
    bus.insert(&server).await.expect("a new server");
    let mut wanted = job("wanted", work(), Priority::High);
    wanted.reserved = Some(server.id.to_string());
    bus.insert(&wanted).await.expect("a new job");
    let done = timeout(LUCK, async {
        while bus.get::<Job>("wanted").await.expect("the bus answers").is_some() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    done.await.expect("in ten minutes");
    assert!(found().await.is_empty(), "they are nobody else's");
    let server = bus.get::<Server>(server.id).await.expect("the bus answers").expect("it is there").record;
    let params = server.dh_params.expect("whoever ordered them need not be there");
    assert_eq!(Params::params_from_der(&params.0).expect("PKCS #3").prime_p().num_bits(), 2048);
}
