//! Certificates and figures whose owner is gone.

use culvert_model::record::{
    CaKey, Certificate, CertificateKey, CertificateState, Host, Organization, Output, Purpose, Server, Usage, User,
};
use culvert_model::{HostId, Id};
use culvert_records::{Guard, delete};

use crate::kit::{Broken, made, organization, server, touch, user};

/// A user's, as far as it says.
pub fn certificate(organization: Id) -> Certificate {
    made(|certificate: &mut Certificate| {
        let id = Id::new();
        (certificate.id, certificate.organization, certificate.subject) = (id, organization, Id::new());
        (certificate.purpose, certificate.state) = (Purpose::Client, CertificateState::Taken);
        (certificate.reserved, certificate.replaced, certificate.fingerprint) = (None, None, id.to_string());
    })
}

#[tokio::test]
async fn certificates_of_nobody_go_with_their_keys() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let [gone, damaged] = [Id::new(), Id::new()];
    broken.put_damaged::<Organization>(damaged).await;
    let (ann, unreadable) = (user(staff.id), Id::new());
    broken.put(&ann).await;
    broken.put_damaged::<User>(unreadable).await;
    let of_server = Certificate { purpose: Purpose::Server, ..certificate(staff.id) };
    broken.put(&Server { certificate: Some(of_server.id), ..server(&[staff.id]) }).await;
    let authority =
        |state, subject| Certificate { purpose: Purpose::Authority, state, subject, ..certificate(subject) };
    let (ready, taken) = (CertificateState::Ready, CertificateState::Taken);
    let kept = [
        Certificate { subject: ann.id, ..certificate(staff.id) },
        Certificate { subject: unreadable, ..certificate(staff.id) },
        Certificate { state: ready, ..certificate(staff.id) },
        Certificate { state: CertificateState::Reserved, ..certificate(staff.id) },
        Certificate { state: ready, ..certificate(damaged) },
        // Good for a while beside the one that replaced it.
        Certificate { replaced: Some(7), purpose: Purpose::Server, ..certificate(staff.id) },
        of_server,
        authority(ready, Id::new()),
        authority(taken, staff.id),
    ];
    let lost = [
        certificate(staff.id),
        Certificate { purpose: Purpose::Server, ..certificate(staff.id) },
        Certificate { state: ready, ..certificate(gone) },
        Certificate { state: CertificateState::Reserved, purpose: Purpose::Server, ..certificate(gone) },
        authority(taken, Id::new()),
    ];
    for certificate in kept.iter().chain(&lost) {
        broken.put(certificate).await;
        match certificate.purpose {
            Purpose::Authority => broken.put(&made(|key: &mut CaKey| key.id = certificate.subject)).await,
            _ => broken.put(&made(|key: &mut CertificateKey| key.id = certificate.id)).await,
        }
    }
    broken.put(&made(|key: &mut CaKey| key.id = gone)).await;
    assert_eq!(broken.says("lost-records").await, "5 certificates and 0 other records removed");
    let key = async |certificate: &Certificate| match certificate.purpose {
        Purpose::Authority => broken.has::<CaKey>(certificate.subject).await,
        _ => broken.has::<CertificateKey>(certificate.id).await,
    };
    for certificate in &lost {
        assert!(!broken.has::<Certificate>(certificate.id).await && !key(certificate).await, "{certificate:?}");
    }
    for certificate in &kept {
        assert_eq!(&broken.get::<Certificate>(certificate.id).await.record, certificate);
        assert!(key(certificate).await);
    }
    assert!(!broken.has::<CaKey>(gone).await);
    assert_eq!(broken.says("lost-records").await, "0 certificates and 0 other records removed");
}

/// Which certificate it has nobody knows: any may be its.
#[tokio::test]
async fn what_a_damaged_server_may_have_stays() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    broken.put(&server(&[staff.id])).await;
    let its = Certificate { purpose: Purpose::Server, ..certificate(staff.id) };
    let lost = certificate(staff.id);
    for certificate in [&its, &lost] {
        broken.put(certificate).await;
        broken.put(&made(|key: &mut CertificateKey| key.id = certificate.id)).await;
    }
    let damaged = Id::new();
    broken.put_damaged::<Server>(damaged).await;
    assert_eq!(broken.says("lost-records").await, "1 certificate and 0 other records removed");
    assert!(broken.has::<Certificate>(its.id).await && broken.has::<CertificateKey>(its.id).await);
    broken.write(vec![delete::<Server>(damaged, Guard::default())]).await;
    assert_eq!(broken.says("lost-records").await, "1 certificate and 0 other records removed");
    assert!(!broken.has::<Certificate>(its.id).await && !broken.has::<CertificateKey>(its.id).await);
}

#[tokio::test]
async fn what_somebody_takes_meanwhile_stays() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let lost = certificate(staff.id);
    broken.put(&lost).await;
    broken.put(&made(|key: &mut CertificateKey| key.id = lost.id)).await;
    broken.before_the_next(vec![touch(&Certificate { state: CertificateState::Ready, ..lost.clone() })]);
    assert_eq!(broken.says("lost-records").await, "0 certificates and 0 other records removed");
    assert!(broken.has::<CertificateKey>(lost.id).await);
    // At the second look, it is a server's.
    let server = Server { certificate: Some(lost.id), ..server(&[staff.id]) };
    broken.write(vec![touch(&Certificate { purpose: Purpose::Server, ..lost.clone() })]).await;
    let nothing = "0 certificates and 0 other records removed";
    broken.while_it_watches(async || broken.put(&server).await, "lost-records", nothing).await;
    assert!(broken.has::<CertificateKey>(lost.id).await);
}

#[tokio::test]
async fn figures_and_lines_of_nobody_go() {
    let broken = Broken::new();
    let (there, damaged) = (made(|host: &mut Host| host.id = HostId::new()), HostId::new());
    broken.put(&there).await;
    broken.put_damaged::<Host>(damaged).await;
    let runs = server(&[]);
    broken.put(&runs).await;
    for host in [there.id, damaged, HostId::new()] {
        broken.put(&made(|usage: &mut Usage| (usage.id, usage.host) = (format!("{host}-1m"), host))).await;
    }
    for server in [runs.id, Id::new()] {
        broken.put(&made(|output: &mut Output| (output.id, output.server) = (format!("{server}-0"), server))).await;
    }
    assert_eq!(broken.says("lost-records").await, "0 certificates and 2 other records removed");
    let hosts: Vec<HostId> = broken.all::<Usage>().await.iter().map(|usage| usage.host).collect();
    assert!(hosts.len() == 2 && hosts.contains(&there.id) && hosts.contains(&damaged));
    assert_eq!(broken.all::<Output>().await.iter().map(|output| output.server).collect::<Vec<_>>(), [runs.id]);
}
