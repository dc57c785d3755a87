//! The database is away: what is remembered is still given, and says so; all else waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use culvert_bus::server::Server;
use culvert_bus::store::embedded::Embedded;
use culvert_bus::store::{Answer, Awaited, Cache, Found, Owner, Store, Tail, Trouble};
use culvert_model::record::{Host, HostStatus, Organization, Session, UserSecret};
use culvert_model::{HostId, Id, Kind, Millis, Role};
use culvert_records::{Bus, Failure, Query, delete};
use culvert_wire::bus::{Claim, Fault, Find, Row, Write};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep};

const SOON: Duration = Duration::from_secs(10);

/// A store that can be cut off.
#[derive(Clone)]
struct Distant {
    near: Arc<Embedded>,
    away: Arc<AtomicBool>,
}

impl Distant {
    fn there(&self) -> Result<&Embedded, Trouble> {
        if self.away.load(Ordering::Relaxed) { Err(Trouble::Fault(Fault::Unavailable)) } else { Ok(&self.near) }
    }
}

impl Store for Distant {
    const READS: usize = Embedded::READS;
    const PAGES: usize = Embedded::PAGES;
    const WRITES: usize = Embedded::WRITES;

    async fn get(&self, kind: Kind, id: &str) -> Answer<Option<Row>> {
        self.there()?.get(kind, id).await
    }
    async fn find(&self, find: Find) -> Answer<Found> {
        self.there()?.find(find).await
    }
    async fn count(&self, find: Find) -> Answer<u64> {
        self.there()?.count(find).await
    }
    async fn write(&self, id: u128, writes: Vec<Write>) -> Answer<Vec<u64>> {
        self.there()?.write(id, writes).await
    }
    async fn claim(&self, kind: Kind, id: &str, revision: Option<u64>, owner: Owner, lease: Millis) -> Answer<Row> {
        self.there()?.claim(kind, id, revision, owner, lease).await
    }
    async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: Claim, lease: Millis) -> Answer<Row> {
        self.there()?.renew(kind, id, host, claim, lease).await
    }
    async fn pass(&self, kind: Kind, id: &str, host: HostId, claim: Claim, word: String, lease: Millis) -> Answer<Row> {
        self.there()?.pass(kind, id, host, claim, word, lease).await
    }

    async fn release(&self, kind: Kind, id: &str, host: HostId, claim: Claim) -> Answer<()> {
        self.there()?.release(kind, id, host, claim).await
    }
    async fn sweep(&self, kind: Kind, index: &str, before: i64) -> Answer<u64> {
        self.there()?.sweep(kind, index, before).await
    }
    async fn repair(&self, kind: Kind, id: &str, body: Option<Vec<u8>>) -> Answer<()> {
        self.there()?.repair(kind, id, body).await
    }
    async fn now(&self) -> Answer<Millis> {
        self.there()?.now().await
    }
    fn tail(&self) -> broadcast::Receiver<Tail> {
        self.near.tail()
    }
}

/// A bus that waits for a store, and the store, which has not arrived.
struct Scene {
    _folder: TempDir,
    bus: Bus,
    distant: Distant,
    awaited: Arc<Awaited<Distant>>,
    _stop: watch::Sender<bool>,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let host = HostId::new();
        let near = Embedded::open(&folder.path().join("store.sqlite"), host).expect("the store opens");
        let distant = Distant { near: Arc::new(near), away: Arc::default() };
        let (awaited, cache) = (Arc::new(Awaited::default()), Arc::new(Cache::default()));
        let socket = folder.path().join("bus.sock");
        let listener = UnixListener::bind(&socket).expect("the socket can be made");
        let server = Server::new(awaited.clone(), Some(cache.clone()), host, Box::new(|_| Some(Role::Api)));
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move { server.serve(&listener, stopped).await });
        let store: Arc<Awaited<Distant>> = awaited.clone();
        tokio::spawn(async move { cache.follow(&*store).await });
        Self { bus: Bus::new(socket), distant, awaited, _stop: stop, _folder: folder }
    }

    fn arrive(&self) {
        let (awaited, distant) = (self.awaited.clone(), self.distant.clone());
        tokio::spawn(async move { awaited.arrive(Arc::new(distant)).await });
    }

    fn away(&self, away: bool) {
        self.distant.away.store(away, Ordering::Relaxed);
    }

    /// The names of the hosts, from the store or remembered.
    async fn hosts(&self) -> Option<(Vec<String>, bool)> {
        let page = self.bus.find::<Host>(Query::by("by_name")).await.ok()?;
        Some((page.items.into_iter().map(|item| item.record.name).collect(), page.cached))
    }

    /// Waits until this is what is told while the store is away.
    async fn remembered(&self, names: &[&str]) {
        let end = Instant::now() + SOON;
        loop {
            self.away(true);
            let hosts = self.hosts().await;
            if hosts.as_ref().is_some_and(|(told, cached)| told == names && *cached) {
                return;
            }
            assert!(Instant::now() < end, "{hosts:?} should be {names:?}");
            self.away(false);
            sleep(Duration::from_millis(100)).await;
        }
    }
}

fn host(name: &str) -> Host {
    Host {
        id: HostId::new(),
        name: name.into(),
        hostname: name.into(),
        version: "1".into(),
        format: 1,
        status: HostStatus::Online,
        started: 1,
        cores: 1,
        public_address: None,
        public_address6: None,
        local_address: None,
        local_networks: vec![],
        sync_address: None,
        availability_group: "default".into(),
        priority: 0,
    }
}

#[tokio::test]
async fn until_the_store_arrives() {
    let scene = Scene::new();
    assert!(matches!(scene.bus.get::<Session>("x").await, Err(Failure::Unavailable)));
    assert!(matches!(scene.bus.insert(&host("a")).await, Err(Failure::Unavailable)));
    let mut news = scene.bus.subscribe(&[Kind::Host]).await;
    assert_eq!(news.next().await, culvert_records::News::Gap);
    scene.arrive();
    assert_eq!(news.next().await, culvert_records::News::Gap, "who listened before has missed what was before");
    scene.bus.insert(&host("a")).await.expect("it is there");
    assert!(matches!(news.next().await, culvert_records::News::Changed(_)));
}

#[tokio::test]
async fn whole_kinds_are_remembered() {
    let scene = Scene::new();
    scene.arrive();
    let [a, b] = [host("a"), host("b")];
    scene.bus.insert(&b).await.expect("it is new");
    scene.bus.insert(&a).await.expect("it is new");
    scene.remembered(&["a", "b"]).await;
    let one = scene.bus.get::<Host>(a.id).await.expect("it is remembered").expect("it is there");
    assert_eq!(one.record, a);
    assert!(scene.bus.get::<Host>(HostId::new()).await.expect("it is known").is_none());
    let page = scene.bus.find::<Host>(Query::by("by_name").limit(1)).await.expect("it is remembered");
    let rest = scene.bus.find::<Host>(Query::by("by_name").after(page.next)).await.expect("it is remembered");
    assert_eq!(rest.items.iter().map(|item| item.record.name.as_str()).collect::<Vec<_>>(), ["b"]);
    let last = scene.bus.find::<Host>(Query::by("by_name").descending().limit(1)).await.expect("it is remembered");
    assert_eq!(last.items[0].record.name, "b");
    let equal = scene.bus.find::<Host>(Query::by("by_name").equal("b")).await.expect("it is remembered");
    assert_eq!((equal.items.len(), equal.cached), (1, true));
    assert!(matches!(scene.bus.insert(&host("c")).await, Err(Failure::Unavailable)), "nothing is written");
    assert!(scene.bus.list::<Organization>(Query::all()).await.is_ok_and(|all| all.is_empty()));

    scene.away(false);
    scene.bus.write(vec![delete::<Host>(a.id, culvert_records::Guard::default())]).await.expect("it is there");
    let mut renamed = scene.bus.get::<Host>(b.id).await.expect("it is there").expect("it is there");
    renamed.record.name = "z".into();
    scene.bus.update(&mut renamed).await.expect("nobody else wrote it");
    scene.remembered(&["z"]).await;
}

#[tokio::test]
async fn sessions_that_were_read_are_remembered_and_secrets_never() {
    let scene = Scene::new();
    scene.arrive();
    let session = |id: &str| Session { id: id.into(), admin: Id::new(), created: 1, expires: 2 };
    let secret = UserSecret { id: Id::new(), pin: None, otp_secret: None, sync_token: None, sync_secret: None };
    for id in ["read", "unread", "ended"] {
        scene.bus.insert(&session(id)).await.expect("it is new");
    }
    scene.bus.insert(&secret).await.expect("it is new");
    for id in ["read", "ended"] {
        assert!(scene.bus.get::<Session>(id).await.expect("it is there").is_some());
    }
    assert!(scene.bus.get::<UserSecret>(secret.id).await.expect("it is there").is_some());
    scene.bus.delete::<Session>("ended").await.expect("it is there");
    scene.away(true);
    assert!(scene.bus.get::<Session>("read").await.expect("it is remembered").is_some());
    for id in ["unread", "ended", "none"] {
        assert!(matches!(scene.bus.get::<Session>(id).await, Err(Failure::Unavailable)), "{id}");
    }
    assert!(matches!(scene.bus.get::<UserSecret>(secret.id).await, Err(Failure::Unavailable)));
    assert!(matches!(scene.bus.list::<Session>(Query::all()).await, Err(Failure::Unavailable)));
}
