//! Users by the dozen, and the addresses of a server's users, on MongoDB with two hosts whose queues are killed in the
//! middle. Needs mongod: `make setup`.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy};
use crate::kit::{Hosts, job, jobs, new_user, samples, until, with_ca};
use culvert_model::record::{Address, Certificate, CertificateKey, Job, Priority, Server, Settings, User, Work};
use culvert_model::{Id, KeyKind, Role};
use culvert_records::{Bus, Query, insert, update};

const CHUNKS: usize = 16;
const CHUNK: usize = 32;

fn server(organization: Id) -> Server {
    Server { network: "10.50.0.0/20".parse().expect("a network"), ..samples::server(&[organization]) }
}

async fn idle(api: &Bus) {
    until("no jobs", async || (jobs(api).await == 0).then_some(())).await;
}

async fn users(api: &Bus) -> u64 {
    api.count::<User>(Query::by("by_organization")).await.expect("the bus answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_once_and_all_in_one_network() {
    let hosts = Hosts::of(2).await;
    let api = hosts.bus(0, Role::Api);
    api.insert(&Settings { user_key: KeyKind::P256, ..Settings::default() }).await.expect("no settings yet");
    let mut queues = [0, 1].map(|host| Process::start(&hosts.socket(host)));
    let organization = with_ca(&api).await;
    let server = server(organization);
    api.insert(&server).await.expect("a new server");
    let begun = Instant::now();
    for chunk in 0..CHUNKS {
        let users = (0..CHUNK).map(|number| new_user(format!("user-{}", chunk * CHUNK + number))).collect();
        let work = Work::Users { organization, users };
        api.insert(&job(&format!("chunk-{chunk}"), work, Priority::Normal)).await.expect("a new job");
    }
    for (host, count) in [(0, 1), (1, 200)] {
        until("users", async || (users(&api).await >= count).then_some(())).await;
        // The one before is killed as it is dropped.
        queues[host] = Process::start(&hosts.socket(host));
    }
    idle(&api).await;
    println!("{} users with addresses, two hosts, each killed once: {:?}", CHUNKS * CHUNK, begun.elapsed());
    let made = api.list::<User>(Query::by("by_organization")).await.expect("the bus answers");
    let names: BTreeSet<_> = made.iter().map(|user| user.record.name.clone()).collect();
    assert_eq!((made.len(), names.len()), (CHUNKS * CHUNK, CHUNKS * CHUNK));
    assert_eq!(api.count::<CertificateKey>(Query::all()).await.expect("the bus answers"), (CHUNKS * CHUNK) as u64);
    for user in &made {
        let certificate = api.get::<Certificate>(user.record.certificate).await.expect("the bus answers");
        assert_eq!(certificate.map(|found| found.record.subject), Some(user.record.id));
    }
    drop(queues);
    for (number, place) in [6, 14, 20].into_iter().enumerate() {
        killed_while_moving(&hosts, &api, server.id, number, place).await;
    }
}

/// The server's network is changed by a queue that dies at its request of this place; one on the other host ends it.
async fn killed_while_moving(hosts: &Hosts, api: &Bus, server: Id, number: usize, place: usize) {
    let networks = ["10.50.0.0/20", "10.60.0.0/20"].map(|network| network.parse().expect("a network"));
    let [old, new] = [networks[number % 2], networks[(number + 1) % 2]];
    let id = format!("move-{number}");
    let mut stored = api.get::<Server>(server).await.expect("the bus answers").expect("it is there");
    stored.record.network_lock = Some(id.clone());
    let work = Work::AssignPool { server, old, new };
    let locked = update(&stored.record, stored.unchanged());
    api.write(vec![locked, insert(&Job::new(id, work, Priority::High, 0))]).await.expect("nobody else writes it");
    let mut count = 0;
    let moment = [Moment::Before, Moment::After][number % 2];
    let proxy = Proxy::start(&hosts.socket(0), move |_| {
        count += 1;
        (count == place).then_some(moment)
    });
    let dying = Process::start(&proxy.socket);
    proxy.reached().await;
    drop(dying);
    everybody_once(api, server).await;
    let other = Process::start(&hosts.socket(1));
    idle(api).await;
    drop(other);
    let stored = api.get::<Server>(server).await.expect("the bus answers").expect("it is there");
    assert_eq!((stored.record.network, stored.record.network_lock), (new, None), "killed at request {place}");
    everybody_once(api, server).await;
}

/// Each has an address in the server's network, and each another.
async fn everybody_once(api: &Bus, server: Id) {
    let stored = api.get::<Server>(server).await.expect("the bus answers").expect("it is there");
    let held = api.list::<Address>(Query::by("by_address").equal(server)).await.expect("the bus answers");
    let users: BTreeSet<_> = held.iter().map(|held| held.record.user).collect();
    let addresses: BTreeSet<_> = held.iter().filter_map(|held| held.record.within(stored.record.network)).collect();
    assert_eq!((held.len(), users.len(), addresses.len()), (CHUNKS * CHUNK, CHUNKS * CHUNK, CHUNKS * CHUNK));
}
