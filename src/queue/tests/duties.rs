//! The tasks, over a real bus.

mod kit;

use std::net::Ipv4Addr;
use std::time::Duration;

use culvert_model::record::{
    Address, Connection, Host, HostStatus, Instance, InstanceState, Job, Log, Session, Task, User, UserSecret,
};
use culvert_model::{HostId, Id, Role};
use culvert_records::{Bus, Kept, Query};
use culvert_tasks::duty::{DUTIES, Desk};
use kit::{Cluster, until};

async fn run(cluster: &Cluster, bus: &Bus, name: &str) -> String {
    let duty = DUTIES.iter().find(|duty| duty.name == name).expect("it is in the table");
    let (_, now) = bus.here().await.expect("the bus answers");
    duty.run(&Desk { bus, host: cluster.host, now }).await.expect("the bus answers").text
}

fn host(id: HostId) -> Host {
    Host {
        id,
        name: format!("host {id}"),
        hostname: "host".into(),
        version: "0".into(),
        status: HostStatus::Online,
        started: 0,
        cores: 1,
        public_address: None,
        public_address6: None,
        local_address: None,
        local_networks: Vec::new(),
        sync_address: None,
        availability_group: "default".into(),
        priority: 0,
        format: 1,
    }
}

fn instance(server: Id, host: HostId) -> Instance {
    Instance {
        id: Instance::name(server, 0),
        server,
        host: Some(host),
        slot: None,
        state: InstanceState::Online,
        since: 0,
        reason: None,
    }
}

fn connection(server: Id, host: HostId) -> Connection {
    Connection {
        id: Id::new(),
        server,
        host,
        user: Id::new(),
        organization: Id::new(),
        client: 0,
        real_address: "192.0.2.1:1194".into(),
        virtual_address: Ipv4Addr::new(10, 0, 0, 2),
        platform: None,
        device_name: None,
        since: 0,
    }
}

fn user(organization: Id) -> User {
    User {
        id: Id::new(),
        organization,
        name: "alice".into(),
        email: None,
        groups: Vec::new(),
        disabled: false,
        auth_type: "local".into(),
        yubico_id: None,
        pin: false,
        bypass_secondary: false,
        client_to_client: false,
        mac_addresses: None,
        dns_servers: None,
        dns_suffix: None,
        port_forwarding: None,
        network_links: Vec::new(),
        certificate: Id::new(),
        last_active: None,
    }
}

#[tokio::test]
async fn hosts_and_what_they_leave_behind() {
    let cluster = Cluster::new();
    let bus = cluster.bus(Role::Tasks);
    let [here, lost] = [cluster.host, HostId::new()];
    let [ours, theirs] = [Id::new(), Id::new()];
    for id in [here, lost] {
        cluster.api().insert(&host(id)).await.expect("a new host");
    }
    let vpn = cluster.bus(Role::Vpn);
    for (server, host) in [(ours, here), (theirs, lost)] {
        cluster.api().insert(&instance(server, host)).await.expect("a new instance");
        vpn.insert(&connection(server, host)).await.expect("a new connection");
    }
    vpn.insert(&connection(theirs, here)).await.expect("a connection of an instance that moved away");
    let held = vpn.claim::<Instance>(Instance::name(ours, 0), None, "vpn", 60_000).await.expect("the bus answers");
    assert!(matches!(held, Kept::Held(_)));

    // Whoever has just come knows nothing about who is lost.
    for name in ["lost-hosts", "lost-servers"] {
        assert_eq!(run(&cluster, &bus, name).await, "waits until every host had the time to report");
    }
    until("contact for a whole lease", async || {
        bus.here().await.expect("the bus answers");
        (bus.uninterrupted() >= 15_000).then_some(())
    })
    .await;
    assert_eq!(run(&cluster, &bus, "lost-hosts").await, "1 host lost");
    assert_eq!(run(&cluster, &bus, "lost-hosts").await, "0 hosts lost");
    let status = async |id| bus.get::<Host>(id).await.expect("the bus answers").expect("it is there").record.status;
    assert_eq!((status(here).await, status(lost).await), (HostStatus::Online, HostStatus::Offline));
    assert_eq!(cluster.api().list::<Log>(Query::all()).await.expect("the bus answers").len(), 1);

    assert_eq!(run(&cluster, &bus, "lost-servers").await, "1 instance freed, 2 connections removed");
    let record = async |server| {
        let id = Instance::name(server, 0);
        bus.get::<Instance>(id).await.expect("the bus answers").expect("it is there")
    };
    let freed = record(theirs).await;
    assert_eq!((freed.record.host, freed.record.state, freed.held_for()), (None, InstanceState::Idle, 0));
    assert_eq!(record(ours).await.record, instance(ours, here));
    let left = bus.list::<Connection>(Query::all()).await.expect("the bus answers");
    assert_eq!(
        left.iter().map(|stored| (stored.record.server, stored.record.host)).collect::<Vec<_>>(),
        [(ours, here)]
    );
}

#[tokio::test]
async fn every_task_of_the_table_runs() {
    let cluster = Cluster::new();
    cluster.organization().await;
    let (_, now) = cluster.api().here().await.expect("the bus answers");
    for (id, expires) in [("old", now - 1), ("new", now + 60_000)] {
        let session = Session { id: id.into(), admin: Id::new(), created: 0, expires };
        cluster.api().insert(&session).await.expect("a new session");
    }
    let address = Address { id: "one".into(), ..Address::new(Id::new(), Id::new(), 0, Ipv4Addr::new(10, 0, 0, 2)) };
    cluster.api().insert(&address).await.expect("a new address");
    let orphan = user(Id::new());
    cluster.api().insert(&orphan).await.expect("a new user");
    let secret = UserSecret { id: orphan.id, pin: None, otp_secret: None, sync_token: None, sync_secret: None };
    cluster.api().insert(&secret).await.expect("a new secret");
    let bus = cluster.bus(Role::Tasks);
    // Two processes share the schedule.
    for _ in 0..2 {
        let bus = cluster.bus(Role::Tasks);
        tokio::spawn(async move { culvert_tasks::attend(&bus).await });
    }
    let tasks = until("all tasks to have run", async || {
        let tasks = bus.list::<Task>(Query::all()).await.expect("the bus answers");
        (tasks.len() == DUTIES.len() && tasks.iter().all(|task| task.record.finished.is_some())).then_some(tasks)
    })
    .await;
    for Task { id, due, attempts, result, host, .. } in tasks.into_iter().map(|stored| stored.record) {
        let duty = DUTIES.iter().find(|duty| duty.name == id).expect("it is in the table");
        println!("{id}: {result:?}");
        assert!(due > now && due <= now + duty.period + 60_000, "{id}");
        assert_eq!((attempts, host), (0, Some(cluster.host)), "{id}");
    }
    let session = async |id: &str| cluster.api().get::<Session>(id).await.expect("the bus answers").is_some();
    assert_eq!((session("old").await, session("new").await), (false, true));
    assert!(cluster.api().get::<Address>("one").await.expect("the bus answers").is_none());
    assert!(cluster.api().get::<User>(orphan.id).await.expect("the bus answers").is_none());
    assert!(cluster.api().get::<UserSecret>(orphan.id).await.expect("the bus answers").is_none());
    let jobs = cluster.api().list::<Job>(Query::all()).await.expect("the bus answers");
    let mut ids: Vec<_> = jobs.iter().map(|job| job.record.id.split('/').next().unwrap_or_default()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["authority", "ca", "console-certificate"]);

    // Each run of the shortest task happens once: its record is written twice in a run.
    let written = async || bus.get::<Task>("lost-hosts").await.expect("the bus answers").expect("it is there").revision;
    let before = written().await;
    tokio::time::sleep(Duration::from_secs(11)).await;
    let runs = (written().await - before) / 2;
    assert!((1..=3).contains(&runs), "{runs} runs in 11 s");
}
