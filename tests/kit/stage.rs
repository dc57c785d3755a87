//! A store, and a bus for every host and role that a suite in one process needs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use culvert_bus::server::Server;
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_model::{HostId, Id, Role};
use culvert_records::Bus;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// A store with its buses, which end with it.
pub struct Stage<S> {
    folder: TempDir,
    pub store: Arc<S>,
    stop: watch::Sender<bool>,
    /// The first host.
    pub host: HostId,
}

impl Stage<Embedded> {
    /// With an embedded store.
    pub fn embedded() -> Self {
        Self::with(HostId::new(), |folder, host| {
            Embedded::open(&folder.join("store.sqlite"), host).expect("a new store")
        })
    }
}

impl<S: Store> Stage<S> {
    /// With this store, as it is seen from this host.
    pub fn over(store: S, host: HostId) -> Self {
        Self::with(host, |_, _| store)
    }

    fn with(host: HostId, store: impl FnOnce(&Path, HostId) -> S) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Arc::new(store(folder.path(), host));
        Self { folder, store, stop: watch::Sender::new(false), host }
    }

    /// What the process of this role has on the first host.
    pub fn bus(&self, role: Role) -> Bus {
        self.bus_of(self.host, role)
    }

    /// What the process of this role has on any host.
    pub fn bus_of(&self, host: HostId, role: Role) -> Bus {
        Bus::new(self.socket_of(host, role))
    }

    /// What the process of this role has on any host, over another store.
    pub fn bus_over<T: Store>(&self, store: Arc<T>, host: HostId, role: Role) -> Bus {
        Bus::new(serve(self.folder.path(), store, host, role, self.stop.subscribe()))
    }

    /// Where the process of this role finds its bus on the first host.
    pub fn socket(&self, role: Role) -> PathBuf {
        self.socket_of(self.host, role)
    }

    /// Where it does on any host.
    pub fn socket_of(&self, host: HostId, role: Role) -> PathBuf {
        serve(self.folder.path(), self.store.clone(), host, role, self.stop.subscribe())
    }
}

/// A bus of its own for one role, as seen from one host, at this socket.
pub fn serve<S: Store>(folder: &Path, store: Arc<S>, host: HostId, role: Role, stop: watch::Receiver<bool>) -> PathBuf {
    let socket = folder.join(format!("{}.sock", Id::new()));
    let listener = UnixListener::bind(&socket).expect("a new name");
    let server = Server::new(store, None, host, Box::new(move |_| Some(role)));
    tokio::spawn(async move { server.serve(&listener, stop).await });
    socket
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
