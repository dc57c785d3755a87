//! A server's network is changed, and its users' addresses with it: all of them or none, whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use culvert_model::network::free;
use culvert_model::record::{Address, NewUser, Server};
use culvert_model::{Id, Kind};
use culvert_records::{BATCH, Query, insert};
use serde_json::{Value, json};

use crate::kit::{Console, World};
use crate::work::act;

const USERS: usize = 500;

/// A server with 500 users, who all have addresses in 10.50.0.0/22.
struct Scene {
    world: World,
    console: Console,
    server: Id,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let queue = world.start_queue();
        let console = world.log_in().await;
        let made = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
        let organization: Id = made["id"].as_str().expect("an id").parse().expect("an id");
        let users: Vec<_> = (0..USERS).map(|_| insert(&user().user(organization, Id::new()))).collect();
        for batch in users.chunks(BATCH) {
            world.api.bus.write(batch.to_vec()).await.expect("they are new");
        }
        let server = world.ask(&console, "POST", "/server", Some(wanted("10.50.0.0/22"))).await.good();
        let server: Id = server["id"].as_str().expect("an id").parse().expect("an id");
        world.ask(&console, "PUT", &format!("/server/{server}/organization/{organization}"), None).await.good();
        world.idle().await;
        queue.abort();
        Self { world, console, server }
    }

    async fn put(&self, network: &str) -> crate::kit::Answered {
        self.world.ask(&self.console, "PUT", &format!("/server/{}", self.server), Some(wanted(network))).await
    }

    async fn record(&self) -> Server {
        self.world.api.bus.get::<Server>(self.server).await.expect("a store").expect("it is there").record
    }

    async fn held(&self) -> Vec<Address> {
        let all = Query::by("by_address").equal(self.server);
        let all = self.world.api.bus.list::<Address>(all).await.expect("addresses");
        all.into_iter().map(|stored| stored.record).collect()
    }

    /// What everybody has in the network that the server has; each has one, and each another.
    async fn addresses(&self) -> BTreeMap<Id, Ipv4Addr> {
        let network = self.record().await.network;
        let held = self.held().await;
        let all: BTreeMap<_, _> = held
            .iter()
            .map(|held| (held.user, held.within(network).unwrap_or_else(|| panic!("{held:?} in {network}"))))
            .collect();
        let different: BTreeSet<_> = all.values().collect();
        assert_eq!((held.len(), all.len(), different.len()), (USERS, USERS, USERS));
        all
    }

    /// As before, and nothing of a move is left.
    async fn settled(&self, network: &str) -> BTreeMap<Id, Ipv4Addr> {
        let server = self.record().await;
        assert_eq!((server.network.to_string().as_str(), server.network_lock), (network, None));
        assert!(self.held().await.iter().all(|held| held.next.is_none()));
        self.addresses().await
    }

    /// The job that the server waits for.
    async fn job(&self) -> String {
        let mut watch = self.world.api.watch(&[Kind::Server], Duration::from_secs(10));
        loop {
            if let Some(job) = self.record().await.network_lock {
                return job;
            }
            assert!(watch.next().await, "the server is locked within ten seconds");
        }
    }
}

fn user() -> NewUser {
    NewUser {
        id: Id::new(),
        name: "u".into(),
        email: None,
        groups: Vec::new(),
        disabled: false,
        pin: false,
        bypass_secondary: false,
        dns_servers: None,
        dns_suffix: None,
    }
}

fn wanted(network: &str) -> Value {
    json!({ "name": "s", "network": network, "protocol": "udp", "port": 1194, "cipher": "aes256", "hash": "sha256" })
}

/// The last 16 bits of each.
fn places(addresses: &BTreeMap<Id, Ipv4Addr>) -> BTreeMap<Id, u32> {
    addresses.iter().map(|(user, address)| (*user, u32::from(*address) & 0xffff)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_keep_their_place_in_the_network() {
    let scene = Scene::new().await;
    let before = scene.settled("10.50.0.0/22").await;
    let queue = scene.world.start_queue();
    let begun = Instant::now();
    assert_eq!(scene.put("10.60.0.0/22").await.good()["network"], "10.60.0.0/22");
    println!("{USERS} addresses were moved in {:?}", begun.elapsed());
    assert_eq!(places(&scene.settled("10.60.0.0/22").await), places(&before));
    // Into a part of itself: who is in it stays, the others get what is free.
    assert_eq!(scene.put("10.60.0.0/23").await.good()["network"], "10.60.0.0/23");
    let after = scene.settled("10.60.0.0/23").await;
    let stayed = places(&before).into_iter().filter(|(user, place)| places(&after)[user] == *place).count();
    assert_eq!(stayed, USERS, "500 from the lowest on fit");
    // And into one that holds it.
    assert_eq!(scene.put("10.60.0.0/16").await.good()["network"], "10.60.0.0/16");
    assert_eq!(scene.settled("10.60.0.0/16").await, after);
    queue.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_killed_leaves_all_or_nothing() {
    let scene = Scene::new().await;
    let before = places(&scene.addresses().await);
    let networks = ["10.50.0.0/22", "10.60.0.0/22"];
    let mut died = 0;
    for number in 1..=16 {
        let network = networks[number % 2];
        let (answer, ()) = tokio::join!(scene.put(network), async {
            scene.job().await;
            died += usize::from(scene.world.doomed_queue(number).await);
            // Whichever network it has now, everybody has an address there.
            assert_eq!(places(&scene.addresses().await), before, "killed at write {number}");
            let queue = scene.world.start_queue();
            scene.world.idle().await;
            queue.abort();
        });
        // It may have taken longer than one waits for it.
        assert!(answer.status == 202 || answer.good()["network"] == network, "{answer:?}");
        assert_eq!(places(&scene.settled(network).await), before, "killed at write {number}");
    }
    assert!(died >= 14, "a move is as many writes at least: {died}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_small_is_refused() {
    let scene = Scene::new().await;
    let before = scene.addresses().await;
    let answer = scene.put("10.60.0.0/24").await;
    assert_eq!(answer.bad(400), "network_too_small");
    assert!(answer.text().contains("253 clients, but 500 are needed"), "{}", answer.text());
    assert!(answer.text().contains("choose a /23 or larger"), "{}", answer.text());
    assert_eq!(scene.settled("10.50.0.0/22").await, before);

    // Who is still to get an address counts, too, beside those who have several.
    let server = scene.record().await;
    let new: Vec<_> = (0..5).map(|_| insert(&user().user(server.organizations[0], Id::new()))).collect();
    scene.world.api.bus.write(new).await.expect("they are new");
    let used = before.values().copied().collect();
    let second = free(server.network, &used)
        .zip(before.keys())
        .take(5)
        .map(|(address, user)| Address::new(server.id, *user, 1, address));
    let second: Vec<_> = second.map(|address| insert(&address)).collect();
    scene.world.api.bus.write(second).await.expect("they are new");
    let answer = scene.put("10.60.0.0/23").await;
    assert_eq!(answer.bad(400), "network_too_small");
    let text = answer.text();
    assert!(text.contains("509 clients, but 510 are needed: 505 are given, and of the server's 505 users 5"), "{text}");
    assert!(text.contains("choose a /22 or larger"), "{text}");
    assert_eq!(scene.record().await, server);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_long_goes_on_and_is_shown() {
    let scene = Scene::new().await;
    let before = places(&scene.addresses().await);
    // No queue runs.
    let answer = scene.put("10.60.0.0/22").await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["status"], "network_moving");
    assert!(answer["status_msg"].as_str().is_some_and(|text| text.contains("/v1/jobs")), "{answer}");
    let shown = || async {
        let jobs = scene.world.get(&scene.console, "/v1/jobs").await.good();
        jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == answer["job"]).cloned())
    };
    assert_eq!(shown().await.expect("the job is there")["state"], "waiting");
    // One dies in the middle: how far it was is to be seen.
    assert!(scene.world.doomed_queue(4).await);
    let job = shown().await.expect("the job is there");
    assert!(job["progress"]["done"].as_u64() > Some(0) && job["progress"]["of"] == USERS, "{job}");
    let queue = scene.world.start_queue();
    scene.world.idle().await;
    queue.abort();
    assert_eq!(places(&scene.settled("10.60.0.0/22").await), before);
    assert!(shown().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_move_is_taken_back() {
    let scene = Scene::new().await;
    let before = scene.addresses().await;
    for number in [1, 4, 6] {
        let (answer, ()) = tokio::join!(scene.put("10.60.0.0/22"), async {
            let job = scene.job().await;
            let path = format!("/server/{}/operation/start", scene.server);
            let refused = scene.world.ask(&scene.console, "PUT", &path, None).await;
            assert_eq!(refused.bad(400), "server_network_locked");
            assert_eq!(scene.put("10.70.0.0/22").await.bad(400), "server_network_locked");
            // Nobody else gets the network meanwhile.
            let other = scene.world.ask(&scene.console, "POST", "/server", Some(wanted("10.60.1.0/24"))).await;
            assert_eq!(other.bad(400), "network_in_use");
            assert!(scene.world.doomed_queue(number).await);
            act(&scene.world, &scene.console, "cancel", &job).await.good();
            let queue = scene.world.start_queue();
            scene.world.idle().await;
            queue.abort();
        });
        assert_eq!(answer.bad(409), "network_not_changed");
        assert_eq!(scene.settled("10.50.0.0/22").await, before, "cancelled at write {number}");
    }
}
