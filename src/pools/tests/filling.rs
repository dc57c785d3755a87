//! All pools are filled, and refilled at once when something is taken; a job that failed too often is not made twice.

mod kit;

use std::collections::BTreeSet;
use std::time::Instant;

use culvert_model::Role;
use culvert_model::record::{Certificate, CertificateState, Dh, DhParams, Job, Priority, Settings};
use culvert_pool::{Pool, Stock, survey};
use culvert_records::{Bus, Query};
use kit::{Stage, finish, give_up, ids, jobs, pools, prepare, settings, slots, until};

async fn wanted(bus: &Bus, expected: &BTreeSet<String>) {
    until("the jobs", async || (ids(bus).await == *expected).then_some(())).await;
}

#[tokio::test]
async fn from_nothing_and_after_every_take() {
    let stage = Stage::embedded();
    let api = stage.bus(Role::Api);
    let queue = stage.bus(Role::Queue);
    let organization = prepare(&api).await;
    for _ in 0..3 {
        pools(&stage);
    }
    wanted(&api, &slots(organization)).await;
    let found = jobs(&api).await;
    assert!(found.iter().all(|job| job.record.priority == Priority::Low && job.record.reserved.is_none()));
    finish(&queue).await;
    let stocks = [
        Stock::Authority,
        Stock::Client(organization),
        Stock::Server(organization),
        Stock::DhParams(2048),
        Stock::DhParams(3072),
    ];
    let full = async || {
        let pools = survey(&api, &settings(), &stocks).await.expect("the bus answers");
        assert!(pools.iter().all(|pool| pool.ready == u64::from(pool.level)), "full, and not above: {pools:?}");
    };
    full().await;

    // One of each kind is taken, as the api does it.
    let begun = Instant::now();
    for query in [Query::by("by_pool").equal(organization).equal("client"), Query::by("by_purpose").equal("server")] {
        let mut taken = api.find::<Certificate>(query.limit(1)).await.expect("the bus answers").items.remove(0);
        taken.record.state = CertificateState::Taken;
        api.update(&mut taken).await.expect("nobody else takes it");
    }
    let ca = api.find::<Certificate>(Query::by("by_purpose").equal("authority").limit(1)).await.expect("one").items;
    let ca = ca[0].record.clone();
    let made = culvert_model::record::Organization {
        id: ca.subject,
        name: "new".into(),
        auth_api: false,
        ca: Some(ca.der),
        ca_expires: Some(2),
    };
    let gone = culvert_records::delete::<Certificate>(ca.id, culvert_records::Guard::default());
    api.write(vec![gone, culvert_records::insert(&made)]).await.expect("nobody else takes it");
    let params = api.find::<DhParams>(Query::by("by_bits").number(3072).limit(1)).await.expect("one").items;
    api.delete::<DhParams>(params[0].record.id).await.expect("taken");
    let mut expected: BTreeSet<String> =
        slots(made.id).into_iter().filter(|id| id.contains(&made.id.to_string())).collect();
    expected.insert(format!("certificate/{organization}/client/0"));
    expected.insert(format!("certificate/{organization}/server/0"));
    expected.insert("authority/0".into());
    expected.insert("dh-params/3072/0".into());
    // A host that was late may have enqueued more, which are not done.
    until("the jobs", async || ids(&api).await.is_superset(&expected).then_some(())).await;
    println!("all four pools are being refilled after {:?}", begun.elapsed());
    finish(&queue).await;
    full().await;
}

#[tokio::test]
async fn a_dead_job_keeps_its_slot_and_is_shown() {
    let stage = Stage::embedded();
    let api = stage.bus(Role::Api);
    let queue = stage.bus(Role::Queue);
    let organization = prepare(&api).await;
    pools(&stage);
    wanted(&api, &slots(organization)).await;
    let client = Stock::Client(organization);
    for job in api.list::<Job>(client.jobs()).await.expect("jobs") {
        give_up(&queue, job).await;
    }
    let look = async || survey(&api, &settings(), &[client]).await.expect("the bus answers").remove(0);
    let Pool { ready, coming, dead, .. } = look().await;
    assert_eq!((ready, coming, dead), (0, 0, 3));
    // However often somebody looks, nothing is made for a slot that a dead job has.
    let pools = stage.bus(Role::Pools);
    let done = culvert_pool::refill_all(&pools).await.expect("the bus answers");
    assert_eq!((done.enqueued, done.there), (0, 0));
    // Discarded, it is made anew at once.
    api.delete::<Job>(format!("{}1", client.prefix())).await.expect("deleted");
    until("a new job", async || (look().await.coming == 1).then_some(())).await;
    assert_eq!(look().await.dead, 2);
}

#[tokio::test]
async fn parameters_are_searched_only_where_they_are_used() {
    let stage = Stage::embedded();
    let api = stage.bus(Role::Api);
    let organization = prepare(&api).await;
    pools(&stage);
    wanted(&api, &slots(organization)).await;
    for stock in [Stock::DhParams(2048), Stock::DhParams(3072)] {
        let mut own = api.get::<Settings>(Settings::ID).await.expect("the bus answers").expect("they are there");
        own.record.dh = Dh::None;
        own.record.dh_pool_bits = vec![2048, 3072];
        api.update(&mut own).await.expect("nobody else changes them");
        for job in api.list::<Job>(stock.jobs()).await.expect("jobs") {
            api.delete::<Job>(&job.record.id).await.expect("deleted");
        }
    }
    let pools = stage.bus(Role::Pools);
    let done = culvert_pool::refill_all(&pools).await.expect("the bus answers");
    assert_eq!((done.enqueued, done.there), (0, 0));
    let mut own = api.get::<Settings>(Settings::ID).await.expect("the bus answers").expect("they are there");
    own.record.dh = Dh::Own;
    api.update(&mut own).await.expect("nobody else changes them");
    wanted(&api, &slots(organization)).await;
}
