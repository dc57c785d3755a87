//! A store, and a bus for every host and role that a suite in one process needs.

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
        let host = HostId::new();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Embedded::open(&folder.path().join("store.sqlite"), host).expect("a new store");
        Self { folder, store: Arc::new(store), stop: watch::Sender::new(false), host }
    }
}

impl<S: Store> Stage<S> {
    /// What the process of this role has on the first host.
    pub fn bus(&self, role: Role) -> Bus {
        self.bus_of(self.host, role)
    }

    /// What the process of this role has on any host.
    pub fn bus_of(&self, host: HostId, role: Role) -> Bus {
        self.bus_over(self.store.clone(), host, role)
    }

    /// What the process of this role has on any host, over another store.
    pub fn bus_over<T: Store>(&self, store: Arc<T>, host: HostId, role: Role) -> Bus {
        serve(&self.folder, store, host, role, self.stop.subscribe())
    }
}

/// A bus of its own for one role, as seen from one host.
pub fn serve<S: Store>(folder: &TempDir, store: Arc<S>, host: HostId, role: Role, stop: watch::Receiver<bool>) -> Bus {
    let socket = folder.path().join(format!("{}.sock", Id::new()));
    let listener = UnixListener::bind(&socket).expect("a new name");
    let server = Server::new(store, None, host, Box::new(move |_| Some(role)));
    tokio::spawn(async move { server.serve(&listener, stop).await });
    Bus::new(socket)
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
