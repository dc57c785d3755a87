//! The bus's socket: peers are told apart by their users, and each gets what its role may.

mod answer;
mod incoming;
mod outbox;
mod peer;
mod subscription;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use culvert_model::{HostId, Role};
use culvert_wire::bus::Keeper;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::heartbeat::Standing;
use crate::store::{Answer, Cache, Store};
use crate::transfer::told::Told;

/// The most peers of a role at a time. Each process of ours has one connection, or a few.
const PEERS: usize = 16;

/// How often the log says that somebody was cut who has no business here: anybody can try.
const SAY: Duration = Duration::from_secs(1);

/// How long open requests may take when the bus ends.
const DRAIN: Duration = Duration::from_millis(1500);

/// Which role a user id is.
pub type Roles = Box<dyn Fn(u32) -> Option<Role> + Send + Sync>;

/// A wish to be another host from now on, and who waits to hear what came of it.
pub type Adoption = (HostId, oneshot::Sender<Answer<()>>);

/// What the peers are served from.
pub struct Server<S> {
    store: Arc<S>,
    cache: Option<Arc<Cache>>,
    host: HostId,
    roles: Roles,
    told: Told,
    restart: Arc<Notify>,
    /// Pages that are read at a time, whoever asks: they take long, and what is short goes past them.
    pages: Semaphore,
    /// Whether this machine is the host that it says it is.
    standing: Option<watch::Receiver<Standing>>,
    /// Who makes this machine another host.
    adoptions: Option<mpsc::Sender<Adoption>>,
}

impl<S: Store> Server<S> {
    /// A server of this store on this host. With a cache, what it remembers is given while the store is away.
    pub fn new(store: Arc<S>, cache: Option<Arc<Cache>>, host: HostId, roles: Roles) -> Self {
        let keeper = if cache.is_some() { Keeper::Mongo } else { Keeper::Embedded };
        let (told, restart, pages) = (Told::of(keeper), Arc::default(), Semaphore::new(S::PAGES));
        Self { store, cache, host, roles, told, restart, pages, standing: None, adoptions: None }
    }

    /// Tells this of moves.
    #[must_use]
    pub fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// Where it is told that the bus is to be started again.
    #[must_use]
    pub fn restart(&self) -> Arc<Notify> {
        self.restart.clone()
    }

    /// Serves only while this machine is the host that it says it is: until it is, and when it is not, the store cannot be
    /// reached.
    #[must_use]
    pub fn while_held(self, standing: watch::Receiver<Standing>) -> Self {
        Self { standing: Some(standing), ..self }
    }

    /// Hands on wishes to be another host.
    #[must_use]
    pub fn with_adoptions(self, adoptions: mpsc::Sender<Adoption>) -> Self {
        Self { adoptions: Some(adoptions), ..self }
    }

    fn serves(&self) -> bool {
        self.standing.as_ref().is_none_or(|standing| *standing.borrow() == Standing::Held)
    }

    /// Serves until it is told to stop, and then what is open.
    pub async fn serve(self, listener: &UnixListener, stop: watch::Receiver<bool>) {
        let server = Arc::new(self);
        let mut peers = JoinSet::new();
        let mut open: BTreeMap<Role, usize> = BTreeMap::new();
        let mut door = Door::default();
        let mut stopped = stop.clone();
        loop {
            tokio::select! {
                () = told(&mut stopped) => break,
                Some(gone) = peers.join_next(), if !peers.is_empty() => {
                    if let Some(count) = gone.ok().and_then(|role| open.get_mut(&role)) {
                        *count -= 1;
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some(role) = door.admit(&stream, &server.roles, &open) {
                            *open.entry(role).or_default() += 1;
                            let attended = peer::attend(server.clone(), stream, role, stop.clone());
                            peers.spawn(async move {
                                attended.await;
                                role
                            });
                        }
                    }
                    Err(error) => {
                        tracing::warn!("a connection could not be accepted: {error}");
                        // Out of descriptors or memory: the next attempt would fail as well.
                        sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        let drained = timeout(DRAIN, async { while peers.join_next().await.is_some() {} });
        if drained.await.is_err() {
            tracing::warn!("some requests were not finished in time");
        }
    }
}

/// Who comes in.
#[derive(Default)]
struct Door {
    /// When the log last said that somebody was cut.
    said: Option<Instant>,
}

impl Door {
    fn admit(&mut self, stream: &UnixStream, roles: &Roles, open: &BTreeMap<Role, usize>) -> Option<Role> {
        let uid = stream.peer_cred().map(|credentials| credentials.uid()).ok();
        let role = uid.and_then(roles).filter(|role| !matches!(role, Role::Proxy | Role::Bus));
        let full = role.is_some_and(|role| open.get(&role).is_some_and(|count| *count >= PEERS));
        if role.is_some() && !full {
            return role;
        }
        if self.said.is_none_or(|said| said.elapsed() > SAY) {
            self.said = Some(Instant::now());
            match role {
                Some(role) => tracing::warn!(%role, "a peer was cut, because its role has {PEERS} connections already"),
                None => tracing::warn!(uid, "a peer was cut, because its user has no business with the bus"),
            }
        }
        None
    }
}

/// Until the bus is to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Nobody left to tell it means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
