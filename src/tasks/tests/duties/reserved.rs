//! What was made for somebody who does not wait any more.

use culvert_model::record::{Certificate, CertificateState};

use crate::kit::{Broken, organization, touch};
use crate::orphans::certificate;

#[tokio::test]
async fn what_nobody_fetches_is_for_everybody() {
    let broken = Broken::new();
    let staff = organization().id;
    let reserved = |word: &str| Certificate {
        state: CertificateState::Reserved,
        reserved: Some(word.into()),
        ..certificate(staff)
    };
    let (left, fetched) = (reserved("a"), reserved("b"));
    // Whoever took it may have left the word.
    let taken = Certificate { state: CertificateState::Taken, ..reserved("c") };
    let ready = Certificate { state: CertificateState::Ready, ..certificate(staff) };
    for certificate in [&left, &fetched, &taken, &ready] {
        broken.put(certificate).await;
    }
    let theirs = Certificate { state: CertificateState::Taken, reserved: None, ..fetched.clone() };
    broken
        .while_it_watches(async || broken.write(vec![touch(&theirs)]).await, "reserved", "1 certificate given back")
        .await;
    let expected = Certificate { state: CertificateState::Ready, reserved: None, ..left };
    for certificate in [expected, theirs, taken, ready] {
        assert_eq!(broken.get::<Certificate>(certificate.id).await.record, certificate);
    }
    assert_eq!(broken.says("reserved").await, "0 certificates given back");
}
