//! The bus's socket: peers are told apart by their users, and each gets what its role may.

mod answer;
mod outbox;
mod peer;
mod subscription;

use std::sync::Arc;
use std::time::Duration;

use culvert_model::{HostId, Role};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::store::{Cache, Store};

/// The most peers at a time. Each process of ours has one connection, or a few.
const PEERS: usize = 64;

/// How long open requests may take when the bus ends.
const DRAIN: Duration = Duration::from_millis(1500);

/// Which role a user id is.
pub type Roles = Box<dyn Fn(u32) -> Option<Role> + Send + Sync>;

/// What the peers are served from.
pub struct Server<S> {
    store: Arc<S>,
    cache: Option<Arc<Cache>>,
    host: HostId,
    roles: Roles,
}

impl<S: Store> Server<S> {
    /// A server of this store on this host. With a cache, what it remembers is given while the store is away.
    pub fn new(store: Arc<S>, cache: Option<Arc<Cache>>, host: HostId, roles: Roles) -> Self {
        Self { store, cache, host, roles }
    }

    /// Serves until it is told to stop, and then what is open.
    pub async fn serve(self, listener: &UnixListener, stop: watch::Receiver<bool>) {
        let server = Arc::new(self);
        let mut peers = JoinSet::new();
        let mut stopped = stop.clone();
        loop {
            tokio::select! {
                () = told(&mut stopped) => break,
                Some(_) = peers.join_next(), if !peers.is_empty() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some(role) = server.admit(&stream, peers.len()) {
                            peers.spawn(peer::attend(server.clone(), stream, role, stop.clone()));
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

    fn admit(&self, stream: &UnixStream, peers: usize) -> Option<Role> {
        let uid = match stream.peer_cred() {
            Ok(credentials) => credentials.uid(),
            Err(error) => {
                tracing::warn!("a peer was cut, because the kernel does not tell who it is: {error}");
                return None;
            }
        };
        let role = (self.roles)(uid).filter(|role| !matches!(role, Role::Proxy | Role::Bus));
        match role {
            None => tracing::warn!(uid, "a peer was cut, because its user has no business with the bus"),
            Some(role) if peers >= PEERS => {
                tracing::warn!(%role, "a peer was cut, because there are {PEERS} already");
                return None;
            }
            Some(_) => {}
        }
        role
    }
}

/// Until the bus is to end.
async fn told(stop: &mut watch::Receiver<bool>) {
    // Nobody left to tell it means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}
