//! Certificates: renewed on demand and where a profile is fetched, revoked, listed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use culvert_model::record::{
    Certificate, Crl, Job, JobState, Organization, Priority, Reason, Revocation, Server, User, Work,
};
use culvert_model::{Id, Kind};
use culvert_records::{Query, Stored, Write};
use culvert_wire::bus::Request;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::away;
use crate::kit::{Console, World};
use crate::story::{set_up, text};

const DAY: u64 = 24 * 3600 * 1000;

async fn quick(world: &World, console: &Console) -> JoinHandle<()> {
    let queue = world.start_queue();
    let settings = json!({ "user_key": "p-256", "server_key": "p-256" });
    world.ask(console, "PUT", "/v1/settings", Some(settings)).await.good();
    queue
}

async fn certificates(world: &World, console: &Console, of: &str) -> Vec<Value> {
    let shown = world.get(console, &format!("/v1/{of}/certificates")).await.good();
    shown.as_array().expect("a list").clone()
}

/// Waits until this is so, by what changes.
async fn until(world: &World, what: &str, mut is: impl AsyncFnMut() -> bool) {
    let kinds = &[Kind::Certificate, Kind::Crl];
    let mut watch = world.api.watch(kinds, std::time::Duration::from_secs(30));
    while !is().await {
        assert!(watch.next().await, "not in time: {what}");
    }
}

#[tokio::test]
async fn a_user_gets_a_new_certificate() {
    let world = World::new().await;
    let console = world.log_in().await;
    quick(&world, &console).await;
    let (organization, user, server) = set_up(&world, &console).await;
    let of = format!("organizations/{organization}/users/{user}");
    let before = certificates(&world, &console, &of).await;
    assert_eq!((before.len(), &before[0]["replaced"]), (1, &Value::Null));
    let profile = async || world.get(&console, &format!("/data/{organization}/{user}/{server}.key")).await.text();
    let (old, again) = (profile().await, profile().await);
    assert_eq!(between(&old, "<cert>"), between(&again, "<cert>"), "one that is good for long is left as it is");

    let renewal = format!("/v1/{of}/renewal");
    assert_eq!(world.ask(&console, "POST", &renewal, Some(json!({}))).await.good(), json!({ "renewing": 1 }));
    until(&world, "two certificates", async || certificates(&world, &console, &of).await.len() == 2).await;
    let after = certificates(&world, &console, &of).await;
    assert_eq!((&after[0]["replaced"], &after[1]["id"]), (&Value::Null, &before[0]["id"]));
    assert!(after[1]["replaced"].as_u64() > Some(0));
    assert_ne!(between(&profile().await, "<cert>"), between(&old, "<cert>"));
    assert!(world.api.bus.list::<Revocation>(Query::all()).await.expect("a store").is_empty());

    // At once: neither of the two is good any more.
    let immediate = json!({ "immediate": true });
    assert_eq!(world.ask(&console, "POST", &renewal, Some(immediate)).await.good(), json!({ "renewing": 1 }));
    until(&world, "three certificates", async || certificates(&world, &console, &of).await.len() == 3).await;
    assert_eq!(reasons(&world).await, [Reason::Superseded; 2]);

    // Somebody else may have the key: at once in any case.
    let compromised = json!({ "compromised": true });
    assert_eq!(world.ask(&console, "POST", &renewal, Some(compromised)).await.good(), json!({ "renewing": 1 }));
    until(&world, "four certificates", async || certificates(&world, &console, &of).await.len() == 4).await;
    let mut expected = vec![Reason::Superseded, Reason::Superseded, Reason::KeyCompromise];
    assert_eq!(reasons(&world).await, expected);
    world.ask(&console, "DELETE", &format!("/user/{organization}/{user}"), None).await.good();
    expected.push(Reason::CessationOfOperation);
    assert_eq!(reasons(&world).await, expected);
}

/// Nobody waits for new keys before the old ones are worth nothing.
#[tokio::test]
async fn what_is_compromised_is_revoked_before_anything_is_made() {
    let world = World::new().await;
    let console = world.log_in().await;
    let queue = quick(&world, &console).await;
    let (organization, user, server) = set_up(&world, &console).await;
    world.idle().await;
    queue.abort();
    let of_user = format!("organizations/{organization}/users/{user}");
    let of_server = format!("servers/{server}");
    let serial = async |of: &str| text(&certificates(&world, &console, of).await[0], "serial").to_owned();
    let mut serials = [serial(&of_user).await, serial(&of_server).await];
    let compromised = json!({ "compromised": true });
    let renew = async |of: &str| {
        let path = format!("/v1/{of}/renewal");
        assert_eq!(
            world.ask(&console, "POST", &path, Some(compromised.clone())).await.good(),
            json!({ "renewing": 1 })
        );
    };
    renew(&format!("organizations/{organization}")).await;
    let revocation = async |serial: &str| {
        let id = Revocation::name(organization.parse().expect("an id"), serial);
        Some(world.api.bus.get::<Revocation>(id).await.expect("a store")?.record.reason)
    };
    assert_eq!(revocation(&serials[0]).await, Some(Some(Reason::KeyCompromise)));
    assert_eq!(revocation(&serials[1]).await, None, "the server is not among the users");
    renew(&of_server).await;
    renew(&of_user).await;
    let mut revoked: Vec<_> = world.api.bus.list::<Revocation>(Query::all()).await.expect("a store");
    revoked.sort_by(|one, other| one.record.serial.cmp(&other.record.serial));
    serials.sort();
    assert_eq!(revoked.into_iter().map(|stored| stored.record.serial).collect::<Vec<_>>(), serials);

    let log = world.get(&console, "/log").await.good().to_string();
    for whose in ["The certificates of all users of organization Acme are", "The certificate of user zoe is"] {
        let line = format!("{whose} being renewed, as admin wants it. Keys may be in wrong hands (compromised)");
        assert!(log.contains(&line), "{log}");
    }

    // A profile that is fetched now is none with a revoked certificate.
    let path = format!("/data/{organization}/{user}/{server}.key");
    let profile = async || between(&world.get(&console, &path).await.text(), "<cert>").to_owned();
    let old = world.api.bus.list::<Certificate>(Query::by("by_subject").equal(&user)).await.expect("a store");
    let _queue = world.start_queue();
    let first = profile().await;
    world.idle().await;
    assert_eq!(profile().await, first);
    let all = world.api.bus.list::<Certificate>(Query::by("by_subject").equal(&user)).await.expect("a store");
    assert_eq!((old.len(), all.len(), revocations(&world).await), (1, 2, 2));
}

async fn revocations(world: &World) -> u64 {
    world.api.bus.count::<Revocation>(Query::all()).await.expect("a store")
}

/// A renewal that was given up is begun anew, by each that is wanted after it.
#[tokio::test]
async fn a_renewal_that_is_dead_does_not_swallow_the_next() {
    let world = World::new().await;
    let console = world.log_in().await;
    let organization = Id::new();
    let ca = Organization { id: organization, name: "o".into(), auth_api: false, ca: None, ca_expires: None };
    world.put(&ca).await;
    let user = user(organization, 1);
    world.put(&user).await;
    let (path, id) = (format!("/v1/organizations/{organization}/users/{}/renewal", user.id), user.certificate);
    for (immediate, compromised) in [(false, false), (true, false), (true, true)] {
        let plain = Work::Renew { certificate: id, immediate: false, compromised: false };
        let dead = Job::new(format!("renew/{id}"), plain, Priority::Low, 1);
        let dead = Job { state: JobState::Dead, attempts: 5, ..dead };
        world.api.bus.insert(&dead).await.expect("a new job");
        let body = json!({ "immediate": immediate, "compromised": compromised });
        world.ask(&console, "POST", &path, Some(body)).await.good();
        let job = world.api.bus.get::<Job>(&dead.id).await.expect("a store").expect("it is there").record;
        let wanted = Work::Renew { certificate: id, immediate, compromised };
        assert_eq!((job.state, job.attempts, job.work), (JobState::Open, 0, wanted));
        world.api.bus.delete::<Job>(&dead.id).await.expect("deleted");
    }
}

/// Whenever it is said, while an earlier renewal begins, lands or has ended: what the user had by then is revoked.
#[tokio::test(flavor = "multi_thread")]
async fn at_once_is_at_once_beside_another_renewal() {
    let world = World::new().await;
    let console = world.log_in().await;
    quick(&world, &console).await;
    let (organization, user, _) = set_up(&world, &console).await;
    let of = format!("organizations/{organization}/users/{user}");
    let renewal = format!("/v1/{of}/renewal");
    for round in 0..40 {
        let old = text(&certificates(&world, &console, &of).await[0], "serial").to_owned();
        world.ask(&console, "POST", &renewal, Some(json!({}))).await.good();
        // Somewhere from before it is begun to after its end.
        tokio::time::sleep(Duration::from_millis(round)).await;
        world.ask(&console, "POST", &renewal, Some(json!({ "immediate": true }))).await.good();
        let jobs = async || world.api.bus.list::<Job>(Query::all()).await.expect("a store");
        let renews = |job: &Stored<Job>| matches!(job.record.work, Work::Renew { .. });
        crate::kit::until("no renewal", async || (!jobs().await.iter().any(renews)).then_some(())).await;
        let id = Revocation::name(organization.parse().expect("an id"), &old);
        let revoked = world.api.bus.get::<Revocation>(id).await.expect("a store");
        assert!(revoked.is_some(), "{round} ms later");
    }
}

/// Why what was revoked was, in the order of time.
async fn reasons(world: &World) -> Vec<Reason> {
    let all = world.api.bus.list::<Revocation>(Query::all()).await.expect("a store");
    let mut all: Vec<_> = all.into_iter().map(|stored| stored.record).collect();
    all.sort_by_key(|revocation| revocation.since);
    all.into_iter().map(|revocation| revocation.reason.expect("it is known")).collect()
}

fn between<'a>(profile: &'a str, tag: &str) -> &'a str {
    let (_, behind) = profile.split_once(tag).expect("it is in the profile");
    behind.split_once("</").map(|(inside, _)| inside).expect("it ends")
}

#[tokio::test]
async fn whose_certificate_ends_soon_gets_another_with_the_profile() {
    let world = World::new().await;
    let console = world.log_in().await;
    quick(&world, &console).await;
    let (organization, user, server) = set_up(&world, &console).await;
    let bus = &world.api.bus;
    let mut stored = bus.list::<Certificate>(Query::by("by_subject").equal(&user)).await.expect("a store").remove(0);
    stored.record.expires = world.api.now().await.expect("a store") + 10 * DAY;
    bus.update(&mut stored).await.expect("nobody else writes it");
    let link = world.get(&console, &format!("/data/{organization}/{user}")).await.good();
    let key = format!("/key/{}/{server}.key", text(&link, "id"));
    assert_eq!(world.get(&Console::default(), &key).await.status, 200);
    let of = format!("organizations/{organization}/users/{user}");
    let shown = certificates(&world, &console, &of).await;
    assert_eq!(shown.len(), 2);
    assert!(shown[0]["expires"].as_u64() > Some(stored.record.expires + 1000 * DAY), "{shown:?}");
    // What ends with its CA would live no longer.
    let mut authority = bus.get::<Organization>(&organization).await.expect("a store").expect("it");
    authority.record.ca_expires = Some(stored.record.expires);
    bus.update(&mut authority).await.expect("nobody else writes it");
    let mut newer = bus.get::<Certificate>(text(&shown[0], "id")).await.expect("a store").expect("it is there");
    newer.record.expires = stored.record.expires;
    bus.update(&mut newer).await.expect("nobody else writes it");
    assert_eq!(world.get(&Console::default(), &key).await.status, 200);
    assert_eq!(certificates(&world, &console, &of).await.len(), 2);
}

#[tokio::test]
async fn whoever_is_deleted_is_on_the_list() {
    let world = World::new().await;
    let console = world.log_in().await;
    quick(&world, &console).await;
    let (organization, user, server) = set_up(&world, &console).await;
    let path = format!("/v1/organizations/{organization}/crl");
    let bus = &world.api.bus;
    let number = async || Some(bus.get::<Crl>(&organization).await.expect("a store")?.record.number);
    until(&world, "the first list", async || number().await == Some(1)).await;
    let first = world.get(&Console::default(), &path).await;
    assert_eq!(first.status, 200);
    assert_eq!(first.headers["content-type"], "application/pkix-crl");

    let of_user = certificates(&world, &console, &format!("organizations/{organization}/users/{user}")).await;
    let of_server = certificates(&world, &console, &format!("servers/{server}")).await;
    world.ask(&console, "DELETE", &format!("/user/{organization}/{user}"), None).await.good();
    world.ask(&console, "DELETE", &format!("/server/{server}/organization/{organization}"), None).await.good();
    let revoked = bus.list::<Revocation>(Query::by("by_organization").equal(&organization)).await.expect("a store");
    let mut revoked: Vec<_> = revoked.into_iter().map(|stored| stored.record.serial).collect();
    let mut serials = [&of_user[0], &of_server[0]].map(|one| text(one, "serial").to_owned());
    revoked.sort();
    serials.sort();
    assert_eq!(revoked, serials);
    assert_eq!(bus.count::<Certificate>(Query::by("by_subject").equal(&user)).await.expect("a store"), 0);
    let listed = async || world.get(&Console::default(), &path).await.bytes.len() > first.bytes.len() + 40;
    until(&world, "both listed", listed).await;

    // With the organisation its list goes, too.
    world.ask(&console, "DELETE", &format!("/organization/{organization}"), None).await.good();
    until(&world, "no list any more", async || world.get(&Console::default(), &path).await.status == 404).await;
    assert!(bus.list::<Revocation>(Query::all()).await.expect("a store").is_empty());
}

/// The job of each certificate stands there once, however often it is asked for; at once counts more than later.
#[tokio::test]
async fn an_organisation_gets_a_job_for_each_user() {
    let world = World::new().await;
    let console = world.log_in().await;
    let organization = Id::new();
    let ca = Organization { id: organization, name: "o".into(), auth_api: false, ca: None, ca_expires: None };
    world.put(&ca).await;
    for number in 0..120 {
        world.put(&user(organization, number)).await;
    }
    let path = format!("/v1/organizations/{organization}/renewal");
    for immediate in [false, true, false] {
        let body = json!({ "immediate": immediate });
        assert_eq!(world.ask(&console, "POST", &path, Some(body)).await.good(), json!({ "renewing": 120 }));
    }
    let jobs = world.api.bus.list::<Job>(Query::all()).await.expect("a store");
    let urgent = |job: &&Stored<Job>| {
        job.record.priority == Priority::Normal && matches!(job.record.work, Work::Renew { immediate: true, .. })
    };
    assert_eq!(jobs.iter().filter(urgent).count(), 120, "whoever is cut off does not wait behind what fills pools");
    // What is as much already is not written again.
    let body = json!({ "immediate": true });
    world.ask(&console, "POST", &path, Some(body)).await.good();
    assert_eq!(world.api.bus.list::<Job>(Query::all()).await.expect("a store"), jobs);
    assert_eq!(
        world.ask(&console, "POST", "/v1/servers/5f0000000000000000000003/renewal", Some(json!({}))).await.status,
        404
    );
    assert!(world.api.bus.list::<Server>(Query::all()).await.expect("a store").is_empty());
}

/// More users than are read at a time: none is passed over, also when the database goes away in the middle.
#[tokio::test]
async fn an_organisation_may_be_large() {
    const USERS: usize = 1_030;
    let mut world = World::new().await;
    let console = world.log_in().await;
    let organization = Id::new();
    let ca = Organization { id: organization, name: "o".into(), auth_api: false, ca: None, ca_expires: None };
    world.put(&ca).await;
    let mut wanted = BTreeSet::new();
    for number in 0..USERS {
        let user = user(organization, number);
        wanted.insert(format!("renew/{}", user.certificate));
        world.put(&user).await;
    }
    let (gone, batches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let goes = gone.clone();
    let needs = move |request: &Request| {
        let first = match request {
            Request::Write { writes, .. } => writes.first(),
            _ => None,
        };
        let batch = matches!(first, Some(Write::Insert { kind: Kind::Job, .. }));
        if batch && batches.fetch_add(1, Relaxed) == 5 {
            goes.store(true, Relaxed);
        }
        batch
    };
    let is = gone.clone();
    world.between(|listener, bus| away::between(listener, bus, is, needs)).await;

    let renew = async || {
        let path = format!("/v1/organizations/{organization}/renewal");
        let answer = world.ask(&console, "POST", &path, Some(json!({}))).await;
        let jobs = world.api.bus.list::<Job>(Query::all()).await.expect("a store");
        (answer, jobs.into_iter().map(|job| job.record.id).collect::<BTreeSet<_>>())
    };
    let (answer, jobs) = renew().await;
    assert_eq!((answer.bad(503).as_str(), jobs.len()), ("store_unavailable", 500));
    assert!(answer.text().contains("ask again for the rest"), "{answer:?}");
    gone.store(false, Relaxed);
    let (answer, jobs) = renew().await;
    assert_eq!(answer.good(), json!({ "renewing": USERS }));
    assert_eq!(jobs, wanted);
}

/// Anybody may ask for a list, as often as they like: it is made once, and others hardly notice.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_for_a_list() {
    const FLOOD: usize = 4_000;
    let world = Arc::new(World::new().await);
    let console = world.log_in().await;
    let _queue = world.start_queue();
    let made = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    let organization = text(&made, "id").to_owned();
    let path = format!("/v1/organizations/{organization}/crl");
    let bus = &world.api.bus;
    let record = async || bus.get::<Crl>(&organization).await.expect("a store");
    until(&world, "the first list", async || record().await.is_some()).await;
    world.idle().await;
    let (before, jobs) = (record().await, world.api.bus.count::<Job>(Query::all()).await.expect("a store"));

    let first = world.get(&Console::default(), &path).await;
    let alone = others(&world, &console, async {}).await;
    let mut statuses = BTreeMap::new();
    let beside = others(&world, &console, async {
        // So many ask at the same time, again and again.
        let mut asks = JoinSet::new();
        for _ in 0..64 {
            let (world, path, list) = (world.clone(), path.clone(), first.bytes.clone());
            asks.spawn(async move {
                let mut all = Vec::new();
                for _ in 0..FLOOD / 64 {
                    let answer = world.get(&Console::default(), &path).await;
                    assert!(answer.status == 503 || answer.bytes == list, "{answer:?}");
                    all.push(answer.status.as_u16());
                }
                all
            });
        }
        for status in asks.join_all().await.into_iter().flatten() {
            *statuses.entry(status).or_insert(0_usize) += 1;
        }
    })
    .await;
    println!("{FLOOD} requests: {statuses:?}; others took {alone:?} without them, {beside:?} with them, in the middle");
    assert!(statuses.keys().all(|status| [200, 503].contains(status)) && statuses[&200] > FLOOD / 2, "{statuses:?}");
    assert!(beside < alone * 10 + Duration::from_millis(50), "{beside:?}, not {alone:?}");
    assert_eq!(record().await, before, "no other list was made");
    assert_eq!(world.api.bus.count::<Job>(Query::all()).await.expect("a store"), jobs);

    // Who has it is told so.
    let tag = first.headers["etag"].to_str().expect("ASCII");
    assert_eq!((tag, &first.headers["cache-control"]), ("\"1\"", &"no-cache".parse().expect("a value")));
    let known = world.send("GET", &path, &[("if-none-match", tag)], None).await;
    assert!(known.status == 304 && known.bytes.is_empty() && known.headers["etag"] == tag, "{known:?}");
    let older = world.send("GET", &path, &[("if-none-match", "\"0\"")], None).await;
    assert_eq!((older.status.as_u16(), older.bytes), (200, first.bytes));
}

/// How long requests of an administrator take in the middle, as long as something else goes on, and a hundred at least.
async fn others(world: &World, console: &Console, beside: impl Future<Output = ()>) -> Duration {
    let mut took = Vec::new();
    let ended = Cell::new(false);
    let asking = async {
        while !ended.get() || took.len() < 100 {
            let begun = Instant::now();
            world.get(console, "/organization").await.good();
            took.push(begun.elapsed());
        }
    };
    tokio::join!(asking, async {
        beside.await;
        ended.set(true);
    });
    took.sort();
    took[took.len() / 2]
}

fn user(organization: Id, number: usize) -> User {
    let user = json!({
        "id": Id::new(), "organization": organization, "name": format!("user{number}"), "email": null, "groups": [],
        "disabled": false, "auth_type": "local", "yubico_id": null, "pin": false, "bypass_secondary": false,
        "client_to_client": false, "mac_addresses": null, "dns_servers": null, "dns_suffix": null,
        "port_forwarding": null, "network_links": [], "certificate": Id::new(), "last_active": null,
    });
    serde_json::from_value(user).expect("a user")
}
