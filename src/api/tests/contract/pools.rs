//! Taking what was made before, with pools that are kept full and a queue that makes what is missing.

use std::collections::BTreeSet;

use culvert_model::record::{Certificate, Job, JobState, Organization, Priority, Purpose, User, Work};
use culvert_model::{Id, Role};
use culvert_records::Query;
use serde_json::{Value, json};

use crate::kit::{Console, World, together, until};

/// How full a pool is, as it is shown.
async fn pool(world: &World, console: &Console, name: &str) -> Value {
    let pools = world.get(console, "/v1/pools").await.good();
    let found = pools.as_array().and_then(|pools| pools.iter().find(|pool| pool["pool"] == name).cloned());
    found.unwrap_or_default()
}

async fn full(world: &World, console: &Console, name: &str) -> Value {
    until("a full pool", async || {
        let pool = pool(world, console, name).await;
        (pool["ready"].is_u64() && pool["ready"] == pool["level"] && pool["coming"] == 0).then_some(pool)
    })
    .await
}

/// How many takes from a pool went each way: ready, coming, made.
pub fn ways(world: &World, pool: &str) -> [u64; 3] {
    ["ready", "coming", "made"].map(|way| {
        let mut takes = world.api.takes.read();
        takes.find(|(name, went, _)| (*name, *went) == (pool, way)).map_or(0, |(_, _, count)| count)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_at_once_nobody_has_what_another_has_and_the_pool_is_full_again() {
    let world = World::new().await;
    let console = world.log_in().await;
    world.ask(&console, "PUT", "/v1/settings", Some(json!({ "user_key": "rsa-2048" }))).await.good();
    world.start_pools();
    world.start_queue();
    let organization = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    let path = format!("/user/{}", organization["id"].as_str().expect("an id"));
    assert_eq!(full(&world, &console, "client").await["ready"], 6);

    let new = (0..20).map(|number| world.ask(&console, "POST", &path, Some(json!({ "name": format!("u{number}") }))));
    let made = together(new).await;
    let ids: BTreeSet<String> =
        made.iter().map(|answer| answer.good()[0]["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids.len(), 20);
    let users = world.api.bus.list::<User>(Query::by("by_organization")).await.expect("users");
    let certificates: BTreeSet<_> = users.iter().map(|user| user.record.certificate).collect();
    assert_eq!((users.len(), certificates.len()), (20, 20));

    let [ready, coming, made] = ways(&world, "client");
    println!("of 20 takes {ready} were ready, {coming} were coming, {made} were made");
    assert_eq!(ready + coming + made, 20);
    assert!(ready > 0, "some were there");
    full(&world, &console, "client").await;
    // Whatever was ordered besides: nothing is left of it.
    until("no jobs", async || (world.get(&console, "/v1/jobs").await.good() == json!([])).then_some(())).await;
    let reserved = world.api.bus.list::<Certificate>(Query::by("by_reservation")).await.expect("certificates");
    assert!(reserved.iter().all(|certificate| certificate.record.reserved.is_none()));
}

/// While no queue runs, nothing but the takes and the pools decides which way each goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_three_ways_in_their_order() {
    let world = World::new().await;
    let console = world.log_in().await;
    world.ask(&console, "PUT", "/v1/settings", Some(json!({ "user_key": "p-256" }))).await.good();
    world.start_pools();
    let queue = world.start_queue();
    let organization = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    let path = format!("/user/{}", organization["id"].as_str().expect("an id"));
    full(&world, &console, "client").await;
    queue.abort();
    let create = || world.ask(&console, "POST", &path, Some(json!({ "name": "u" })));
    for _ in 0..6 {
        create().await.good();
    }
    until("orders", async || (pool(&world, &console, "client").await["coming"] == 6).then_some(())).await;
    let counted = async {
        until("all to be waiting", async || (ways(&world, "client") == [6, 6, 8]).then_some(())).await;
        world.start_queue();
    };
    let (made, ()) = tokio::join!(together((0..14).map(|_| create())), counted);
    made.iter().for_each(|answer| drop(answer.good()));
    assert_eq!(world.api.bus.count::<User>(Query::by("by_organization")).await.expect("a number"), 20);
}

/// An organisation of a spare CA has it at once, and nothing more is to be made for it.
#[tokio::test]
async fn an_organization_has_the_id_of_its_ca() {
    let world = World::new().await;
    let console = world.log_in().await;
    world.start_pools();
    world.start_queue();
    assert_eq!(full(&world, &console, "authority").await["level"], 1);
    let spare = world.api.bus.list::<Certificate>(Query::by("by_purpose").equal("authority")).await.expect("one");
    let made =
        world.ask(&console, "POST", "/organization", Some(json!({ "name": "o", "auth_api": true }))).await.good();
    assert_eq!(made["id"], json!(spare[0].record.subject));
    assert_eq!(made["auth_token"].as_str().map(str::len), Some(32));
    let organization = world.api.bus.get::<Organization>(spare[0].record.subject).await.expect("a store");
    let organization = organization.expect("it is there").record;
    assert_eq!(organization.ca.as_ref(), Some(&spare[0].record.der));
    assert_eq!(world.api.bus.get::<Certificate>(spare[0].record.id).await.expect("a store"), None);
    assert_eq!(ways(&world, "authority"), [1, 0, 0]);
    full(&world, &console, "authority").await;
    // Its key is where its organisation's is looked for: it signs.
    let path = format!("/user/{}", organization.id);
    world.ask(&console, "POST", &path, Some(json!({ "name": "u" }))).await.good();
}

/// The queue is the test: somebody waits for what is being made, and has it; the reservation is urgent, and no second job
/// is made.
#[tokio::test]
async fn what_is_coming_is_reserved() {
    let world = World::new().await;
    let console = world.log_in().await;
    let queue = world.has(Role::Queue);
    let coming = Job::new("authority/0".into(), Work::SpareCa, Priority::Low, 1);
    queue.insert(&coming).await.expect("a new job");
    let new = Some(json!({ "name": "o" }));
    let make = async {
        let found = until("a reservation", async || {
            let found = queue.get::<Job>("authority/0").await.expect("a store").expect("it is there");
            found.record.reserved.is_some().then_some(found)
        })
        .await;
        assert_eq!((found.record.priority, found.record.deadline), (Priority::High, None));
        assert_eq!(queue.list::<Job>(Query::all()).await.expect("jobs").len(), 1);
        let ca = spare(found.record.reserved.clone());
        let done = culvert_records::delete::<Job>("authority/0", found.unchanged());
        queue.write(vec![culvert_records::insert(&ca), done]).await.expect("it is done");
        ca
    };
    let (made, ca) = tokio::join!(world.ask(&console, "POST", "/organization", new), make);
    assert_eq!(made.good()["id"], json!(ca.subject));
    assert_eq!(ways(&world, "authority"), [0, 1, 0]);
}

/// Nobody waits longer than there is hope, and nothing is changed then.
#[tokio::test]
async fn a_job_that_dies_or_is_cancelled_ends_the_wait() {
    let world = World::new().await;
    let console = world.log_in().await;
    let queue = world.has(Role::Queue);
    for (end, status, id) in [("die", 500, "making_failed"), ("cancel", 503, "job_cancelled")] {
        let fail = async {
            let mut found =
                until("an order", async || queue.list::<Job>(Query::all()).await.expect("jobs").pop()).await;
            assert_eq!(found.record.work, Work::SpareCa);
            assert!(
                found.record.deadline.is_some_and(|deadline| deadline > found.record.created),
                "nobody waits for ever"
            );
            if end == "die" {
                found.record.state = JobState::Dead;
                found.record.error = Some("no entropy".into());
                queue.update(&mut found).await.expect("nobody else changes it");
            } else {
                let body = json!({ "id": found.record.id });
                world.ask(&console, "PUT", "/v1/jobs/cancel", Some(body)).await.good();
            }
        };
        let (made, ()) = tokio::join!(world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))), fail);
        assert_eq!(made.bad(status), id);
        assert_eq!(world.get(&console, "/organization").await.good(), json!([]));
        // The dead one is left for an administrator, and is nobody's any more.
        for left in queue.list::<Job>(Query::all()).await.expect("jobs") {
            assert_eq!((left.record.state, left.record.reserved), (JobState::Dead, None));
            queue.delete::<Job>(&left.record.id).await.expect("deleted");
        }
    }
    assert_eq!(ways(&world, "authority"), [0, 0, 2]);
}

/// A CA that nobody could sign with.
/// A CA that is ready, or reserved with this word.
pub fn spare(reserved: Option<String>) -> Certificate {
    use culvert_model::record::CertificateState::{Ready, Reserved};
    let id = Id::new();
    Certificate {
        id,
        organization: id,
        purpose: Purpose::Authority,
        state: if reserved.is_some() { Reserved } else { Ready },
        reserved,
        subject: id,
        der: culvert_model::Bytes(vec![1]),
        fingerprint: id.to_string(),
        expires: 1,
        serial: "01".into(),
        replaced: None,
    }
}
