//! Hosts that are gone: their figures, their removal, and what machine is to be them.

use std::net::Ipv4Addr;

use culvert_model::record::{Bucket, Connection, Host, HostStatus, Period, Server, Usage};
use culvert_model::{HostId, Id};
use culvert_records::Query;
use serde_json::json;

use crate::kit::World;

fn gone(name: &str) -> Host {
    Host {
        id: HostId::new(),
        name: name.into(),
        hostname: "gate.example.org".into(),
        format: 1,
        version: "0".into(),
        status: HostStatus::Offline,
        started: 0,
        cores: 1,
        public_address: None,
        public_address6: None,
        local_address: None,
        local_networks: Vec::new(),
        sync_address: None,
        availability_group: "default".into(),
        priority: 0,
    }
}

fn connection(host: HostId) -> Connection {
    Connection {
        id: Id::new(),
        server: Id::new(),
        host,
        user: Id::new(),
        organization: Id::new(),
        client: 0,
        real_address: "192.0.2.1:1194".into(),
        virtual_address: Ipv4Addr::new(10, 0, 0, 2),
        platform: None,
        device_name: None,
        since: 0,
        serial: None,
    }
}

#[tokio::test]
async fn how_busy_a_host_was() {
    let world = World::new().await;
    let console = world.log_in().await;
    let host = gone("gate");
    world.put(&host).await;
    let path = |period: &str| format!("/host/{}/usage/{period}", host.id);
    assert_eq!(world.get(&console, &path("1m")).await.good(), json!({ "cpu": [], "mem": [] }), "not measured yet");
    let mut usage = Usage::new(host.id, Period::Minute);
    usage.buckets = vec![
        Bucket { begin: 60, count: 1, cpu: 250, memory: 500 },
        Bucket { begin: 120, count: 2, cpu: 1000, memory: 1500 },
    ];
    world.put(&usage).await;
    let expected = json!({ "cpu": [[60, 0.25], [120, 0.5]], "mem": [[60, 0.5], [120, 0.75]] });
    assert_eq!(world.get(&console, &path("1m")).await.good(), expected);
    assert_eq!(world.get(&console, &path("5m")).await.good(), json!({ "cpu": [], "mem": [] }));
    world.get(&console, &path("7m")).await.bad(404);
    world.get(&console, &format!("/host/{}/usage/1m", HostId::new())).await.bad(404);
}

#[tokio::test]
async fn a_host_that_is_removed_leaves_nothing_behind() {
    let world = World::new().await;
    let console = world.log_in().await;
    let new = json!({ "name": "s", "protocol": "udp", "cipher": "aes128", "hash": "sha1" });
    let server = world.ask(&console, "POST", "/server", Some(new)).await.good();
    let server: Id = server["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let (host, other) = (gone("gate"), gone("other"));
    for host in [&host, &other] {
        world.put(host).await;
        world.put(&Usage::new(host.id, Period::Day)).await;
        world.vpn.insert(&connection(host.id)).await.expect("it is new");
    }
    world.ask(&console, "PUT", &format!("/server/{server}/host/{}", host.id), None).await.good();

    world.ask(&console, "DELETE", &format!("/host/{}", host.id), None).await.good();
    world.get(&console, &format!("/host/{}", host.id)).await.bad(404);
    let bus = &world.api.bus;
    let attached = bus.get::<Server>(server).await.expect("the bus answers").expect("it is there").record.hosts;
    assert!(!attached.contains(&host.id) && attached.len() == 1, "{attached:?}");
    let usage = bus.list::<Usage>(Query::all()).await.expect("the bus answers");
    assert_eq!(usage.iter().map(|stored| stored.record.host).collect::<Vec<_>>(), [other.id]);
    let connections = bus.list::<Connection>(Query::all()).await.expect("the bus answers");
    assert_eq!(connections.iter().map(|stored| stored.record.host).collect::<Vec<_>>(), [other.id]);
    world.ask(&console, "DELETE", &format!("/host/{}", host.id), None).await.bad(404);
}

#[tokio::test]
async fn an_organizations_credentials_are_a_record_of_their_own() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    let new = json!({ "name": "acme", "auth_api": true });
    let made = world.ask(&console, "POST", "/organization", Some(new)).await.good();
    let path = format!("/organization/{}", made["id"].as_str().expect("an id"));
    let words = |shown: &serde_json::Value| [shown["auth_token"].clone(), shown["auth_secret"].clone()];
    let first = words(&made);
    assert!(first.iter().all(|word| word.as_str().is_some_and(|word| word.len() == 32)), "{made}");
    assert_eq!(words(&world.get(&console, &path).await.good()), first);
    let change = json!({ "name": "acme", "auth_api": true, "auth_token": false, "auth_secret": true });
    let changed = words(&world.ask(&console, "PUT", &path, Some(change)).await.good());
    assert!(changed[0] == first[0] && changed[1] != first[1], "{changed:?}");
    let off = json!({ "name": "acme", "auth_api": false });
    assert_eq!(words(&world.ask(&console, "PUT", &path, Some(off)).await.good()), [json!(null), json!(null)]);
    let on = json!({ "name": "acme", "auth_api": true });
    let again = words(&world.ask(&console, "PUT", &path, Some(on)).await.good());
    assert!(again[0] != first[0] && again[0].is_string(), "{again:?}");
}
