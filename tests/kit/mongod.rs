//! Real MongoDB replica sets of one member or more, on loopback or in a network namespace.
//!
//! mongod comes from `CULVERT_MONGOD` or from `target/tools/mongod`, where `make test` puts it. The kit speaks the few
//! commands that it needs by itself (`OP_MSG`), so that no suite but the bus's own builds the driver.

#[path = "mongod/message.rs"]
mod message;

use std::ffi::OsString;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow, bail, ensure};
pub use message::{Stream, ask};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a member may take to answer, and a set to have a primary.
const START: Duration = Duration::from_secs(30);

/// How often something is looked at that announces itself to nobody.
const LOOK: Duration = Duration::from_millis(50);

/// How long a member may take for one command.
const COMMAND: Duration = Duration::from_secs(2);

/// The set's name.
const NAME: &str = "rs0";

/// A replica set, ended and removed when dropped.
#[derive(Debug)]
pub struct ReplicaSet {
    members: Vec<Member>,
    /// What every member is started with, besides the set's name.
    options: Vec<String>,
    guard: Option<Arc<dyn Guard>>,
    folder: TempDir,
}

/// How members are started and talked to that do not take just anybody.
pub trait Guard: std::fmt::Debug + Send + Sync {
    /// More options of mongod.
    fn options(&self) -> Vec<String>;

    /// What is said to a member over this connection.
    fn connect(&self, stream: TcpStream) -> Result<Box<dyn Stream>>;
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    namespace: Option<String>,
    folder: PathBuf,
    process: Option<Child>,
}

impl ReplicaSet {
    /// A set of so many members on free ports of loopback.
    pub fn start(members: usize) -> Result<Self> {
        Self::run(Self::of(free(members)?)?)
    }

    /// A set of so many members on loopback that takes not just anybody.
    pub fn start_behind_guard(members: usize, guard: Arc<dyn Guard>) -> Result<Self> {
        let mut set = Self::of(free(members)?)?;
        (set.options, set.guard) = (guard.options(), Some(guard));
        Self::run(set)
    }

    /// A set in a network namespace, at this address and the ports from 27017.
    pub fn start_in(namespace: &str, address: IpAddr, members: usize) -> Result<Self> {
        let addresses = (0..members).map(|member| SocketAddr::new(address, 27017 + member as u16)).collect();
        let mut set = Self::of(addresses)?;
        set.members.iter_mut().for_each(|member| member.namespace = Some(namespace.into()));
        Self::run(set)
    }

    /// A set with a member in each of these network namespaces, at these addresses.
    pub fn start_across(machines: &[(String, IpAddr)]) -> Result<Self> {
        let mut set = Self::of(machines.iter().map(|(_, address)| SocketAddr::new(*address, 27017)).collect())?;
        for (member, (namespace, _)) in set.members.iter_mut().zip(machines) {
            member.namespace = Some(namespace.clone());
        }
        Self::run(set)
    }

    /// Members at these addresses, none of which is started yet.
    fn of(addresses: Vec<SocketAddr>) -> Result<Self> {
        let folder = TempDir::with_prefix("culvert-mongod-")?;
        let member = |(number, address): (usize, SocketAddr)| Member {
            address,
            namespace: None,
            folder: folder.path().join(number.to_string()),
            process: None,
        };
        let members = addresses.into_iter().enumerate().map(member).collect();
        Ok(Self { members, options: Vec::new(), guard: None, folder })
    }

    fn run(mut set: Self) -> Result<Self> {
        for member in 0..set.members.len() {
            set.launch(member, &["--replSet", NAME])?;
        }
        set.initiate()?;
        Ok(set)
    }

    /// One server that is no replica set, or one of a set that nobody initiated.
    pub fn start_alone(of_a_set: bool) -> Result<Self> {
        let mut set = Self::of(free(1)?)?;
        set.launch(0, if of_a_set { &["--replSet", NAME] } else { &[] })?;
        Ok(set)
    }

    /// A set of one member that listens at one address and is known under another, where somebody passes on what comes.
    pub fn start_behind(inside: SocketAddr, outside: SocketAddr) -> Result<Self> {
        let mut set = Self::of(vec![inside])?;
        set.launch(0, &["--replSet", NAME])?;
        let config = json!({ "_id": NAME, "members": [{ "_id": 0, "host": outside.to_string() }] });
        set.command(0, json!({ "replSetInitiate": config }))?;
        set.primary()?;
        set.members[0].address = outside;
        Ok(set)
    }

    /// A set of one member that lets only this user in, who may do anything.
    pub fn start_guarded(user: &str, password: &str) -> Result<Self> {
        let mut set = Self::of(free(1)?)?;
        let key = set.folder.path().join("key");
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key)?.write_all(b"onlyATestsKey")?;
        set.options = vec!["--keyFile".into(), key.to_str().context("a path in UTF-8")?.into()];
        set.launch(0, &["--replSet", NAME])?;
        let config = json!({ "_id": NAME, "members": [{ "_id": 0, "host": set.address(0).to_string() }] });
        set.command(0, json!({ "replSetInitiate": config }))?;
        set.primary()?;
        // The first user may be made by anybody on loopback.
        set.command(0, json!({ "createUser": user, "pwd": password, "roles": ["root"] }))?;
        Ok(set)
    }

    /// The URI of a database in the set.
    #[must_use]
    pub fn uri(&self, database: &str) -> String {
        let members: Vec<String> = self.members.iter().map(|member| member.address.to_string()).collect();
        format!("mongodb://{}/{database}?replicaSet={NAME}", members.join(","))
    }

    /// The address of a member.
    #[must_use]
    pub fn address(&self, member: usize) -> SocketAddr {
        self.members[member].address
    }

    /// The member that is primary now, and the only one that says so.
    pub fn primary(&self) -> Result<usize> {
        let ends = Instant::now() + START;
        loop {
            let primaries: Vec<usize> = (0..self.members.len()).filter(|member| self.is_primary(*member)).collect();
            if let [primary] = primaries[..] {
                return Ok(primary);
            }
            ensure!(Instant::now() < ends, "the replica set has not one primary but {}", primaries.len());
            thread::sleep(LOOK);
        }
    }

    fn is_primary(&self, member: usize) -> bool {
        self.running(member)
            && self.command(member, json!({ "hello": 1 })).is_ok_and(|hello| hello["isWritablePrimary"] == json!(true))
    }

    /// Waits until one member is primary and all others follow it and have what it has.
    pub fn settle(&self) -> Result<()> {
        let ends = Instant::now() + START;
        let written = |status: &Value| status["optimes"]["appliedOpTime"]["ts"].as_i64();
        let target = written(&self.command(self.primary()?, json!({ "replSetGetStatus": 1 }))?);
        loop {
            let settled = (0..self.members.len()).all(|member| {
                self.command(member, json!({ "replSetGetStatus": 1 })).is_ok_and(|status| {
                    let follows = status["syncSourceHost"].as_str().is_some_and(|source| !source.is_empty());
                    (status["myState"] == 1 || status["myState"] == 2 && follows) && written(&status) >= target
                })
            });
            if settled && self.primary().is_ok() {
                return Ok(());
            }
            ensure!(Instant::now() < ends, "the replica set does not settle");
            thread::sleep(LOOK);
        }
    }

    /// Kills a member.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        if let Some(mut process) = self.members[member].process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Freezes a member, and waits until none of its threads runs any more.
    pub fn freeze(&self, member: usize) -> Result<()> {
        self.signal(member, Signal::SIGSTOP)?;
        let ends = Instant::now() + COMMAND;
        while !is_stopped(self.pid(member)?) {
            ensure!(Instant::now() < ends, "the member does not stop");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Lets a frozen member go on.
    pub fn thaw(&self, member: usize) -> Result<()> {
        self.signal(member, Signal::SIGCONT)
    }

    /// Starts a killed member again.
    pub fn restart(&mut self, member: usize) -> Result<()> {
        self.launch(member, &["--replSet", NAME])
    }

    /// The process of a member.
    pub fn pid(&self, member: usize) -> Result<u32> {
        self.members[member].process.as_ref().map(Child::id).context("the member was killed")
    }

    fn running(&self, member: usize) -> bool {
        self.members[member].process.is_some()
    }

    fn signal(&self, member: usize, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.pid(member)?.try_into()?), signal)?)
    }

    fn launch(&mut self, member: usize, more: &[&str]) -> Result<()> {
        let Member { address, namespace, folder, .. } = &self.members[member];
        fs::create_dir_all(folder)?;
        let mut command = within(namespace.as_deref(), &mongod()?);
        command.arg("--bind_ip").arg(address.ip().to_string()).arg("--port").arg(address.port().to_string());
        command.arg("--dbpath").arg(folder).arg("--logpath").arg(folder.join("log")).args(more).args(&self.options);
        command.args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "100"]);
        // The name of its unix socket is its port's, which is the same in every namespace.
        command.arg("--nounixsocket");
        // Members end at once when asked to, and do not keep statistics.
        command.args(["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]);
        command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[member].process = Some(process.with_context(|| format!("{command:?}"))?);
        self.await_answer(member)
    }

    fn await_answer(&mut self, member: usize) -> Result<()> {
        let ends = Instant::now() + START;
        while let Err(error) = self.command(member, json!({ "hello": 1 })) {
            let process = self.members[member].process.as_mut().context("the member was killed")?;
            if let Some(status) = process.try_wait()? {
                let log = fs::read_to_string(self.members[member].folder.join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("mongod ended with {status}: {}", last.join("\n"));
            }
            ensure!(Instant::now() < ends, "mongod does not answer: {error:#}");
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn initiate(&self) -> Result<()> {
        let member = |(number, member): (usize, &Member)| json!({ "_id": number, "host": member.address.to_string() });
        let members: Vec<Value> = self.members.iter().enumerate().map(member).collect();
        let settings =
            json!({ "electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 500, "heartbeatTimeoutSecs": 2 });
        let config = json!({ "_id": NAME, "members": members, "settings": settings });
        self.command(0, json!({ "replSetInitiate": config }))?;
        self.settle()
    }

    /// A command to one member's `admin` database, or to the one that it names.
    pub fn command(&self, member: usize, command: Value) -> Result<Value> {
        let address = self.address(member);
        let ask = move || {
            let stream = TcpStream::connect_timeout(&address, COMMAND)?;
            stream.set_read_timeout(Some(COMMAND))?;
            match &self.guard {
                Some(guard) => ask(&mut *guard.connect(stream)?, command),
                None => ask(&mut { stream }, command),
            }
        };
        let Some(namespace) = &self.members[member].namespace else { return ask() };
        let namespace = fs::File::open(format!("/run/netns/{namespace}"))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET)?;
                ask()
            });
            inside.join().map_err(|_| anyhow!("the command panicked"))?
        })
    }
}

impl Drop for ReplicaSet {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            let _ = self.kill(member);
        }
    }
}

/// Whether all threads of a process are stopped.
fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let state = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    // Behind the name in brackets; a thread that has just ended has none.
    threads.map(state).all(|stat| stat.rsplit_once(')').is_none_or(|(_, rest)| rest.starts_with(" T")))
}

/// Free ports of loopback.
fn free(count: usize) -> Result<Vec<SocketAddr>> {
    let listeners = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listeners: Vec<TcpListener> = listeners.collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// Where mongod is.
pub fn mongod() -> Result<PathBuf> {
    let path = env::var_os("CULVERT_MONGOD").map_or_else(setup, PathBuf::from);
    ensure!(
        path.is_file(),
        "there is no mongod at {}: make test fetches it, or name one in CULVERT_MONGOD",
        path.display()
    );
    Ok(path)
}

/// The workspace's own, from any of its crates.
fn setup() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let workspace = crates.into_iter().find(|folder| folder.join("Cargo.lock").is_file());
    workspace.unwrap_or(Path::new(".")).join("target/tools/mongod")
}

fn within(namespace: Option<&str>, program: &Path) -> Command {
    let Some(namespace) = namespace else { return Command::new(program) };
    let mut command = Command::new("nsenter");
    command.arg(OsString::from(format!("--net=/run/netns/{namespace}"))).arg(program);
    command
}
