//! Connections of clients whose server does not run where they were.

use culvert_model::record::{Connection, Host, HostStatus, Instance};
use culvert_model::{HostId, Id};

use crate::hosts::host;
use crate::kit::{Broken, made, touch};
use crate::servers::instance;

pub fn connection(server: Id, host: HostId) -> Connection {
    made(|connection: &mut Connection| {
        (connection.id, connection.server, connection.host) = (Id::new(), server, host);
    })
}

#[tokio::test]
async fn those_of_nobodys_instance_go() {
    let broken = Broken::new();
    let [other, lost, back, deleted, damaged] = std::array::from_fn(|_| HostId::new());
    for id in [broken.here, other] {
        broken.put(&host(id)).await;
    }
    for id in [lost, back] {
        broken.put(&Host { status: HostStatus::Offline, ..host(id) }).await;
    }
    broken.put_damaged::<Host>(damaged).await;
    let [runs, moved, forgotten] = [Id::new(), Id::new(), Id::new()];
    broken.put(&instance(runs, 0, Some(broken.here))).await;
    broken.put(&instance(runs, 1, Some(back))).await;
    broken.put(&instance(moved, 0, Some(other))).await;
    let kept = [
        connection(runs, broken.here),
        connection(runs, back),
        connection(moved, other),
        // Whether this host runs it, nobody can tell.
        connection(runs, damaged),
    ];
    let left = [
        connection(runs, lost),
        connection(runs, other),
        connection(runs, deleted),
        connection(moved, broken.here),
        connection(forgotten, broken.here),
    ];
    for connection in kept.iter().chain(&left) {
        broken.put(connection).await;
    }
    // A host that was lost comes back, with its clients, in just this moment.
    broken.before_the_next(vec![touch(&host(back))]);
    assert_eq!(broken.says("lost-clients").await, "5 connections removed");
    let mut found: Vec<Id> = broken.all::<Connection>().await.iter().map(|connection| connection.id).collect();
    found.sort();
    let mut expected = kept.map(|connection| connection.id);
    expected.sort();
    assert_eq!(found, expected);
}

/// More than fit into a batch, one of which is gone by the time that it is to be removed.
#[tokio::test]
async fn many_of_them() {
    let broken = Broken::new();
    let server = Id::new();
    let left: Vec<_> = (0..130).map(|_| connection(server, broken.here)).collect();
    for connection in &left {
        broken.put(connection).await;
    }
    let gone = left[70].id;
    let removal = culvert_records::delete::<Connection>(gone, culvert_records::Guard::default());
    broken.before_the_next(vec![removal]);
    assert_eq!(broken.says("lost-clients").await, "129 connections removed");
    assert!(broken.all::<Connection>().await.is_empty());
}

#[tokio::test]
async fn an_instance_that_comes_up_keeps_its_clients() {
    let broken = Broken::new();
    broken.put(&host(broken.here)).await;
    let server = Id::new();
    let mut instance = instance(server, 0, None);
    broken.put(&instance).await;
    broken.put(&connection(server, broken.here)).await;
    instance.host = Some(broken.here);
    broken.before_the_next(vec![touch(&instance)]);
    assert_eq!(broken.says("lost-clients").await, "0 connections removed");
    assert_eq!(broken.all::<Connection>().await.len(), 1);
}

/// Which server it is an instance of, and where, nobody can tell.
#[tokio::test]
async fn those_of_a_damaged_instance_stay() {
    let broken = Broken::new();
    let lost = HostId::new();
    broken.put(&host(broken.here)).await;
    broken.put(&Host { status: HostStatus::Offline, ..host(lost) }).await;
    broken.put_damaged::<Instance>("one").await;
    let [kept, left] = [broken.here, lost].map(|host| connection(Id::new(), host));
    broken.put(&kept).await;
    broken.put(&left).await;
    assert_eq!(broken.says("lost-clients").await, "1 connection removed");
    assert!(broken.has::<Connection>(kept.id).await && !broken.has::<Connection>(left.id).await);
}
