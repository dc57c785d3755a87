//! In a collection.

use culvert_bus::store::mongo::Mongo;
use culvert_model::{HostId, Kind};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::{Client, Collection};

use super::mongod::ReplicaSet;
use super::samples::{id, sample};
use super::{Harm, Patient};

/// What is done to the document.
fn harms() -> Vec<(Harm, Document)> {
    let harm = |name, seen, change| (Harm { name, seen }, change);
    let set = |fields: Document| doc! { "$set": fields };
    let nested = (0..90).fold(Bson::Int32(1), |inner, _| doc! { "a": inner }.into());
    vec![
        harm("lacks its fields", false, set(doc! { "b": {} })),
        harm("has wrong types", false, set(doc! { "b": { "id": [[]] } })),
        harm("is nested deep", false, set(doc! { "b": { "id": nested } })),
        harm("has an id of another type in it", true, set(doc! { "b.id": ObjectId::new() })),
        harm("has a date in it", true, set(doc! { "b.name": DateTime::now() })),
        harm("has no finite number", true, set(doc! { "b.expires": f64::NAN })),
        harm("has no body", true, doc! { "$unset": { "b": 1 } }),
        harm("has a body of another type", true, set(doc! { "b": "text" })),
        harm("is huge", true, set(doc! { "b.more": "x".repeat(2_200_000) })),
        harm("has no revision", true, doc! { "$unset": { "r": 1 } }),
        harm("has a revision of another type", true, set(doc! { "r": "x" })),
        harm("has a negative revision", true, set(doc! { "r": -5_i64 })),
        harm("has a lease of nobody", true, set(doc! { "host": "nobody", "owner": "a", "epoch": 1_i64 })),
        harm(
            "has a lease without end",
            true,
            set(doc! {
                "host": "0123456789abcdef0123456789abcdef", "owner": "a", "epoch": 1_i64, "expires": "never",
            }),
        ),
        harm(
            "has a lease without epoch",
            true,
            set(doc! {
                "host": "0123456789abcdef0123456789abcdef", "owner": 7, "epoch": [], "expires": DateTime::now(),
            }),
        ),
    ]
}

#[tokio::test]
async fn every_kind_in_some_ways() {
    each(3).await;
}

/// Long mode, a minute: `cargo test -p culvert-bus --test damaged -- --ignored`.
#[tokio::test]
#[ignore = "takes a minute"]
async fn every_kind_in_every_way() {
    each(1).await;
}

/// One of so many harms for each kind, so that every harm is done to some kinds.
async fn each(one_of: usize) {
    let set = ReplicaSet::start(1).expect("a replica set");
    let uri = set.uri("culvert");
    let host = HostId::new();
    let patient = Patient::new(Mongo::connect(&uri, host).await.expect("it can be used"), host);
    let client = Client::with_uri_str(&uri).await.expect("a client");
    for (number, kind) in Kind::ALL.iter().copied().enumerate() {
        let records: Collection<Document> = client.database("culvert").collection(kind.name());
        for (_, (harm, change)) in harms().into_iter().enumerate().filter(|(it, _)| (it + number) % one_of == 0) {
            let sample = sample(kind);
            let this = doc! { "_id": id(&sample) };
            patient.make(kind).await;
            records.update_one(this.clone(), change.clone()).await.expect("anybody may do that");
            patient.examine(kind, &harm).await;
            records.update_one(this, change).await.expect("anybody may do that");
            patient.remove(kind, &harm).await;
            patient.empty(kind).await;
        }
    }
}
