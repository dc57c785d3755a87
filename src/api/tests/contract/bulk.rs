//! Thousands of users in one request: the queue makes them in the background, each once, whatever happens to it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use culvert_model::record::{
    Address, Certificate, CertificateKey, CertificateState, Job, Organization, Priority, User, UserSecret, Work,
};
use culvert_model::{Id, Kind};
use culvert_records::Query;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::{Value, json};

use crate::kit::{Console, World};
use crate::work::act;

/// An organisation whose users get keys that are made in no time.
async fn organization(world: &World, console: &Console) -> String {
    let quick = json!({ "user_key": "p-256", "client_pool": 0 });
    world.ask(console, "PUT", "/v1/settings", Some(quick)).await.good();
    let made = world.ask(console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    made["id"].as_str().expect("an id").to_owned()
}

async fn create(world: &World, console: &Console, organization: &str, users: &[Value]) {
    let answer = world.ask(console, "POST", &format!("/user/{organization}/multi"), Some(json!(users))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["status"], "users_background");
}

/// Waits until so many users are there.
async fn users(world: &World, count: u64) {
    let mut watch = world.api.watch(&[Kind::User], Duration::from_secs(120));
    while world.api.bus.count::<User>(Query::by("by_organization")).await.expect("a number") < count {
        assert!(watch.next().await, "{count} users after two minutes");
    }
}

/// Of everything that a user has there is as much as there are users, each certificate is the CA's, and each key its.
async fn whole(world: &World, organization: &str, names: &BTreeSet<String>) {
    let bus = &world.api.bus;
    let all = bus.list::<User>(Query::by("by_organization").equal(organization)).await.expect("users");
    assert_eq!(all.len(), names.len());
    assert_eq!(all.iter().map(|user| user.record.name.clone()).collect::<BTreeSet<_>>(), *names);
    let taken = Query::by("by_pool").equal(organization).equal("client").equal("taken");
    assert_eq!(bus.count::<Certificate>(taken).await.expect("a number"), names.len() as u64);
    assert_eq!(bus.count::<UserSecret>(Query::all()).await.expect("a number"), names.len() as u64);
    let id: Id = organization.parse().expect("an id");
    let ca = bus.get::<Organization>(id).await.expect("a store").expect("it is there").record.ca.expect("a CA");
    let ca = X509::from_der(&ca.0).expect("DER").public_key().expect("a key");
    for user in all.into_iter().map(|stored| stored.record) {
        let certificate = bus.get::<Certificate>(user.certificate).await.expect("a store").expect("it is there").record;
        assert_eq!((certificate.state, certificate.subject), (CertificateState::Taken, user.id));
        let x509 = X509::from_der(&certificate.der.0).expect("DER");
        assert!(x509.verify(&ca).expect("it can be checked"));
        let key = bus.get::<CertificateKey>(user.certificate).await.expect("a store").expect("it is there").record;
        let key = PKey::private_key_from_pkcs8(&key.key.0).expect("PKCS #8");
        assert!(x509.public_key().expect("a key").public_eq(&key));
        let secret = bus.get::<UserSecret>(user.id).await.expect("a store").expect("it is there").record;
        assert_eq!((secret.pin.is_some(), secret.otp_secret.is_some()), (user.pin, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_users_in_one_request() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    let new = json!({
        "name": "s", "network": "10.44.0.0/20", "protocol": "udp", "port": 1194, "cipher": "aes256", "hash": "sha256",
    });
    let server = world.ask(&console, "POST", "/server", Some(new)).await.good();
    let server = server["id"].as_str().expect("an id");
    world.ask(&console, "PUT", &format!("/server/{server}/organization/{organization}"), None).await.good();

    let wanted: Vec<Value> = (0..1000)
        .map(|number| match number % 50 {
            0 => json!({ "name": format!("user-{number}"), "pin": "271828", "groups": ["b", "a"] }),
            _ => json!({ "name": format!("user-{number}") }),
        })
        .collect();
    let begun = Instant::now();
    create(&world, &console, &organization, &wanted).await;
    println!("1000 users were taken on in {:?}", begun.elapsed());
    users(&world, 1000).await;
    println!("1000 users were there after {:?}", begun.elapsed());
    world.idle().await;
    println!("1000 users had addresses after {:?}", begun.elapsed());
    let names = (0..1000).map(|number| format!("user-{number}")).collect();
    whole(&world, &organization, &names).await;
    let addresses = world.api.bus.list::<Address>(Query::by("by_address").equal(server)).await.expect("addresses");
    let held: BTreeSet<_> = addresses.iter().map(|held| (held.record.user, held.record.address)).collect();
    assert_eq!((addresses.len(), held.len()), (1000, 1000));

    let page = world.get(&console, &format!("/user/{organization}?page=0")).await.good();
    assert_eq!(page["users"][0]["groups"], json!(["a", "b"]));
    assert!(page["users"][0]["servers"][0]["virt_address"].as_str().expect("an address").starts_with("10.44."));

    // One more, and who is deleted makes room.
    let one =
        world.ask(&console, "POST", &format!("/user/{organization}"), Some(json!({ "name": "one" }))).await.good();
    let one = format!("/user/{organization}/{}", one[0]["id"].as_str().expect("an id"));
    world.idle().await;
    let shown = world.get(&console, &one).await.good();
    assert_eq!(shown["servers"][0]["virt_address"], "10.44.3.234", "the lowest behind a thousand");
    world.ask(&console, "DELETE", &one, None).await.good();
    let held = || world.api.bus.count::<Address>(Query::by("by_address").equal(server));
    assert_eq!(held().await.expect("a number"), 1000);
    world.ask(&console, "DELETE", &format!("/server/{server}/organization/{organization}"), None).await.good();
    world.idle().await;
    assert_eq!(held().await.expect("a number"), 0, "who may not connect needs no address");
    queue.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_killed_makes_nobody_twice() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    queue.abort();
    let names: BTreeSet<String> = (0..400).map(|number| format!("user-{number}")).collect();
    let wanted: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    create(&world, &console, &organization, &wanted).await;
    for count in [64, 200] {
        let queue = world.start_queue();
        users(&world, count).await;
        queue.abort();
    }
    let queue = world.start_queue();
    world.idle().await;
    queue.abort();
    whole(&world, &organization, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_killed_at_any_write_makes_nobody_twice() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    queue.abort();
    let mut names = BTreeSet::new();
    for number in 1..=4 {
        let wanted: Vec<String> = (0..40).map(|user| format!("user-{number}-{user}")).collect();
        let bodies: Vec<Value> = wanted.iter().map(|name| json!({ "name": name })).collect();
        create(&world, &console, &organization, &bodies).await;
        assert!(world.doomed_queue(number).await, "there is a write {number}");
        let queue = world.start_queue();
        world.idle().await;
        queue.abort();
        names.extend(wanted);
        whole(&world, &organization, &names).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_users_whose_organization_is_deleted() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    let wanted: Vec<Value> = (0..300).map(|number| json!({ "name": format!("user-{number}") })).collect();
    create(&world, &console, &organization, &wanted).await;
    users(&world, 1).await;
    world.ask(&console, "DELETE", &format!("/organization/{organization}"), None).await.good();
    world.idle().await;
    let bus = &world.api.bus;
    assert_eq!(bus.count::<User>(Query::by("by_organization")).await.expect("a number"), 0);
    assert_eq!(bus.count::<UserSecret>(Query::all()).await.expect("a number"), 0);
    assert_eq!(bus.count::<Certificate>(Query::by("by_pool").equal(&organization)).await.expect("a number"), 0);
    assert_eq!(bus.count::<Job>(Query::all()).await.expect("a number"), 0);
    queue.abort();
}

#[tokio::test]
async fn nothing_is_left_of_users_whose_creation_is_cancelled() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    queue.abort();
    create(&world, &console, &organization, &vec![json!({ "name": "u" }); 40]).await;
    let bus = &world.api.bus;
    assert_eq!(bus.count::<UserSecret>(Query::all()).await.expect("a number"), 40);
    for job in bus.list::<Job>(Query::all()).await.expect("jobs") {
        act(&world, &console, "cancel", &job.record.id).await.good();
    }
    let queue = world.start_queue();
    world.idle().await;
    queue.abort();
    assert_eq!(bus.count::<UserSecret>(Query::all()).await.expect("a number"), 0);
    assert_eq!(bus.count::<User>(Query::by("by_organization")).await.expect("a number"), 0);
}

#[tokio::test]
async fn what_may_not_be_is_refused_as_a_whole() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    let path = format!("/user/{organization}/multi");
    let mut wanted = vec![json!({ "name": "u" }); 40];
    wanted[30] = json!({ "name": "u", "pin": "123" });
    assert_eq!(world.ask(&console, "POST", &path, Some(json!(wanted))).await.bad(400), "pin_too_short");
    let many = json!(vec![json!({}); 5_001]);
    assert_eq!(world.ask(&console, "POST", &path, Some(many)).await.bad(400), "body_invalid");
    world.idle().await;
    assert_eq!(world.api.bus.count::<UserSecret>(Query::all()).await.expect("a number"), 0);
    let few = world.ask(&console, "POST", &path, Some(json!(vec![json!({ "name": "u" }); 10]))).await.good();
    assert_eq!(few.as_array().map(Vec::len), Some(10), "ten are made while one waits");
    queue.abort();
}

/// Certificates that are renewed and pools that are filled keep nobody from making users.
#[tokio::test]
async fn other_work_counts_not_against_users() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    queue.abort();
    let renew = |_| {
        let certificate = Id::new();
        let work = Work::Renew { certificate, immediate: false, compromised: false };
        Job::new(format!("renew/{certificate}"), work, Priority::Normal, 1)
    };
    world.enqueue((0..1_000).map(renew)).await;
    create(&world, &console, &organization, &vec![json!({ "name": "u" }); 40]).await;
}

#[tokio::test]
async fn no_more_are_taken_on_than_can_be_made_soon() {
    let world = World::new().await;
    let queue = world.start_queue();
    let console = world.log_in().await;
    let organization = organization(&world, &console).await;
    queue.abort();
    let work = Work::Users { organization: organization.parse().expect("an id"), users: Vec::new() };
    let id = |number: usize| format!("users/{organization}/{number}");
    world.enqueue((0..999).map(|number| Job::new(id(number), work.clone(), Priority::Normal, 1))).await;
    let wanted = vec![json!({ "name": "u" }); 40];
    create(&world, &console, &organization, &wanted).await;

    let path = format!("/user/{organization}/multi");
    let refused = world.ask(&console, "POST", &path, Some(json!(wanted))).await;
    assert_eq!(refused.bad(429), "users_background_busy");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let bus = &world.api.bus;
    assert_eq!(bus.count::<UserSecret>(Query::all()).await.expect("a number"), 40, "nothing was changed");

    // The 40 are two jobs.
    for number in 0..2 {
        bus.delete::<Job>(&id(number)).await.expect("it is done");
    }
    create(&world, &console, &organization, &wanted).await;
}
