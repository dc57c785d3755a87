//! Peers that misbehave while another one reads: it must hardly notice, and the bus must not grow.
//!
//! The bus has a process of its own here: this program, started once more.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use culvert_bus::server::Server;
use culvert_bus::store::embedded::Embedded;
use culvert_model::HostId;
use culvert_wire::bus::{Find, PAGE};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

/// Where the other process is to serve.
const FOLDER: &str = "CULVERT_TEST_SERVE";

/// The roles of the peers, in the order in which they come, over and over.
const ROLES: [Role; 4] = [Role::Api, Role::Queue, Role::Tasks, Role::Vpn];

/// So many reads are measured at a time.
const READS: usize = 500;

/// The other process. No test by itself.
#[test]
#[ignore = "started by the tests below"]
fn serves() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        let host = HostId::new();
        let store = Arc::new(Embedded::open(&folder.join("store.sqlite"), host).expect("the store opens"));
        let listener = UnixListener::bind(folder.join("bus.sock")).expect("the socket can be made");
        let next = AtomicUsize::new(0);
        let roles = move |_| Some(ROLES[next.fetch_add(1, Ordering::Relaxed) % ROLES.len()]);
        let (_stop, stopped) = watch::channel(false);
        Server::new(store, None, host, Box::new(roles)).serve(&listener, stopped).await;
    });
}

/// A bus in a process of its own, ended when dropped.
struct Apart {
    process: Child,
    folder: TempDir,
}

impl Apart {
    /// A bus, and a peer that may read users, of which there is a page.
    async fn start() -> (Self, Peer) {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let this = std::env::current_exe().expect("it has a name");
        let process = Command::new(this)
            .args(["--ignored", "--exact", "abuse::serves"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started again");
        let apart = Self { process, folder };
        let ends = Instant::now() + SOON;
        while UnixStream::connect(apart.socket()).await.is_err() {
            assert!(Instant::now() < ends, "the other process serves");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The first one was the attempt: so many more until it is the api's turn again.
        for _ in 1..ROLES.len() {
            UnixStream::connect(apart.socket()).await.expect("the bus listens");
        }
        let mut peer = connect_to(&apart.socket()).await;
        for page in 0..10 {
            let user = |n| format!("{:03}", page * 100 + n);
            let body = |n| serde_json::to_vec(&json!({ "organization": "o", "name": user(n), "x": "x".repeat(300) }));
            let writes = (0..100).map(|n| Write::Insert {
                kind: Kind::User,
                id: user(n),
                body: body(n).expect("a value has a form"),
            });
            let made = ask(&mut peer, Request::Write { id: fresh(), writes: writes.collect() }).await;
            assert!(matches!(made, Ok(Reply::Written { .. })), "{made:?}");
        }
        (apart, peer)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("bus.sock")
    }

    /// Its memory, in MiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel tells");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect_to(socket: &Path) -> Peer {
    let stream = UnixStream::connect(socket).await.expect("the bus listens");
    Framed::new(stream, LengthDelimitedCodec::builder().max_frame_length(FRAME).new_codec())
}

/// How long reads took: half of them, and 99 of 100, at most.
#[derive(Debug, Clone, Copy)]
struct Figures {
    half: Duration,
    most: Duration,
}

async fn measure(peer: &mut Peer) -> Figures {
    let mut times = Vec::with_capacity(READS);
    for n in 0..READS {
        let began = Instant::now();
        let Ok(Reply::Rows { rows, .. }) = ask(peer, get(Kind::User, &format!("{:03}", n % 1000))).await else {
            panic!("it may read");
        };
        times.push(began.elapsed());
        assert_eq!(rows.len(), 1);
    }
    times.sort_unstable();
    Figures { half: times[READS / 2], most: times[READS * 99 / 100] }
}

/// Measures a peer's reads while so many others of all roles do something, and how much the bus grows.
///
/// Half of its reads, and 99 of 100, must be as fast as before but for so many milliseconds: the turns of the others on a
/// machine of two busy cores, in a bus that was not optimized.
async fn beside<F: Future<Output = ()> + Send + 'static>(
    what: &str,
    count: usize,
    (half, most): (u64, u64),
    abuse: impl Fn(PathBuf) -> F,
) {
    let _turn = alone().await;
    let (bus, mut peer) = Apart::start().await;
    measure(&mut peer).await;
    let (before, memory) = (measure(&mut peer).await, bus.memory());
    // The abusers are other processes in truth: they get a thread of their own.
    let abusers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let abusers = abusers.expect("a runtime can be made");
    let mut abuse: JoinSet<()> = {
        let mut set = JoinSet::new();
        (0..count).for_each(|_| drop(set.spawn_on(abuse(bus.socket()), abusers.handle())));
        set
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let during = measure(&mut peer).await;
    let grown = bus.memory().saturating_sub(memory);
    while let Some(ended) = abuse.try_join_next() {
        ended.expect("an abuser goes on as long as it is let");
    }
    abuse.abort_all();
    abusers.shutdown_background();
    let answered = ANSWERED.swap(0, Ordering::Relaxed);
    println!(
        "{what} ({answered} answers): p50 {:?} -> {:?}, p99 {:?} -> {:?}, grown by {grown} MiB",
        before.half, during.half, before.most, during.most
    );
    let [half, most] = [half, most].map(Duration::from_millis);
    assert!(during.half < before.half * 3 + half, "half of the reads are as fast as before");
    assert!(during.most < before.most * 3 + most, "nearly all of them are");
    assert!(grown < 128, "it stays small");
}

async fn alone() -> tokio::sync::MutexGuard<'static, ()> {
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    TURN.lock().await
}

/// What pipelines were answered.
static ANSWERED: AtomicUsize = AtomicUsize::new(0);

/// Asks again and again without waiting, and reads what comes. What its role may not is answered as well.
async fn pipeline(socket: PathBuf, in_flight: u64, request: impl Fn() -> Request) {
    let peer = connect_to(&socket).await;
    let (mut sink, mut answers) = peer.split();
    let open = tokio::sync::Semaphore::new(in_flight as usize);
    let asking = async {
        for number in 0.. {
            open.acquire().await.expect("it is never closed").forget();
            let call = encode(&Call { number, request: request() }).expect("it has a form");
            if sink.send(Bytes::from(call)).await.is_err() {
                break;
            }
        }
    };
    let hearing = async {
        while let Some(Ok(_)) = answers.next().await {
            open.add_permits(1);
            ANSWERED.fetch_add(1, Ordering::Relaxed);
        }
    };
    tokio::join!(asking, hearing);
}

fn page() -> Request {
    Request::Find(Find {
        kind: Kind::User,
        index: "by_organization".into(),
        equal: vec![culvert_wire::bus::Key::Text("o".into())],
        from: None,
        to: None,
        after: None,
        descending: false,
        limit: PAGE,
    })
}

#[tokio::test]
async fn ten_thousand_requests_of_one_peer() {
    beside("10,000 gets in flight of one peer", 1, (2, 100), |socket| {
        pipeline(socket, 10_000, || get(Kind::User, "001"))
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_requests_of_many_peers() {
    beside("10,000 gets in flight of 40 peers", 40, (20, 200), |socket| {
        pipeline(socket, 250, || get(Kind::Host, "001"))
    })
    .await;
}

#[tokio::test]
async fn pages_of_one_peer() {
    beside("pages of one peer", 1, (2, 200), |socket| pipeline(socket, 1000, page)).await;
}

#[tokio::test]
async fn pages_that_nobody_reads() {
    beside("pages that 12 peers do not read", 12, (2, 1000), async |socket| {
        let mut peer = connect_to(&socket).await;
        for number in 0..200 {
            let call = encode(&Call { number, request: page() }).expect("it has a form");
            if peer.send(Bytes::from(call)).await.is_err() {
                break;
            }
        }
        pending().await
    })
    .await;
}

#[tokio::test]
async fn frames_that_never_end() {
    beside("frames that 12 peers never end", 12, (2, 100), async |socket| {
        let mut stream = UnixStream::connect(socket).await.expect("the bus listens");
        stream.write_all(&(FRAME as u32).to_be_bytes()).await.expect("the bus is there");
        stream.write_all(&[0; 3]).await.expect("the bus is there");
        pending().await
    })
    .await;
}

#[tokio::test]
async fn garbage_without_end() {
    beside("garbage of 4 peers", 4, (2, 100), async |socket| {
        loop {
            let Ok(mut stream) = UnixStream::connect(&socket).await else { return };
            let garbage: Vec<u8> = (0..60_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            let _ = stream.write_all(&garbage).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_longest_frames() {
    let body = format!(r#"{{"expires":1,"x":[{}0]}}"#, "0,".repeat(40_000)).into_bytes();
    let write = |n| Write::Insert { kind: Kind::Nonce, id: format!("{n}"), body: body.clone() };
    let request = Request::Write { id: 7, writes: (0..100).map(write).collect() };
    let call = Bytes::from(encode(&Call { number: 1, request }).expect("it has a form"));
    assert!(call.len() < FRAME && call.len() > FRAME * 9 / 10);
    beside("the longest frames of 4 peers", 4, (50, 2500), move |socket| {
        let call = call.clone();
        async move {
            let mut peer = connect_to(&socket).await;
            while peer.send(call.clone()).await.is_ok() && peer.next().await.is_some() {
                ANSWERED.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_frame_that_does_not_end_is_cut() {
    let bus = Running::start(Role::Api).await;
    let call = encode(&Call { number: 1, request: Request::Here }).expect("it has a form");
    let mut stream = UnixStream::connect(&bus.socket).await.expect("the bus listens");
    stream.write_all(&[&(call.len() as u32).to_be_bytes()[..], &call, &[0, 0]].concat()).await.expect("it is there");
    let began = Instant::now();
    let mut rest = Vec::new();
    timeout(2 * SOON, stream.read_to_end(&mut rest)).await.expect("the peer is cut").expect("the stream ends");
    assert!(!rest.is_empty(), "what was whole is answered");
    assert!(began.elapsed() > Duration::from_secs(5), "there is time for a frame");
}

/// A kind and a request that no version of this bus has.
#[tokio::test]
async fn numbers_of_nothing_are_cut() {
    let bus = Running::start(Role::Api).await;
    let good = encode(&Call { number: 1, request: get(Kind::Cluster, "x") }).expect("it has a form");
    // Behind the number stand the request's and the kind's.
    assert_eq!(good[..3], [1, 0, 0]);
    for place in [1, 2] {
        let mut bad = good.clone();
        bad[place] = 0x7f;
        let mut peer = connect(&bus).await;
        peer.send(Bytes::from(bad)).await.expect("the bus is there");
        cut(&mut peer).await;
    }
    let mut peer = connect(&bus).await;
    assert!(ask(&mut peer, Request::Here).await.is_ok());
}
