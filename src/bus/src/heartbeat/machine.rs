//! What a machine says of itself in its host's record.

use culvert_model::record::{Cluster, ClusterState, Host, HostStatus};
use culvert_model::{FORMAT, HostId, Kind, Millis, Record};
use culvert_wire::bus::{Claim, Fault, Guard, Row, Write};
use serde_json::{Map, Value};

use crate::cluster;
use crate::store::{Answer, Store, Trouble, write_id};

/// What this machine says of itself.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its host.
    pub host: HostId,
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
    pub fn here(host: HostId) -> Self {
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(usize::from(u16::MAX)));
        Self { host, hostname, cores: cores as u16, started: None }
    }

    pub(super) fn id(&self) -> String {
        self.host.to_string()
    }

    /// The record of a host that was not there before.
    fn new_record(&self) -> Host {
        let short = self.hostname.split('.').next().unwrap_or_default();
        let id = self.id();
        let generated = || format!("host-{}", &id[..6]);
        Host {
            id: self.host,
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
    pub(super) async fn enter<S: Store>(&mut self, store: &S) -> Answer<()> {
        if self.started.is_none() {
            self.started = Some(store.now().await?);
        }
        let (kind, id) = (Host::KIND, self.id());
        let new = bytes(&object(&self.new_record()));
        match store.get(kind, &id).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let mut writes = vec![Write::Insert { kind, id, body: new }];
                writes.extend(still_ready(store).await?);
                store.write(write_id(), writes).await.map(drop)
            }
            // What an administrator set is lost with it; without this, the host would be.
            Err(Trouble::Damaged(_)) => store.repair(kind, &id, Some(new)).await,
            Err(trouble) => Err(trouble),
        }
    }

    /// Brings the record up to date, under the lease.
    pub(super) async fn describe<S: Store>(&self, store: &S, claim: &Claim) -> Answer<()> {
        let Some(row) = store.get(Host::KIND, &self.id()).await? else { return Ok(()) };
        replace(store, &row, claim, self.renewed(&row.body)).await
    }
}

/// On what condition a host may enter: that the database's records are not being moved. Whoever takes them along looks for
/// other hosts first, so none may come in between.
async fn still_ready<S: Store>(store: &S) -> Answer<Option<Write>> {
    let away = Trouble::Fault(Fault::Unavailable);
    let Some(known) = cluster::read(store).await.map_err(|_| away.clone())? else { return Ok(None) };
    if known.cluster.state != ClusterState::Ready {
        return Err(away);
    }
    let guard = Guard { revision: Some(known.revision), claim: None };
    Ok(Some(Write::Check { kind: Kind::Cluster, id: Cluster::ID.into(), guard }))
}

/// Says in the record that the host is gone, under the lease.
pub(super) async fn say_offline<S: Store>(store: &S, row: &Row, claim: &Claim) -> Answer<()> {
    let mut body: Map<String, Value> = serde_json::from_slice(&row.body).unwrap_or_default();
    body.insert("status".into(), serde_json::to_value(HostStatus::Offline).expect("a status has a form in JSON"));
    replace(store, row, claim, bytes(&body)).await
}

async fn replace<S: Store>(store: &S, row: &Row, claim: &Claim, body: Vec<u8>) -> Answer<()> {
    if body == row.body {
        return Ok(());
    }
    let guard = Guard { revision: Some(row.revision), claim: Some(claim.clone()) };
    let write = Write::Update { kind: Host::KIND, id: row.id.clone(), guard, body };
    store.write(write_id(), vec![write]).await.map(drop)
}

/// Whether the record says that the host is not there.
pub(super) fn offline(row: &Row) -> bool {
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
