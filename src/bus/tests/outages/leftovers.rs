//! What a host leaves that dies in the middle of a batch.

use culvert_bus::store::Store;
use culvert_model::Kind;
use mongodb::bson::{Document, doc};
use serde_json::json;
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn a_dead_hosts_lock_is_broken() {
    let set = ReplicaSet::start(1).expect("a replica set");
    let s = open(&set).await;
    let id = fresh();
    s.make(Kind::Job, &id, &json!({})).await;
    let uri = format!("{}&appName=culvert-dead", set.uri("culvert"));
    let dead = mongodb::Client::with_uri_str(uri).await.expect("a client");
    let mut session = dead.start_session().await.expect("a session");
    session.start_transaction().await.expect("a transaction");
    let jobs = dead.database("culvert").collection::<Document>("jobs");
    let touched = jobs.update_one(doc! { "_id": &id }, doc! { "$inc": { "f": 1 } }).session(&mut session).await;
    assert_eq!(touched.expect("it is free").modified_count, 1);

    let began = Instant::now();
    let row = s.store.claim(Kind::Job, &id, None, s.owner("a"), 10_000).await.expect("the lock is broken");
    println!("a dead host's lock was broken after {:?}", began.elapsed());
    assert!(row.lease.is_some_and(|lease| lease.left > 0));
    assert!(session.commit_transaction().await.is_err(), "the dead host's transaction is over");
}
