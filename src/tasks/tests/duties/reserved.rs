//! What was made for somebody who does not wait any more.

use culvert_model::record::{Certificate, CertificateState, DhParams, Server};
use culvert_model::{Bytes, Id};

use crate::kit::{Broken, made, organization, server, touch};
use crate::orphans::certificate;

fn parameters(reserved: Option<String>) -> DhParams {
    made(|parameters: &mut DhParams| (parameters.id, parameters.reserved) = (Id::new(), reserved))
}

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
    let (waits, has) = (server(&[]), Server { dh_params: Some(Bytes(vec![0])), ..server(&[]) });
    broken.put(&waits).await;
    broken.put(&has).await;
    let of = |word: &str| parameters(Some(word.into()));
    let (unfetched, late) = (of("a"), of(&has.id.to_string()));
    let (awaited, free) = (of(&waits.id.to_string()), parameters(None));
    for parameters in [&unfetched, &late, &awaited, &free] {
        broken.put(parameters).await;
    }
    let theirs = Certificate { state: CertificateState::Taken, reserved: None, ..fetched.clone() };
    broken
        .while_it_watches(
            async || broken.write(vec![touch(&theirs)]).await,
            "reserved",
            "1 certificate and 2 parameter sets given back",
        )
        .await;
    let expected = Certificate { state: CertificateState::Ready, reserved: None, ..left };
    for certificate in [expected, theirs, taken, ready] {
        assert_eq!(broken.get::<Certificate>(certificate.id).await.record, certificate);
    }
    for parameters in [DhParams { reserved: None, ..unfetched }, DhParams { reserved: None, ..late }, awaited, free] {
        assert_eq!(broken.get::<DhParams>(parameters.id).await.record, parameters);
    }
    assert_eq!(broken.says("reserved").await, "0 certificates and 0 parameter sets given back");
}
