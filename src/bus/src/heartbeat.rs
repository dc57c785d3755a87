//! This host's record, and its lease, by whose renewal the others see that the host is there.

use std::time::Duration;

use culvert_model::record::{Host, HostStatus};
use culvert_model::{FORMAT, Kind, Millis, Record};
use culvert_wire::bus::{Claim, Guard, Lease, Refusal, Row, Write};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::identity::Identity;
use crate::store::{Owner, Store, Trouble};

/// How long the lease lasts, and how often it is renewed.
const LEASE: Millis = 10_000;
const RENEWAL: Duration = Duration::from_secs(3);

/// How long to wait after the store did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// For so long may somebody else hold the lease before it is plain that it is renewed there: an earlier boot of this
/// host no longer renews it.
const PATIENCE: Duration = Duration::from_secs(25);

/// Another machine has this host's id.
#[derive(Debug, Error)]
#[error(
    "another running machine has this host's id {0}: one of the two is a copy of the other; stop Culvert on the copy, \
     remove the file host-id in its state folder, and start it again as a host of its own"
)]
pub struct Copied(String);

/// What this machine says of itself.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Who it is.
    pub identity: Identity,
    /// Its own name.
    pub hostname: String,
    /// Its processor cores.
    pub cores: u16,
    /// When the bus started, by the store's clock; known once the store answered.
    pub started: Option<Millis>,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here(identity: Identity) -> Self {
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(usize::from(u16::MAX)));
        Self { identity, hostname, cores: cores as u16, started: None }
    }

    fn owner(&self) -> Owner {
        Owner { host: self.identity.host, name: format!("host {}", self.identity.machine) }
    }

    fn id(&self) -> String {
        self.identity.host.to_string()
    }

    /// The record of a host that was not there before.
    fn new_record(&self) -> Host {
        let short = self.hostname.split('.').next().unwrap_or_default();
        let id = self.id();
        let generated = || format!("host-{}", &id[..6]);
        Host {
            id: self.identity.host,
            name: if short.is_empty() || short == "localhost" { generated() } else { short.into() },
            hostname: self.hostname.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            format: FORMAT,
            status: HostStatus::Online,
            started: self.started.unwrap_or_default(),
            cores: self.cores,
            public_address: None,
            public_address6: None,
            local_address: None,
            local_networks: Vec::new(),
            sync_address: None,
            availability_group: "default".into(),
            priority: 0,
        }
    }

    /// The record with what this machine says of itself; all else stays as others wrote it.
    fn renewed(&self, old: &[u8]) -> Vec<u8> {
        let new = object(&self.new_record());
        // A record that cannot be read is replaced.
        let mut body: Map<String, Value> = serde_json::from_slice(old).unwrap_or_default();
        for (field, value) in new {
            let ours = ["id", "hostname", "version", "format", "status", "started", "cores"].contains(&field.as_str());
            if ours || !body.contains_key(&field) {
                body.insert(field, value);
            }
        }
        bytes(&body)
    }

    /// Makes the record, if it is not there.
    async fn enter<S: Store>(&mut self, store: &S) -> Result<(), Trouble> {
        if self.started.is_none() {
            self.started = Some(store.now().await?);
        }
        let (kind, id) = (Host::KIND, self.id());
        let new = bytes(&object(&self.new_record()));
        match store.get(kind, &id).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => store.write(random(), vec![Write::Insert { kind, id, body: new }]).await.map(drop),
            // What an administrator set is lost with it; without this, the host would be.
            Err(Trouble::Damaged(_)) => store.repair(kind, &id, Some(new)).await,
            Err(trouble) => Err(trouble),
        }
    }

    /// Brings the record up to date, under the lease.
    async fn describe<S: Store>(&self, store: &S, claim: &Claim) -> Result<(), Trouble> {
        let (kind, id) = (Host::KIND, self.id());
        let Some(row) = store.get(kind, &id).await? else { return Ok(()) };
        let guard = Guard { revision: Some(row.revision), claim: Some(claim.clone()) };
        let body = self.renewed(&row.body);
        if body == row.body {
            return Ok(());
        }
        store.write(random(), vec![Write::Update { kind, id, guard, body }]).await.map(drop)
    }
}

/// Keeps the record and its lease. Ends only when another machine has the same id.
///
/// # Errors
///
/// [`Copied`].
pub async fn run<S: Store>(store: &S, mut machine: Machine) -> Result<(), Copied> {
    loop {
        if let Err(trouble) = machine.enter(store).await {
            tracing::debug!(?trouble, "this host's record cannot be made yet");
            sleep(PAUSE).await;
            continue;
        }
        if let Some(claim) = take(store, &machine, PATIENCE).await? {
            renew(store, &machine, &claim).await;
        }
    }
}

/// Takes the lease; nothing if the record is gone.
async fn take<S: Store>(store: &S, machine: &Machine, patience: Duration) -> Result<Option<Claim>, Copied> {
    let owner = machine.owner();
    let mut since: Option<Instant> = None;
    loop {
        match store.claim(Kind::Host, &machine.id(), None, owner.clone(), LEASE).await {
            Ok(row) => return Ok(row.lease.map(claim_of)),
            Err(Trouble::Refused { why: Refusal::NotHeld { lease: Some(lease) }, .. }) => {
                if lease.owner == owner.name && lease.host == owner.host {
                    // Of this bus before it restarted.
                    return Ok(Some(claim_of(lease)));
                }
                if since.get_or_insert_with(Instant::now).elapsed() > patience {
                    return Err(Copied(machine.id()));
                }
                sleep(Duration::from_millis(lease.left).clamp(PAUSE / 10, PAUSE)).await;
            }
            Err(Trouble::Refused { why: Refusal::Missing, .. }) => return Ok(None),
            Err(_) => {
                // What was away may have let a lease run on unseen.
                since = None;
                sleep(PAUSE).await;
            }
        }
    }
}

/// Renews the lease until it is lost or the record is gone, and brings the record up to date where it is not.
async fn renew<S: Store>(store: &S, machine: &Machine, claim: &Claim) {
    let host = machine.identity.host;
    let mut described = false;
    loop {
        match store.renew(Kind::Host, &machine.id(), host, claim.clone(), LEASE).await {
            Ok(row) if described && !offline(&row) => sleep(RENEWAL).await,
            Ok(_) => {
                described = machine.describe(store, claim).await.is_ok();
                if !described {
                    sleep(PAUSE).await;
                }
            }
            Err(Trouble::Refused { why, .. }) => {
                tracing::info!(?why, "this host's lease was lost, and is taken again");
                return;
            }
            Err(Trouble::Fault(_) | Trouble::Damaged(_)) => sleep(PAUSE).await,
        }
    }
}

fn claim_of(lease: Lease) -> Claim {
    Claim { owner: lease.owner, epoch: lease.epoch }
}

fn offline(row: &Row) -> bool {
    let body: Map<String, Value> = serde_json::from_slice(&row.body).unwrap_or_default();
    body.get("status") != Some(&Value::from("online"))
}

fn object(host: &Host) -> Map<String, Value> {
    let value = serde_json::to_value(host).expect("a host has a form in JSON");
    value.as_object().cloned().unwrap_or_default()
}

fn bytes(object: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(object).expect("an object has a form in JSON")
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use culvert_model::HostId;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::store::embedded::Embedded;

    fn machine(host: HostId, name: &str) -> Machine {
        let identity = Identity { host, machine: name.into() };
        Machine { identity, hostname: "gate.example.org".into(), cores: 2, started: None }
    }

    fn open(folder: &Path, host: HostId) -> Embedded {
        Embedded::open(&folder.join("store.sqlite"), host).expect("the store opens")
    }

    async fn record(store: &Embedded, host: HostId) -> Option<Row> {
        store.get(Kind::Host, &host.to_string()).await.expect("the store answers")
    }

    /// Runs the heartbeat until the host's record and lease are as they should be.
    async fn beat(store: &Embedded, machine: Machine, until: impl Fn(&Row) -> bool) -> Row {
        let host = machine.identity.host;
        let seen = async {
            loop {
                if let Some(row) = record(store, host).await.filter(&until) {
                    return row;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = run(store, machine) => panic!("the heartbeat ended: {ended:?}"),
            row = timeout(Duration::from_secs(20), seen) => row.expect("that comes soon"),
        }
    }

    #[tokio::test]
    async fn what_an_administrator_set_stays() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let host = HostId::new();
        let store = open(folder.path(), host);
        let row = beat(&store, machine(host, "a"), |row| row.lease.is_some()).await;
        let mut body: Map<String, Value> = serde_json::from_slice(&row.body).expect("an object");
        assert_eq!(body["name"], "gate");
        assert_eq!(body["status"], "online");
        body.extend([("name".into(), json!("mine")), ("status".into(), json!("offline")), ("more".into(), json!(1))]);
        body.insert("hostname".into(), json!("old"));
        let guard = Guard::default();
        let write = Write::Update { kind: Kind::Host, id: host.to_string(), guard, body: bytes(&body) };
        store.write(random(), vec![write]).await.expect("it is there");

        let row = beat(&store, machine(host, "a"), |row| !offline(row)).await;
        let body: Map<String, Value> = serde_json::from_slice(&row.body).expect("an object");
        assert_eq!(
            (&body["name"], &body["more"], &body["hostname"]),
            (&json!("mine"), &json!(1), &json!("gate.example.org"))
        );
        assert_eq!(row.lease.map(|lease| lease.epoch), Some(1), "a restart goes on with the same lease");
    }

    #[tokio::test]
    async fn a_record_that_was_removed_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let host = HostId::new();
        let store = open(folder.path(), host);
        beat(&store, machine(host, "a"), |row| row.lease.is_some()).await;
        let gone = Write::Delete { kind: Kind::Host, id: host.to_string(), guard: Guard::default() };
        store.write(random(), vec![gone]).await.expect("it is there");
        beat(&store, machine(host, "a"), |row| row.lease.is_some()).await;
    }

    #[tokio::test]
    async fn a_copied_machine_is_refused() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let host = HostId::new();
        let store = open(folder.path(), host);
        let first = machine(host, "a");
        let mut registered = first.clone();
        registered.enter(&store).await.expect("the store answers");
        let owner = first.owner();
        store.claim(Kind::Host, &host.to_string(), None, owner, 3_600_000).await.expect("it is free");
        assert!(take(&store, &machine(host, "b"), PAUSE / 2).await.is_err(), "the other one holds it for good");
        let claim = take(&store, &first, PAUSE).await.expect("it is the same machine");
        assert_eq!(claim.map(|claim| claim.epoch), Some(1));
    }
}
