//! A bus with the embedded store, and records to work on.

#![allow(dead_code, reason = "each suite uses a part")]

pub mod process;
pub mod proxy;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use culvert_bus::server;
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_model::record::{
    Certificate, CertificateState, Job, Organization, Priority, Purpose, Server, Settings, User, Work,
};
use culvert_model::{Cipher, Digest, HostId, Id, Port, Protocol, Role};
use culvert_records::{Bus, Query};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// A store, and a bus for every host and role.
pub struct Site<S> {
    folder: TempDir,
    store: Arc<S>,
    stop: watch::Sender<bool>,
    pub host: HostId,
}

impl<S: Store> Site<S> {
    /// As this host, if no other is named.
    pub fn new(store: S, host: HostId) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, store: Arc::new(store), stop: watch::Sender::new(false), host }
    }

    /// Where the process of this role finds its bus.
    pub fn socket(&self, role: Role) -> PathBuf {
        self.socket_of(self.host, role)
    }

    /// The same on any host.
    pub fn socket_of(&self, host: HostId, role: Role) -> PathBuf {
        let socket = self.folder.path().join(format!("{}.sock", Id::new()));
        let listener = UnixListener::bind(&socket).expect("a new name");
        let server = server::Server::new(self.store.clone(), None, host, Box::new(move |_| Some(role)));
        let stop = self.stop.subscribe();
        tokio::spawn(async move { server.serve(&listener, stop).await });
        socket
    }

    /// What the process of this role has.
    pub fn bus(&self, role: Role) -> Bus {
        Bus::new(self.socket(role))
    }

    /// A queue.
    pub fn queue(&self) -> JoinHandle<()> {
        tokio::spawn(culvert_queue::attend(self.bus(Role::Queue), std::future::pending()))
    }
}

/// The embedded store, and what is often asked of it.
pub struct Cluster {
    site: Site<Embedded>,
    folder: TempDir,
    api: OnceCell<Bus>,
    pub host: HostId,
}

impl Cluster {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = HostId::new();
        let store = Embedded::open(&folder.path().join("store.sqlite"), host).expect("a new store");
        Self { site: Site::new(store, host), folder, api: OnceCell::new(), host }
    }

    /// What the process of this role has on the first host.
    pub fn bus(&self, role: Role) -> Bus {
        self.site.bus(role)
    }

    /// What the suites look and change with.
    pub fn api(&self) -> &Bus {
        self.api.get_or_init(|| self.bus(Role::Api))
    }

    /// What the process of this role has on any host.
    pub fn bus_of(&self, host: HostId, role: Role) -> Bus {
        Bus::new(self.site.socket_of(host, role))
    }

    /// Where a queue on the first host finds its bus.
    pub fn socket(&self) -> PathBuf {
        self.site.socket(Role::Queue)
    }

    /// A queue on the first host.
    pub fn queue(&self) -> JoinHandle<()> {
        self.site.queue()
    }

    /// An organisation without a CA.
    pub async fn organization(&self) -> Id {
        organization(self.api()).await
    }

    pub async fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings { user_key: culvert_model::KeyKind::Rsa2048, ..Settings::default() };
        change(&mut settings);
        self.api().insert(&settings).await.expect("no settings yet");
    }

    pub async fn certificates(&self, organization: Id, purpose: Purpose, state: CertificateState) -> Vec<Certificate> {
        certificates(self.api(), organization, purpose, state).await
    }

    pub async fn jobs(&self) -> usize {
        jobs(self.api()).await
    }
}

/// An organisation without a CA.
pub async fn organization(api: &Bus) -> Id {
    let id = Id::new();
    let organization = Organization { id, name: "acme".into(), auth_api: false, ca: None, ca_expires: None };
    api.insert(&organization).await.expect("a new organisation");
    id
}

pub async fn certificates(api: &Bus, organization: Id, purpose: Purpose, state: CertificateState) -> Vec<Certificate> {
    let certificates = api.list::<Certificate>(Query::all()).await.expect("the bus answers");
    let mut certificates: Vec<_> = certificates.into_iter().map(|stored| stored.record).collect();
    certificates.retain(|one| one.organization == organization && one.purpose == purpose && one.state == state);
    certificates
}

pub async fn jobs(api: &Bus) -> usize {
    api.list::<Job>(Query::all()).await.expect("the bus answers").len()
}

/// A user with a certificate that is not there.
pub fn user(organization: Id) -> User {
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

/// A server with the network 10.50.0.0/20.
pub fn server(organization: Id) -> Server {
    Server {
        id: Id::new(),
        name: "s".into(),
        online: false,
        started: None,
        network: "10.50.0.0/20".parse().expect("a network"),
        bind_address: None,
        protocol: Protocol::Udp,
        port: Port::try_from(1194).expect("a port"),
        organizations: vec![organization],
        hosts: Vec::new(),
        standby: Vec::new(),
        replica_count: 1,
        routes: Vec::new(),
        certificate: None,
        groups: Vec::new(),
        dns_servers: Vec::new(),
        search_domain: None,
        cipher: Cipher::Aes256,
        hash: Digest::Sha256,
        dh_param_bits: 2048,
        dh_params: None,
        network_lock: None,
        multi_device: false,
        inter_client: true,
        restrict_routes: true,
        otp_auth: false,
        ping_interval: 10,
        ping_timeout: 60,
        inactive_timeout: None,
        session_timeout: None,
        max_clients: 2000,
        max_devices: 0,
        tun_mtu: None,
        mss_fix: None,
        debug: false,
        block_outside_dns: false,
        pre_connect_msg: None,
    }
}

pub fn job(id: &str, work: Work, priority: Priority) -> Job {
    Job::new(id.into(), work, priority, 0)
}

/// Waits until the question is answered.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} within a minute");
        sleep(Duration::from_millis(10)).await;
    }
}

/// An organisation with a CA, which a queue at this bus makes.
pub async fn with_ca(api: &Bus) -> Id {
    let organization = organization(api).await;
    api.insert(&job(&format!("ca/{organization}"), Work::Ca { organization }, Priority::High))
        .await
        .expect("a new job");
    until("a CA", async || api.get::<Organization>(organization).await.expect("the bus answers")?.record.ca).await;
    organization
}
