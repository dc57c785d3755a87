//! The embedded store does what every store must.

mod conformance;

use conformance::{Subject, suite};
use culvert_bus::store::embedded::Embedded;
use culvert_model::HostId;

#[tokio::test]
async fn conforms() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let host = HostId::new();
    let store = Embedded::open(&folder.path().join("store.sqlite"), host).expect("the store opens");
    suite(&Subject { store, host }).await;
}
