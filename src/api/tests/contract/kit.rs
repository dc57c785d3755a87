//! An api on a real bus with the embedded store and a real queue, all in this process, asked over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use culvert_api::api::Api;
use culvert_api::{event, first, process};
use culvert_bus::heartbeat::{Heart, Words};
use culvert_bus::identity::Identity;
use culvert_bus::server::Server;
use culvert_bus::store::Store;
use culvert_bus::store::embedded::Embedded;
use culvert_model::record::Job;
use culvert_model::{HostId, Id, Kind, Record, Role};
use culvert_records::{BATCH, Bus, Query, Write, insert};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Everything that runs.
pub struct World {
    /// The api itself.
    pub api: Api,
    /// The bus as `vpn` sees it.
    pub vpn: Bus,
    address: SocketAddr,
    store: Arc<Embedded>,
    folder: TempDir,
    host: HostId,
    stop: watch::Sender<bool>,
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answered {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of an answer with 200.
    pub fn good(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self.json()
    }

    /// The error's id, of an answer with this status.
    pub fn bad(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let body = self.json();
        assert!(body["error_msg"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        body["error"].as_str().expect("an id").to_owned()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A console that is logged in, or nobody.
#[derive(Debug, Clone, Default)]
pub struct Console {
    pub cookie: String,
    pub csrf: String,
}

impl World {
    /// Starts everything but a queue.
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity::keep(folder.path()).expect("an identity");
        let store = Arc::new(Embedded::open(&folder.path().join("store.sqlite"), identity.host).expect("a store"));
        let (stop, _) = watch::channel(false);
        let host = identity.host;
        let beating = store.clone();
        let words = Words::keep(folder.path()).expect("the lease's words").alone();
        let mut heart = Heart::new(identity, words);
        tokio::spawn(async move { heart.run(&*beating).await.map_err(|copied| copied.to_string()) });
        let bus = Self::bus(&store, folder.path(), Role::Api, host, &stop);
        let vpn = Self::bus(&store, folder.path(), Role::Vpn, host, &stop);
        let api = Api::new(bus);
        tokio::spawn(event::follow(api.clone()));
        tokio::spawn(first::keep(api.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(process::serve_requests(api.clone(), listener));
        let world = Self { api, vpn, address, store, folder, host, stop };
        let there = world.api.first.subscribe().wait_for(|there| *there).await.is_ok();
        assert!(there, "there is an administrator");
        world
    }

    fn bus(store: &Arc<Embedded>, folder: &Path, role: Role, host: HostId, stop: &watch::Sender<bool>) -> Bus {
        let path = folder.join(format!("{role}.sock"));
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = Server::new(store.clone(), None, host, Box::new(move |_| Some(role)));
        let stopped = stop.subscribe();
        tokio::spawn(async move { server.serve(&listener, stopped).await });
        Bus::new(path)
    }

    /// Makes a record past the table of rights, as the bus itself does.
    pub async fn put(&self, record: &impl Record) {
        let write = culvert_records::insert(record);
        self.store.write(culvert_bus::store::write_id(), vec![write]).await.expect("it is new");
    }

    /// Enqueues jobs as they are, however many.
    pub async fn enqueue(&self, jobs: impl IntoIterator<Item = Job>) {
        let writes: Vec<Write> = jobs.into_iter().map(|job| insert(&job)).collect();
        for batch in writes.chunks(BATCH) {
            self.api.bus.write(batch.to_vec()).await.expect("new jobs");
        }
    }

    /// An api of another host on the same store. Its feed and its first administrator are not begun.
    pub fn other(&self, name: &str) -> Api {
        let folder = self.folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        Api::new(Self::bus(&self.store, &folder, Role::Api, HostId::new(), &self.stop))
    }

    /// From now on another api is asked, and something stands between it and its bus.
    pub async fn between<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        stand: impl FnOnce(UnixListener, std::path::PathBuf) -> F,
    ) {
        let path = self.folder.path().join("between.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        tokio::spawn(stand(listener, self.folder.path().join(format!("{}.sock", Role::Api))));
        let api = Api::new(Bus::new(path));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.address = listener.local_addr().expect("an address");
        tokio::spawn(process::serve_requests(api, listener));
    }

    /// What the process of this role has. Each role can be had once.
    pub fn has(&self, role: Role) -> Bus {
        Self::bus(&self.store, self.folder.path(), role, self.host, &self.stop)
    }

    /// Has pools kept full besides.
    pub fn start_pools(&self) {
        let bus = self.has(Role::Pools);
        tokio::spawn(async move { culvert_pools::keep(&bus).await });
    }

    /// Starts a queue besides. Whoever aborts it kills it.
    pub fn start_queue(&self) -> JoinHandle<()> {
        let folder = self.folder.path().join(Id::new().to_string());
        std::fs::create_dir(&folder).expect("a folder");
        let bus = Self::bus(&self.store, &folder, Role::Queue, self.host, &self.stop);
        let mut stopped = self.stop.subscribe();
        tokio::spawn(culvert_queue::attend(bus, async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }))
    }

    /// Starts a queue that dies at its write of this number, from 1: half of them before the bus hears of it, and half
    /// before it hears of the answer. Says whether it did, or had nothing to do any more.
    pub async fn doomed_queue(&self, number: usize) -> bool {
        let folder = self.folder.path().join(Id::new().to_string());
        std::fs::create_dir(&folder).expect("a folder");
        // The bus of this role listens there; nobody but what stands between asks it.
        drop(Self::bus(&self.store, &folder, Role::Queue, self.host, &self.stop));
        let (before, behind) = (folder.join("before.sock"), folder.join(format!("{}.sock", Role::Queue)));
        let listener = UnixListener::bind(&before).expect("a socket");
        let queue = tokio::spawn(culvert_queue::attend(Bus::new(before), std::future::pending()));
        tokio::select! {
            () = crate::doomed::until_write(listener, behind, number) => {
                queue.abort();
                true
            }
            () = self.idle() => {
                queue.abort();
                false
            }
        }
    }

    /// Waits until there is no open job.
    pub async fn idle(&self) {
        let jobs = || self.api.bus.count::<Job>(Query::by("by_state").equal("open"));
        let mut watch = self.api.watch(&[Kind::Job], Duration::from_secs(120));
        while jobs().await.expect("a number") > 0 {
            assert!(watch.next().await, "jobs are left after two minutes");
        }
    }

    /// Asks.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answered {
        let stream = TcpStream::connect(self.address).await.expect("the api listens");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let method: Method = method.parse().expect("a method");
        let mut request = Request::builder().method(method).uri(path).header("host", "api");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body))).expect("a request");
        let asked = timeout(Duration::from_secs(70), sender.send_request(request)).await.expect("in time");
        let (head, body) = asked.expect("an answer").into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        Answered { status: head.status, headers: head.headers, bytes }
    }

    /// Asks as somebody.
    pub async fn ask(&self, console: &Console, method: &str, path: &str, body: Option<Value>) -> Answered {
        let headers =
            [("cookie", console.cookie.as_str()), ("csrf-token", &console.csrf), ("culvert-host", "vpn.example.org")];
        self.send(method, path, &headers, body).await
    }

    /// Reads as somebody.
    pub async fn get(&self, console: &Console, path: &str) -> Answered {
        self.ask(console, "GET", path, None).await
    }

    /// Logs in with the generated password.
    pub async fn log_in(&self) -> Console {
        let first = first::password(&self.api).await.unwrap_or_else(|no| panic!("{no:?}"));
        self.log_in_as(&first.username, &first.password).await
    }

    /// Logs in.
    pub async fn log_in_as(&self, username: &str, password: &str) -> Console {
        let body = json!({ "username": username, "password": password });
        let answer = self.send("POST", "/auth/session", &[], Some(body)).await;
        assert_eq!(answer.good()["authenticated"], true);
        let cookie = answer.headers["set-cookie"].to_str().expect("ASCII");
        assert!(cookie.contains("HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=43200"), "{cookie}");
        let cookie = cookie.split(';').next().expect("a pair").to_owned();
        let state = self.send("GET", "/state", &[("cookie", &cookie)], None).await.good();
        let csrf = state["csrf_token"].as_str().expect("a token").to_owned();
        assert_eq!(csrf.len(), 32);
        Console { cookie, csrf }
    }
}

/// Waits until the question is answered.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// All of them at the same time.
pub async fn together<T: Future>(all: impl Iterator<Item = T>) -> Vec<T::Output> {
    let mut all: Vec<_> = all.map(|one| Box::pin(async { Some(one.await) })).collect();
    let mut done: Vec<Option<T::Output>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = one.as_mut().poll(context) {
                *done = value;
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
