//! Two servers that are being moved into one network, by two hosts at the same time. Needs mongod: `make setup`.

use std::net::Ipv4Addr;

use culvert_model::record::{Address, Job, JobState, Priority, Server, Work};
use culvert_model::{Id, Kind, Role};
use culvert_records::{Bus, Write, insert, update};
use culvert_wire::bus::Request;
use ipnet::Ipv4Net;

use crate::kit::process::Process;
use crate::kit::proxy::{Moment, Proxy};
use crate::kit::samples::{self, user};
use crate::kit::{Hosts, organization, until};

fn network(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

/// A server with a user who has an address.
async fn server(api: &Bus, organization: Id, old: Ipv4Net) -> Id {
    let server = Server { network: old, ..samples::server(&[organization]) };
    let user = user(organization);
    let lowest = Ipv4Addr::from(u32::from(old.network()) + 2);
    let writes = vec![insert(&server), insert(&user), insert(&Address::new(server.id, user.id, 0, lowest))];
    api.write(writes).await.expect("they are new");
    server.id
}

async fn record(api: &Bus, server: Id) -> Server {
    api.get::<Server>(server).await.expect("the bus answers").expect("it is there").record
}

/// Locks a server for a move that begins at once, as `PUT /server` does.
async fn begin(api: &Bus, server: Id, new: Ipv4Net) -> String {
    let mut stored = api.get::<Server>(server).await.expect("the bus answers").expect("it is there");
    let id = format!("network/{server}");
    let work = Work::AssignPool { server, old: stored.record.network, new };
    stored.record.network_lock = Some(id.clone());
    let locked = update(&stored.record, stored.unchanged());
    api.write(vec![locked, insert(&Job::new(id.clone(), work, Priority::High, 0))])
        .await
        .expect("nobody else writes it");
    id
}

/// The first has looked at all other servers, and is about to have the network; then the other begins, and is quicker.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_has_the_network() {
    let hosts = Hosts::of(2).await;
    let api = hosts.bus(0, Role::Api);
    let organization = organization(&api).await;
    let old = [network("10.40.0.0/20"), network("10.50.0.0/20")];
    let first = server(&api, organization, old[0]).await;
    let second = server(&api, organization, old[1]).await;
    let mut held = false;
    let proxy = Proxy::start(&hosts.socket(0), move |request| {
        let moves = |write: &Write| matches!(write, Write::Update { kind: Kind::Server, .. });
        let holds = !held && matches!(request, Request::Write { writes, .. } if writes.iter().any(moves));
        held |= holds;
        holds.then_some(Moment::Before)
    });
    let job = begin(&api, first, network("10.80.0.0/16")).await;
    let _slow = Process::start(&proxy.socket);
    proxy.reached().await;
    begin(&api, second, network("10.80.16.0/20")).await;
    let quick = Process::start(&hosts.socket(1));
    until("the second to be moved", async || {
        let server = record(&api, second).await;
        (server.network == network("10.80.16.0/20") && server.network_lock.is_none()).then_some(())
    })
    .await;
    drop(quick);
    proxy.go();
    let error = until("the first to end", async || {
        let found = api.get::<Job>(&job).await.expect("the bus answers");
        // It is done when it is gone.
        found.map_or(Some(None), |job| Some(Some(job.record.error?)))
    })
    .await;
    assert!(error.is_some_and(|error| error.contains("belongs to another server")));
    let dead = api.get::<Job>(&job).await.expect("the bus answers").expect("an administrator sees why");
    assert_eq!((dead.record.state, dead.record.attempts), (JobState::Dead, 1), "it would only come to the same");
    until("the first to be as it was", async || record(&api, first).await.network_lock.is_none().then_some(())).await;
    assert_eq!(record(&api, first).await.network, old[0]);
}
