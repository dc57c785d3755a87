//! Instances that nobody holds.

use culvert_model::record::{Connection, Host, HostStatus, Instance, InstanceState, Output, Server, ServerKey};
use culvert_model::{HostId, Id, Role, Slot};
use culvert_records::{BATCH, Kept, insert};
use tokio::time::Instant;

use crate::clients::connection;
use crate::hosts::host;
use crate::kit::{Broken, made, server, touch};

/// An instance that runs, as far as its record says.
pub fn instance(server: Id, number: u16, host: Option<HostId>) -> Instance {
    made(|instance: &mut Instance| {
        (instance.id, instance.server) = (Instance::name(server, number), server);
        (instance.host, instance.state) = (host, InstanceState::Online);
    })
}

fn idle(server: Id, number: u16) -> Instance {
    Instance { state: InstanceState::Idle, slot: None, ..instance(server, number, None) }
}

fn of_two() -> Server {
    Server { replica_count: 2, ..server(&[]) }
}

#[tokio::test]
async fn what_a_lost_host_ran_is_freed() {
    let broken = Broken::new();
    let [gone, deleted] = [HostId::new(), HostId::new()];
    broken.put(&host(broken.here)).await;
    broken.put(&Host { status: HostStatus::Offline, ..host(gone) }).await;
    let [ours, theirs, removed, held, back] = std::array::from_fn(|_| of_two());
    for (server, host) in [(&ours, broken.here), (&theirs, gone), (&removed, deleted), (&held, gone), (&back, gone)] {
        broken.put(server).await;
        broken.put(&instance(server.id, 0, Some(host))).await;
        broken.put(&connection(server.id, host)).await;
    }
    // Still held: the host has lost the others, but not the database.
    let vpn = broken.role(Role::Vpn);
    let claimed =
        vpn.claim::<Instance>(Instance::name(held.id, 0), None, "vpn", 60_000).await.expect("the bus answers");
    assert!(matches!(claimed, Kept::Held(_)));
    assert_eq!(broken.says("lost-servers").await, "waits until every host had the time to report");

    broken.contact().await;
    let again = instance(back.id, 0, Some(broken.here));
    broken.before_the_next(vec![touch(&again)]);
    let done = broken.run("lost-servers").await;
    assert!(done.again.is_some_and(|left| (20_000..=45_100).contains(&left)), "when the lease could end: {done:?}");
    for server in [&theirs, &removed] {
        let freed = broken.get::<Instance>(Instance::name(server.id, 0)).await;
        let Instance { host, slot, state, .. } = freed.record;
        assert_eq!((host, slot, state, freed.held_for()), (None, None::<Slot>, InstanceState::Idle, 0));
    }
    assert_eq!(broken.get::<Instance>(again.id.clone()).await.record, again, "another host was faster");
    for (server, host) in [(&ours, broken.here), (&held, gone)] {
        let kept = instance(server.id, 0, Some(host));
        assert_eq!(broken.get::<Instance>(&kept.id).await.record, kept);
    }
    // Of the host that is lost, all clients are: also of the instance that nobody else can have yet.
    let left: Vec<Id> = broken.all::<Connection>().await.iter().map(|connection| connection.server).collect();
    assert_eq!(left, [ours.id]);
    assert_eq!(broken.says("lost-servers").await, "0 instances freed, 0 instances removed, 0 connections removed");
}

/// However much runs on hosts that are there, or stands by: this is looked at every few seconds.
#[tokio::test]
async fn only_what_is_lost_is_read() {
    let broken = Broken::new();
    let [other, gone] = [HostId::new(), HostId::new()];
    broken.put(&host(broken.here)).await;
    broken.put(&host(other)).await;
    broken.put(&Host { status: HostStatus::Offline, ..host(gone) }).await;
    let mut writes = Vec::new();
    for number in 0..3_000 {
        let (server, runs) = (of_two(), if number % 2 == 0 { broken.here } else { other });
        writes.extend([insert(&server), insert(&instance(server.id, 0, Some(runs))), insert(&idle(server.id, 1))]);
        writes.push(insert(&connection(server.id, runs)));
    }
    for some in writes.chunks(BATCH) {
        broken.write(some.to_vec()).await;
    }
    broken.contact().await;
    broken.found();
    let begun = Instant::now();
    assert_eq!(broken.says("lost-servers").await, "0 instances freed, 0 instances removed, 0 connections removed");
    println!("{:?} for 3,000 servers", begun.elapsed());
    assert_eq!(broken.found(), 3, "the hosts");

    // And where something is, that and what it belongs to.
    let lost = of_two();
    broken.put(&lost).await;
    broken.put(&instance(lost.id, 0, Some(gone))).await;
    assert_eq!(broken.says("lost-servers").await, "1 instance freed, 0 instances removed, 0 connections removed");
    let found = broken.found();
    assert!(found <= 8, "{found}");
}

#[tokio::test]
async fn what_no_server_has_is_removed() {
    let broken = Broken::new();
    broken.put(&host(broken.here)).await;
    let [deleted, damaged] = [Id::new(), Id::new()];
    let [fewer, more] = [Server { replica_count: 1, ..server(&[]) }, Server { replica_count: 1, ..server(&[]) }];
    broken.put(&fewer).await;
    broken.put(&more).await;
    broken.put_damaged::<Server>(damaged).await;
    broken.put(&made(|key: &mut ServerKey| key.id = deleted)).await;
    let gone = [instance(deleted, 0, Some(HostId::new())), idle(deleted, 1), idle(fewer.id, 1)];
    let kept = [idle(fewer.id, 0), idle(damaged, 5), instance(deleted, 2, Some(broken.here)), idle(more.id, 1)];
    for instance in gone.iter().chain(&kept) {
        broken.put(instance).await;
        let id = &instance.id;
        broken.put(&made(|output: &mut Output| (output.id, output.server) = (id.clone(), instance.server))).await;
    }
    broken.contact().await;
    // Somebody wants more instances in just this moment.
    let touched = touch(&Server { replica_count: 2, ..more.clone() });
    broken.before_the_next(vec![touched]);
    assert_eq!(broken.says("spare-instances").await, "2 instances removed");
    assert_eq!(broken.says("lost-servers").await, "0 instances freed, 1 instance removed, 0 connections removed");
    for instance in &gone {
        assert!(!broken.has::<Instance>(&instance.id).await && !broken.has::<Output>(&instance.id).await);
    }
    for instance in &kept {
        let found = broken.get::<Instance>(&instance.id).await;
        assert_eq!((&found.record, found.held_for()), (instance, 0));
        assert!(broken.has::<Output>(&instance.id).await);
    }
    assert!(!broken.has::<ServerKey>(deleted).await);
}

/// A server of two availability groups follows the hosts that are there; `vpn` does the rest.
#[tokio::test]
async fn another_group_takes_over() {
    let broken = Broken::new();
    let [first, second, third] = std::array::from_fn(|_| HostId::new());
    let of = |id, group: &str| Host { availability_group: group.into(), ..host(id) };
    let lost = Host { status: HostStatus::Offline, ..of(first, "north") };
    for host in [&lost, &of(second, "south"), &of(third, "north")] {
        broken.put(host).await;
    }
    let both = |replica_count| Server { hosts: vec![first, second, third], replica_count, ..server(&[]) };
    let (enough, few, changed) = (both(1), Server { hosts: vec![first, second], ..both(1) }, both(1));
    for server in [&enough, &few, &changed] {
        broken.put(server).await;
    }
    broken.contact().await;
    // An administrator changes one of them in just this moment.
    let mut touched = vec![enough, few, changed];
    touched.sort_by_key(|server| server.id);
    let first_seen = Server { name: "other".into(), ..touched[0].clone() };
    broken.before_the_next(vec![touch(&first_seen)]);
    assert_eq!(broken.says("failover").await, "2 servers moved");
    assert_eq!(broken.get::<Server>(first_seen.id).await.record, first_seen);
    assert_eq!(broken.says("failover").await, "1 server moved");
    for before in touched {
        let after = broken.get::<Server>(before.id).await.record;
        let runs: Vec<bool> =
            after.hosts.iter().map(|host| Server { online: true, ..after.clone() }.runs_on(*host)).collect();
        if after.hosts.len() == 2 {
            assert_eq!(runs, [false, true], "the north has nobody here");
        } else {
            assert_eq!(runs, [true, false, true], "one of the north is enough");
        }
    }
    assert_eq!(broken.says("failover").await, "0 servers moved");
}
