//! Networks that are locked for a move that nobody makes any more.

use std::net::Ipv4Addr;

use culvert_model::record::{Address, Job, JobState, Organization, Priority, Server, Work};
use culvert_model::{Id, Role};
use culvert_records::Stored;

use crate::addresses::address;
use crate::kit::{Broken, organization, server, touch, user};
use crate::stage::until;

fn locked(staff: Id, job: &str) -> Server {
    let network = "10.8.0.0/24".parse().expect("a network");
    Server { network_lock: Some(job.into()), network, ..server(&[staff]) }
}

fn job(id: &str, server: Id, state: JobState) -> Job {
    let [old, new] = ["10.8.0.0/24", "10.9.0.0/24"].map(|network| network.parse().expect("a network"));
    Job { state, ..Job::new(id.into(), Work::AssignPool { server, old, new }, Priority::Normal, 1) }
}

const OLD: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 8, 0, 9), Ipv4Addr::new(10, 8, 0, 10)];
const NEW: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);

/// Addresses at every step of a move: not begun, with the next one beside it, made in the new network only.
async fn half_moved(broken: &Broken, staff: &Organization, server: Id) -> [Address; 3] {
    let users = [user(staff.id), user(staff.id), user(staff.id)];
    for user in &users {
        broken.put(user).await;
    }
    let all = [
        address(server, users[0].id, OLD[0]),
        Address { next: Some(NEW), ..address(server, users[1].id, OLD[1]) },
        address(server, users[2].id, NEW),
    ];
    for address in &all {
        broken.put(address).await;
    }
    all
}

async fn lock(broken: &Broken, server: Id) -> Option<String> {
    broken.get::<Server>(server).await.record.network_lock
}

async fn attend(broken: &Broken) {
    let queue = broken.role(Role::Queue);
    tokio::spawn(culvert_queue::attend(queue, std::future::pending()));
    until("no open jobs", async || {
        broken.all::<Job>().await.iter().all(|job| job.state == JobState::Dead).then_some(())
    })
    .await;
}

/// With the queue, which does what the task asks for.
#[tokio::test]
async fn a_move_that_is_over_is_mended_and_unlocked() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let servers = ["gone", "dead"].map(|job| locked(staff.id, job));
    broken.put(&job("dead", servers[1].id, JobState::Dead)).await;
    let mut moved = Vec::new();
    for server in &servers {
        broken.put(server).await;
        moved.push(half_moved(&broken, &staff, server.id).await);
    }
    assert_eq!(broken.says("network-locks").await, "2 networks to be unlocked");
    assert_eq!(broken.says("network-locks").await, "0 networks to be unlocked", "they are about to be");
    attend(&broken).await;
    for (server, [whole, half, foreign]) in servers.iter().zip(moved) {
        assert_eq!(lock(&broken, server.id).await, None);
        assert_eq!(broken.get::<Address>(&whole.id).await.record, whole);
        assert_eq!(broken.get::<Address>(&half.id).await.record, Address { next: None, ..half });
        let mended = broken.get::<Address>(&foreign.id).await.record;
        assert!(server.network.contains(&mended.address) && !OLD.contains(&mended.address), "{mended:?}");
    }
    assert_eq!(broken.says("network-locks").await, "0 networks to be unlocked");
    assert_eq!(broken.says("addresses").await, "0 addresses removed, those of 0 servers to be settled");
}

/// Whoever was to unlock the network had died of it: that is tried once more.
#[tokio::test]
async fn who_died_of_it_tries_again() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let server = locked(staff.id, "gone");
    broken.put(&server).await;
    let (id, work) = (Job::of_addresses(server.id), Work::AssignAddresses { server: server.id });
    let dead = Job { state: JobState::Dead, attempts: 5, ..Job::new(id, work, Priority::Normal, 1) };
    broken.put(&dead).await;
    assert_eq!(broken.says("network-locks").await, "1 network to be unlocked");
    attend(&broken).await;
    assert_eq!(lock(&broken, server.id).await, None);
}

#[tokio::test]
async fn a_move_that_goes_on_keeps_its_lock() {
    let broken = Broken::new();
    let staff = organization();
    broken.put(&staff).await;
    let [open, damaged] = ["open", "damaged"].map(|job| locked(staff.id, job));
    broken.put(&job("open", open.id, JobState::Open)).await;
    broken.put_damaged::<Job>("damaged").await;
    for server in [&open, &damaged] {
        broken.put(server).await;
    }
    assert_eq!(broken.says("network-locks").await, "0 networks to be unlocked");

    // The network is changed once more in just this moment.
    let over = locked(staff.id, "over");
    broken.put(&over).await;
    broken.put(&job("another", over.id, JobState::Open)).await;
    let another = Server { network_lock: Some("another".into()), ..over };
    broken.before_the_next(vec![touch(&another)]);
    assert_eq!(broken.says("network-locks").await, "0 networks to be unlocked");
    let Stored { record, .. } = broken.get::<Server>(another.id).await;
    assert_eq!(record, another);
    assert!(!broken.has::<Job>(Job::of_addresses(another.id)).await);
}
