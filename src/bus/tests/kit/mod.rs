//! A bus in the test's own process: the real socket, server and store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use culvert_bus::server::Server;
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_model::{HostId, Kind, Role};
use culvert_wire::bus::Write;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A running bus, to which everybody has one role.
pub struct Running {
    pub socket: PathBuf,
    pub host: HostId,
    role: Option<Role>,
    folder: TempDir,
    store: Arc<Embedded>,
    stop: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Running {
    pub async fn start(role: impl Into<Option<Role>>) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (host, role) = (HostId::new(), role.into());
        let (store, stop, served) = serve(&folder, host, role);
        Self { socket: folder.path().join("bus.sock"), host, role, folder, store, stop, served }
    }

    /// Ends it as SIGTERM does, and starts it again with the same store.
    pub async fn restart(&mut self) {
        self.stop.send_replace(true);
        timeout(Duration::from_secs(5), &mut self.served).await.expect("it ends soon").expect("it ends well");
        std::fs::remove_file(&self.socket).expect("it was there");
        (self.store, self.stop, self.served) = serve(&self.folder, self.host, self.role);
    }

    /// Writes past the socket.
    pub async fn write(&self, writes: Vec<Write>) {
        let [a, b] = [culvert_model::Id::new(), culvert_model::Id::new()].map(culvert_model::Id::bytes);
        let id = a[4..].iter().chain(&b[4..]).fold(0, |number, byte| number << 8 | u128::from(*byte));
        self.store.write(id, writes).await.expect("it can be written");
    }

    pub async fn make(&self, kind: Kind, id: &str, body: serde_json::Value) {
        let body = serde_json::to_vec(&body).expect("a value has a form");
        self.write(vec![Write::Insert { kind, id: id.into(), body }]).await;
    }
}

fn serve(folder: &TempDir, host: HostId, role: Option<Role>) -> (Arc<Embedded>, watch::Sender<bool>, JoinHandle<()>) {
    let store = Arc::new(Embedded::open(&folder.path().join("store.sqlite"), host).expect("the store opens"));
    let listener = UnixListener::bind(folder.path().join("bus.sock")).expect("the socket can be made");
    let server = Server::new(store.clone(), None, host, Box::new(move |_| role));
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(async move { server.serve(&listener, stopped).await });
    (store, stop, served)
}
