//! The store in MongoDB does what every store must, and goes on when the primary is lost. Needs mongod: `make setup`.

mod check;
mod conformance;
#[path = "../../../tests/kit/mongod.rs"]
#[allow(dead_code, missing_docs, reason = "the kit serves other suites, too")]
mod mongod;
mod outages;
#[path = "../../../tests/kit/secure.rs"]
#[allow(dead_code, missing_docs, reason = "likewise")]
mod secure;

use conformance::{Subject, suite};
use culvert_bus::store::mongo::{Mongo, Step};
use culvert_model::HostId;
use mongod::ReplicaSet;
use secure::Secure;

async fn open(set: &ReplicaSet) -> Subject<Mongo> {
    let host = HostId::new();
    let store = Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens");
    Subject { store, host }
}

#[tokio::test]
async fn conforms() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let first = open(&set).await;
    suite(&first).await;
    // Another host finds the collections made.
    let id = conformance::fresh();
    first.make(culvert_model::Kind::Server, &id, &serde_json::json!({})).await;
    assert!(open(&set).await.get(culvert_model::Kind::Server, &id).await.is_some());
}

/// Three members that speak only TLS, and a user who may do no more than the database's owner must allow.
#[tokio::test]
async fn conforms_over_tls_with_a_user_of_few_rights() {
    let secure = Secure::start(3).expect("a replica set");
    let host = HostId::new();
    let store = Mongo::connect(&secure.uri(), host).await.expect("the store opens");
    suite(&Subject { store, host }).await;
}

/// What somebody reads who gave this URI.
async fn refused(uri: &str, step: Step) -> String {
    let error = Mongo::connect(uri, HostId::new()).await.expect_err("the database cannot be used");
    println!("{error}");
    assert_eq!(error.step, step, "{error}");
    let text = error.to_string();
    assert!(!text.contains("geheim") && !text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn says_what_is_wrong_with_the_server() {
    let alone = ReplicaSet::start_alone(false).expect("a server");
    let text = refused(&format!("mongodb://{}/culvert", alone.address(0)), Step::Topology).await;
    assert!(text.contains("--replSet rs0") && text.contains("rs.initiate()"), "{text}");
    refused(&alone.uri("culvert"), Step::Topology).await;
    refused(&format!("mongodb://{}/?tls=true", alone.address(0)), Step::Tls).await;
    refused(&format!("mongodb://{}/?ssl_ca_certs=x", alone.address(0)), Step::Uri).await;
    drop(alone);
    let waiting = ReplicaSet::start_alone(true).expect("a server");
    let text = refused(&format!("mongodb://{}/culvert", waiting.address(0)), Step::Topology).await;
    assert!(text.contains("rs.initiate()"), "{text}");
}

#[tokio::test]
async fn says_what_is_wrong_with_the_way_there() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let address = set.address(0);
    refused(&format!("mongodb://{address}/?replicaSet=other"), Step::Topology).await;
    refused("mongodb://u:geheim@no-such-host.invalid/", Step::Resolve).await;
    drop(set);
    refused(&format!("mongodb://u:geheim@{address}/?replicaSet=rs0"), Step::Connect).await;
}

#[tokio::test]
async fn says_what_is_wrong_with_the_user() {
    let set = ReplicaSet::start_guarded("root", "geheim").expect("a replica set");
    let uri = |user: &str| format!("mongodb://{user}@{}/culvert?authSource=admin", set.address(0));
    refused(&uri("root:geheimer"), Step::Authentication).await;
    let root = mongodb::Client::with_uri_str(uri("root:geheim")).await.expect("a client");
    let create = mongodb::bson::doc! {
        "createUser": "reader", "pwd": "geheim", "roles": [{ "role": "read", "db": "culvert" }],
    };
    root.database("admin").run_command(create).await.expect("root may");
    let text = refused(&uri("reader:geheim"), Step::Rights).await;
    assert!(text.contains("readWrite on culvert"), "{text}");
    refused(&format!("mongodb://{}/culvert", set.address(0)), Step::Authentication).await;

    let create = mongodb::bson::doc! {
        "createUser": "writer", "pwd": "geheim", "roles": [{ "role": "readWrite", "db": "culvert" }],
    };
    root.database("admin").run_command(create).await.expect("root may");
    Mongo::connect(&uri("writer:geheim"), HostId::new()).await.expect("readWrite is enough");
}

/// With mongosh's usual URI, the bus would stay with one member for ever.
#[tokio::test]
async fn a_direct_connection_is_not_asked_for() {
    let set = ReplicaSet::start(3).expect("a replica set");
    let secondary = (set.primary().expect("a primary") + 1) % 3;
    let uri = format!("mongodb://{}/culvert?directConnection=true", set.address(secondary));
    let store = Mongo::connect(&uri, HostId::new()).await.expect("the store finds the primary");
    Subject { store, host: HostId::new() }
        .make(culvert_model::Kind::Server, &conformance::fresh(), &serde_json::json!({}))
        .await;
}

#[tokio::test]
async fn indexes_are_made_beside_those_of_others() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let client = mongodb::Client::with_uri_str(set.uri("culvert")).await.expect("a client");
    let database = client.database("culvert");
    let collection = |name: &str| database.collection::<mongodb::bson::Document>(name);
    let index = |name: &str, keys| {
        let options = mongodb::options::IndexOptions::builder().name(name.to_owned()).build();
        mongodb::IndexModel::builder().keys(keys).options(options).build()
    };
    // What an operator made, before and after Culvert came.
    let theirs = mongodb::bson::doc! { "b.name": -1, "mine": 1 };
    collection("hosts").create_index(index("mine", theirs.clone())).await.expect("it can be made");
    collection("mine").insert_one(mongodb::bson::doc! { "_id": 1 }).await.expect("it can be made");
    drop(open(&set).await);
    collection("jobs").create_index(index("mine", theirs)).await.expect("it can be made");
    collection("jobs").drop_index("by_state").await.expect("it was made");
    drop(open(&set).await);
    let names = async |name: &str| collection(name).list_index_names().await.expect("it is there");
    for name in ["hosts", "jobs"] {
        assert!(names(name).await.contains(&"mine".to_owned()), "{name}");
    }
    assert!(names("jobs").await.contains(&"by_state".to_owned()), "it is made again");
    assert_eq!(collection("mine").count_documents(mongodb::bson::doc! {}).await.expect("it is there"), 1);

    // Ours by name, but another.
    collection("jobs").drop_index("by_state").await.expect("it was made");
    let other = mongodb::bson::doc! { "mine": 1 };
    collection("jobs").create_index(index("by_state", other)).await.expect("it can be made");
    let text = refused(&set.uri("culvert"), Step::Content).await;
    assert!(text.contains("jobs") && text.contains(r#"db.jobs.dropIndex("by_state")"#), "{text}");
    let checked = culvert_bus::store::mongo::check(&set.uri("culvert"), drop).await.expect_err("it is in the way");
    assert!(checked.to_string().contains("dropIndex"), "{checked}");
    collection("jobs").drop_index("by_state").await.expect("it was made");
    drop(open(&set).await);
}
