//! The life of certificates where records are damaged; where all are whole, `tests/certificates` shows it.

use culvert_model::Id;
use culvert_model::record::{
    Certificate, CertificateKey, Crl, Instance, Job, Organization, Purpose, Server, Tls, User, Work,
};
use culvert_records::{Guard, delete};

use crate::kit::{Broken, made, organization, server};
use crate::orphans::certificate;

const DAY: u64 = 24 * 3_600_000;

fn signing() -> Organization {
    let ca_expires = Some(u64::MAX / 4);
    Organization { ca: Some(culvert_model::Bytes(vec![1])), ca_expires, ..organization() }
}

#[tokio::test]
async fn what_is_damaged_keeps_nothing_else() {
    let broken = Broken::new();
    let (_, now) = broken.bus.here().await.expect("the bus answers");
    let [staff, guests] = [signing(), signing()];
    for organization in [&staff, &guests] {
        broken.put(organization).await;
    }
    // Before the certificate of a server in the order of their ends.
    let unreadable = Id::new();
    broken.put_damaged::<User>(unreadable).await;
    broken.put(&Certificate { subject: unreadable, expires: now + DAY, ..certificate(staff.id) }).await;
    let soon = Certificate { purpose: Purpose::Server, expires: now + 2 * DAY, ..certificate(staff.id) };
    broken.put(&Server { certificate: Some(soon.id), ..server(&[staff.id]) }).await;
    broken.put(&soon).await;
    broken.put_damaged::<Tls>(Tls::ID).await;
    broken.put_damaged::<Job>(format!("crl/{}", guests.id)).await;
    let replaced =
        |organization| Certificate { replaced: Some(now - 1), expires: now + 900 * DAY, ..certificate(organization) };
    let over = [replaced(staff.id), replaced(guests.id)];
    for certificate in &over {
        broken.put(certificate).await;
        broken.put(&made(|key: &mut CertificateKey| key.id = certificate.id)).await;
    }
    assert!(broken.all::<Crl>().await.is_empty());
    broken.run("certificates").await;
    assert!(!broken.has::<Certificate>(over[0].id).await && !broken.has::<CertificateKey>(over[0].id).await);
    assert!(broken.has::<Certificate>(over[1].id).await, "its list can't be signed");
    let jobs: Vec<Work> = broken.all::<Job>().await.into_iter().map(|job| job.work).collect();
    let renewal = Work::Renew { certificate: soon.id, immediate: false, compromised: false };
    assert!(
        jobs.len() == 2 && jobs.contains(&Work::Crl { organization: staff.id }) && jobs.contains(&renewal),
        "{jobs:?}"
    );
}

/// What a server was started with it shows until it is started again; which one that is a damaged instance does not say.
#[tokio::test]
async fn what_a_damaged_instance_may_show_stays() {
    let broken = Broken::new();
    let (_, now) = broken.bus.here().await.expect("the bus answers");
    let staff = signing();
    broken.put(&staff).await;
    let over = |purpose| Certificate { purpose, replaced: Some(now - 1), expires: now + DAY, ..certificate(staff.id) };
    let [of_server, of_user] = [over(Purpose::Server), over(Purpose::Client)];
    broken.put(&of_server).await;
    broken.put(&of_user).await;
    broken.put_damaged::<Instance>("one").await;
    broken.run("certificates").await;
    assert!(broken.has::<Certificate>(of_server.id).await && !broken.has::<Certificate>(of_user.id).await);
    broken.write(vec![delete::<Instance>("one", Guard::default())]).await;
    broken.run("certificates").await;
    assert!(!broken.has::<Certificate>(of_server.id).await);
}
