//! The store in MongoDB does what every store must, and goes on when the primary is lost. Needs mongod: `make setup`.

mod conformance;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;

use conformance::{Subject, suite};
use culvert_bus::store::mongo::Mongo;
use culvert_model::HostId;
use mongod::ReplicaSet;

async fn open(set: &ReplicaSet) -> Subject<Mongo> {
    let host = HostId::new();
    let store = Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens");
    Subject { store, host }
}

#[tokio::test]
async fn conforms() {
    let set = ReplicaSet::start(1).expect("a replica set");
    suite(&open(&set).await).await;
}
