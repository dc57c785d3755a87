//! Users whose organisation is gone.

use std::net::Ipv4Addr;

use culvert_model::Id;
use culvert_model::record::{
    Address, CaKey, Certificate, CertificateKey, Crl, Organization, OrganizationSecret, Revocation, User, UserSecret,
};

use crate::addresses::address;
use crate::kit::{Broken, made, organization, touch, user};
use crate::orphans::certificate;

#[tokio::test]
async fn they_go_with_all_that_was_theirs() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let [gone, damaged] = [Id::new(), Id::new()];
    broken.put_damaged::<Organization>(damaged).await;
    let [lost, bare, kept, unknown] = [user(gone), user(gone), user(staff.id), user(damaged)];
    for user in [&lost, &bare, &kept, &unknown] {
        broken.put(user).await;
    }
    // One has a secret, two addresses and two certificates; the other has nothing.
    for owner in [&lost, &kept] {
        broken.put(&made(|secret: &mut UserSecret| secret.id = owner.id)).await;
        for last in [10, 11] {
            broken.put(&address(Id::new(), owner.id, Ipv4Addr::new(10, 8, 0, last))).await;
            let certificate = Certificate { subject: owner.id, ..certificate(owner.organization) };
            broken.put(&certificate).await;
            broken.put(&made(|key: &mut CertificateKey| key.id = certificate.id)).await;
        }
    }
    for id in [gone, staff.id] {
        broken.put(&made(|key: &mut CaKey| key.id = id)).await;
        broken.put(&made(|secret: &mut OrganizationSecret| secret.id = id)).await;
        broken.put(&made(|crl: &mut Crl| crl.id = id)).await;
        let revocation = |it: &mut Revocation| (it.id, it.organization) = (format!("{id}-0a"), id);
        broken.put(&made(revocation)).await;
    }
    assert_eq!(broken.says("lost-users").await, "2 users removed");
    let mut left: Vec<Id> = broken.all::<User>().await.iter().map(|user| user.id).collect();
    left.sort();
    let mut expected = [kept.id, unknown.id];
    expected.sort();
    assert_eq!(left, expected);
    assert!(!broken.has::<UserSecret>(lost.id).await && broken.has::<UserSecret>(kept.id).await);
    assert!(broken.all::<Address>().await.iter().all(|address| address.user == kept.id));
    let certificates = broken.all::<Certificate>().await;
    assert_eq!(certificates.len(), 2);
    for certificate in certificates {
        assert!(certificate.subject == kept.id && broken.has::<CertificateKey>(certificate.id).await);
    }
    for (id, there) in [(gone, false), (staff.id, true)] {
        assert_eq!(broken.has::<CaKey>(id).await, there);
        assert_eq!(broken.has::<OrganizationSecret>(id).await, there);
        assert_eq!(broken.has::<Crl>(id).await, there);
        assert_eq!(broken.has::<Revocation>(format!("{id}-0a")).await, there);
    }
    assert_eq!(broken.says("lost-users").await, "0 users removed");
}

#[tokio::test]
async fn who_is_changed_meanwhile_stays() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let lost = user(Id::new());
    broken.put(&lost).await;
    broken.put(&made(|secret: &mut UserSecret| secret.id = lost.id)).await;
    broken.before_the_next(vec![touch(&User { organization: staff.id, ..lost.clone() })]);
    assert_eq!(broken.says("lost-users").await, "0 users removed");
    assert!(broken.has::<User>(lost.id).await && broken.has::<UserSecret>(lost.id).await);
    assert_eq!(broken.says("lost-users").await, "0 users removed");
}

/// An organisation that is there again at the second look keeps its users.
#[tokio::test]
async fn it_is_looked_twice() {
    let broken = Broken::new();
    let restored = organization();
    let users = [user(restored.id), user(restored.id)];
    for user in &users {
        broken.put(user).await;
    }
    broken.while_it_watches(async || broken.put(&restored).await, "lost-users", "0 users removed").await;
    assert_eq!(broken.all::<User>().await.len(), 2);
}
