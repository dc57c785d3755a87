//! The records of who is connected, brought up to what is true in batches; and the log of who came and went.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use culvert_model::record::{Connection, Log, User};
use culvert_model::{HostId, Id};
use culvert_records::{Bus, Failure, Guard, Query, Refusal, Write, delete, insert};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::client::Client;
use super::run::seconds;
use crate::directory::Shared;

/// The most writes in one batch.
const BATCH: usize = 50;

/// What happens within this time is written together.
const TOGETHER: Duration = Duration::from_millis(20);

/// Between two tries with a store that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// The records are compared with the clients after this time, whatever anybody believes.
const REPEAT: Duration = Duration::from_secs(300);

/// Notes that wait for a store that is away; the oldest go first.
const NOTES: usize = 1000;

/// A user's last activity is written at most so often, in seconds.
const ACTIVITY: i64 = 60;

/// What tells two connections apart.
type Key = (u64, Id, Ipv4Addr);

/// The records of the connections of one instance.
#[derive(Debug)]
pub struct Ledger {
    bus: Bus,
    directory: Arc<Shared>,
    host: HostId,
    server: Id,
    wish: Mutex<Wish>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Wish {
    /// Nothing is deleted before it is known who is connected.
    open: bool,
    connections: BTreeMap<Key, Connection>,
    log: VecDeque<Log>,
    active: VecDeque<Id>,
}

impl Ledger {
    /// The ledger of an instance, closed.
    pub fn new(bus: Bus, directory: Arc<Shared>, host: HostId, server: Id) -> Self {
        Self { bus, directory, host, server, wish: Mutex::default(), changed: Notify::new() }
    }

    /// From now on the records follow the clients.
    pub fn open(&self) {
        self.wish().open = true;
        self.changed.notify_one();
    }

    /// These are the clients, all of them.
    pub fn set<'a>(&self, clients: impl Iterator<Item = &'a Client>) {
        let mut wish = self.wish();
        let mut old = std::mem::take(&mut wish.connections);
        for client in clients {
            let (Some(user), Some(organization), Some(address)) = (client.user, client.organization, client.address)
            else {
                continue;
            };
            let key = (client.number, user, address);
            let connection = old.remove(&key).unwrap_or_else(|| self.connection(client, user, organization, address));
            wish.connections.insert(key, connection);
        }
        for gone in old.into_values() {
            self.note(&mut wish, gone.user, "disconnected from", "");
        }
        drop(wish);
        self.changed.notify_one();
    }

    /// A client's tunnel works now.
    pub fn joined(&self, client: &Client) {
        let Some(user) = client.user else { return };
        let mut wish = self.wish();
        self.note(&mut wish, user, "connected to", &format!(" from {}", client.real_address));
        if wish.active.len() < NOTES && !wish.active.contains(&user) {
            wish.active.push_back(user);
        }
    }

    fn note(&self, wish: &mut Wish, user: Id, verb: &str, rest: &str) {
        let directory = self.directory.read();
        let user = directory.user(user).map_or_else(|| user.to_string(), |user| user.name.clone());
        let server = directory.servers.get(&self.server);
        let server = server.map_or_else(|| self.server.to_string(), |server| server.name.clone());
        let message = format!("User \"{user}\" {verb} server \"{server}\"{rest}");
        if wish.log.len() == NOTES {
            wish.log.pop_front();
        }
        wish.log.push_back(Log { id: Id::new(), timestamp: seconds(), message });
    }

    fn connection(&self, client: &Client, user: Id, organization: Id, address: Ipv4Addr) -> Connection {
        Connection {
            id: Id::new(),
            server: self.server,
            host: self.host,
            user,
            organization,
            client: client.number,
            real_address: client.real_address.clone(),
            virtual_address: address,
            platform: client.platform.clone(),
            device_name: client.device_name.clone(),
            since: client.since.unwrap_or_else(seconds),
            serial: client.serial.clone(),
        }
    }

    /// Brings the records up to what is true, for as long as it is polled.
    pub async fn run(&self) {
        let mut recorded = None;
        loop {
            if timeout(REPEAT, self.changed.notified()).await.is_err() {
                recorded = None;
            }
            sleep(TOGETHER).await;
            while self.pending(recorded.as_ref()) {
                if let Err(failure) = self.step(&mut recorded).await {
                    tracing::warn!(server = %self.server, %failure, "who is connected cannot be recorded yet");
                    recorded = None;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn pending(&self, recorded: Option<&BTreeMap<Key, Id>>) -> bool {
        let wish = self.wish();
        let same = recorded.is_some_and(|recorded| recorded.keys().eq(wish.connections.keys()));
        wish.open && (!same || !wish.log.is_empty() || !wish.active.is_empty())
    }

    /// One batch of connections, one of the log, one user's activity.
    async fn step(&self, recorded: &mut Option<BTreeMap<Key, Id>>) -> Result<(), Failure> {
        let known = match recorded {
            Some(known) => known,
            None => recorded.insert(self.load().await?),
        };
        let (writes, after) = self.difference(known);
        if !writes.is_empty() {
            match self.bus.write(writes).await {
                Ok(_) => *known = after,
                // Somebody else has removed or written one: look again.
                Err(failure) if failure.refusal().is_some() => *recorded = None,
                Err(failure) => return Err(failure),
            }
        }
        self.write_log().await?;
        self.write_activity().await
    }

    /// The clients that were recorded, for the serial numbers of their certificates.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn recorded(&self) -> Result<Vec<Connection>, Failure> {
        let all = self.bus.list::<Connection>(Query::by("by_host").equal(self.host)).await?;
        Ok(all.into_iter().map(|stored| stored.record).filter(|record| record.server == self.server).collect())
    }

    async fn load(&self) -> Result<BTreeMap<Key, Id>, Failure> {
        let mut known = BTreeMap::new();
        let mut double = Vec::new();
        for Connection { id, client, user, virtual_address, .. } in self.recorded().await? {
            if known.insert((client, user, virtual_address), id).is_some() {
                double.push(id);
            }
        }
        for id in double {
            self.bus.delete::<Connection>(id).await?;
            known.retain(|_, known| *known != id);
        }
        Ok(known)
    }

    fn difference(&self, known: &BTreeMap<Key, Id>) -> (Vec<Write>, BTreeMap<Key, Id>) {
        let wish = self.wish();
        let mut after = known.clone();
        let mut writes = Vec::new();
        for (key, id) in known.iter().filter(|(key, _)| !wish.connections.contains_key(key)).take(BATCH) {
            writes.push(delete::<Connection>(id, Guard::default()));
            after.remove(key);
        }
        for (key, connection) in wish.connections.iter().filter(|(key, _)| !known.contains_key(key)).take(BATCH) {
            writes.push(insert(connection));
            after.insert(*key, connection.id);
        }
        (writes, after)
    }

    async fn write_log(&self) -> Result<(), Failure> {
        let notes: Vec<Log> = self.wish().log.iter().take(BATCH).cloned().collect();
        if notes.is_empty() {
            return Ok(());
        }
        match self.bus.write(notes.iter().map(insert).collect()).await {
            Err(failure) if failure.refusal().is_none() => return Err(failure),
            _ => {}
        }
        self.wish().log.retain(|note| !notes.iter().any(|written| written.id == note.id));
        Ok(())
    }

    async fn write_activity(&self) -> Result<(), Failure> {
        let Some(user) = self.wish().active.pop_front() else { return Ok(()) };
        let Some(mut stored) = self.bus.get::<User>(user).await? else { return Ok(()) };
        if stored.record.last_active.is_some_and(|last| seconds() - last < ACTIVITY) {
            return Ok(());
        }
        stored.record.last_active = Some(seconds());
        match self.bus.update(&mut stored).await {
            // Somebody wrote the user at the same time: the next connection will tell.
            Err(Failure::Refused { why: Refusal::Stale { .. } | Refusal::Missing, .. }) => Ok(()),
            done => done,
        }
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
