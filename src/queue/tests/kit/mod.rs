//! A stage with a queue, and records to work on.

#![allow(dead_code, reason = "each suite uses a part")]

#[path = "../../../../tests/kit/mongod.rs"]
#[allow(missing_docs, reason = "the kit serves other suites, too")]
pub mod mongod;
pub mod process;
pub mod proxy;
#[path = "../../../../tests/kit/samples.rs"]
#[allow(missing_docs, reason = "the kit serves other suites, too")]
pub mod samples;
#[path = "../../../../tests/kit/stage.rs"]
mod stage;

use std::cell::OnceCell;
use std::path::PathBuf;

use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::mongo::Mongo;
use culvert_lease::Terms;
use culvert_model::record::{
    Certificate, CertificateState, Host, Job, NewUser, Organization, Priority, Purpose, Settings, Work,
};
use culvert_model::{HostId, Id, Role};
use culvert_records::{Bus, Query};
use mongod::ReplicaSet;
pub use stage::{Stage, until};
use tokio::task::JoinHandle;

/// Leases that are over soon, for suites that wait for their end.
pub const SHORT: Terms = Terms::of(4_000);

/// A queue on the first host, whose leases are short.
pub fn queue<S: Store>(stage: &Stage<S>) -> JoinHandle<()> {
    queue_at(stage.bus(Role::Queue))
}

/// A queue at this bus, whose leases are short.
pub fn queue_at(bus: Bus) -> JoinHandle<()> {
    tokio::spawn(culvert_queue::attend_on(bus, SHORT, std::future::pending()))
}

/// Hosts with one MongoDB.
pub struct Hosts {
    pub stages: Vec<Stage<Mongo>>,
    _set: ReplicaSet,
}

impl Hosts {
    pub async fn of(count: usize) -> Self {
        let set = ReplicaSet::start(1).expect("a replica set");
        let mut stages = Vec::new();
        for _ in 0..count {
            let host = HostId::new();
            let store = Mongo::connect(&set.uri("culvert"), host).await.expect("the store opens");
            stages.push(Stage::over(store, host));
        }
        Self { stages, _set: set }
    }

    /// What the process of this role has on a host.
    pub fn bus(&self, host: usize, role: Role) -> Bus {
        self.stages[host].bus(role)
    }

    /// Where a queue on a host finds its bus.
    pub fn socket(&self, host: usize) -> PathBuf {
        self.stages[host].socket(Role::Queue)
    }

    /// A queue on a host, whose leases are short.
    pub fn queue(&self, host: usize) -> JoinHandle<()> {
        queue(&self.stages[host])
    }
}

/// The embedded store, and what is often asked of it.
pub struct Cluster {
    stage: Stage<Embedded>,
    api: OnceCell<Bus>,
    pub host: HostId,
}

impl Cluster {
    pub fn new() -> Self {
        let stage = Stage::embedded();
        Self { host: stage.host, stage, api: OnceCell::new() }
    }

    /// What the process of this role has on the first host.
    pub fn bus(&self, role: Role) -> Bus {
        self.stage.bus(role)
    }

    /// What the suites look and change with.
    pub fn api(&self) -> &Bus {
        self.api.get_or_init(|| self.bus(Role::Api))
    }

    /// What the process of this role has on any host.
    pub fn bus_of(&self, host: HostId, role: Role) -> Bus {
        self.stage.bus_of(host, role)
    }

    /// Where a queue on the first host finds its bus.
    pub fn socket(&self) -> PathBuf {
        self.stage.socket(Role::Queue)
    }

    /// A queue on the first host.
    pub fn queue(&self) -> JoinHandle<()> {
        tokio::spawn(culvert_queue::attend(self.bus(Role::Queue), std::future::pending()))
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

/// A user who is to be made.
pub fn new_user(name: String) -> NewUser {
    NewUser {
        id: Id::new(),
        name,
        email: None,
        groups: Vec::new(),
        disabled: false,
        pin: false,
        bypass_secondary: false,
        dns_servers: None,
        dns_suffix: None,
    }
}

/// A host that is online.
pub fn host(id: HostId) -> Host {
    samples::made(|host: &mut Host| host.id = id)
}

pub fn job(id: &str, work: Work, priority: Priority) -> Job {
    Job::new(id.into(), work, priority, 0)
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
