//! A bus by itself, as the supervisor starts it: the real program under its user, with a state folder and a network
//! namespace of its own, and a socket that outlives it.

use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use culvert_link::launch::Launch;
use culvert_link::pidfd::Process;
use culvert_records::Bus;
use nix::sys::signal::Signal;
use nix::unistd::User;
use rustix::thread::Uid;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::appliance::binaries;
use crate::lines::until;
use crate::network::Machine;

/// A library that shifts a program's clock, of the package faketime.
const CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A bus and its machine. Killed, and its state deleted, when dropped.
#[derive(Debug)]
pub struct BusHost {
    /// Where it runs.
    pub machine: Machine,
    folder: TempDir,
    listener: UnixListener,
    clock: Option<String>,
    process: Option<Process>,
}

impl BusHost {
    /// Starts a bus on the database of this URI, with a clock that is so far off (`+3600s`), and waits until it serves.
    pub fn start(machine: Machine, uri: &str, clock: Option<&str>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("culvert-bus-").tempdir()?;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let bus = user("culvert-bus")?;
        fs::create_dir(folder.path().join("bus"))?;
        fs::write(folder.path().join("uri"), uri)?;
        for (name, mode) in [("bus", 0o700), ("uri", 0o600)] {
            let path = folder.path().join(name);
            fs::set_permissions(&path, Permissions::from_mode(mode))?;
            chown(&path, Some(bus.uid.as_raw()), Some(bus.gid.as_raw()))?;
        }
        let socket = folder.path().join("bus.sock");
        let listener = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
        let mut host = Self { machine, folder, listener, clock: clock.map(String::from), process: None };
        host.launch()?;
        Ok(host)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("bus.sock")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts it, after it was killed or ended, and waits until it has reached the database.
    pub fn launch(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let bus = user("culvert-bus")?;
        let network = File::open(format!("/run/netns/{}", self.machine.namespace.name()))?;
        let folder = self.folder.path().to_str().context("a path in UTF-8")?;
        let store = format!("@{folder}/uri");
        let arguments = ["--run", folder, "--state", folder, "--log", "debug", "--store", &store];
        let mut launch = Launch::new(binaries().join("culvert-bus"))
            .arguments(arguments)
            .user(bus.uid.as_raw(), bus.gid.as_raw())
            .network(network.as_fd())
            .descriptor(1, log.as_fd())
            .descriptor(2, log.as_fd())
            .listening("bus", self.listener.as_fd());
        if let Some(clock) = &self.clock {
            ensure!(fs::exists(CLOCK)?, "{CLOCK} is not there: install the package faketime");
            // The program clears its environment, so the library must not look for the shift again.
            launch = launch.variable("LD_PRELOAD", CLOCK).variable("FAKETIME", clock);
            launch =
                launch.variable("FAKETIME_CACHE_DURATION", "1000000").variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let before = self.reached();
        self.process = Some(launch.start()?);
        until("the bus has reached the database", Duration::from_secs(30), || {
            if self.process.as_ref().is_some_and(|process| process.bury().is_some()) {
                bail!("it ended:\n{}", self.log());
            }
            Ok((self.reached() > before).then_some(()))
        })?;
        self.answers()
    }

    /// Waits until it answers: it does once it has this host's lease.
    fn answers(&self) -> Result<()> {
        let (socket, uid) = (self.socket(), user("culvert-queue")?.uid.as_raw());
        as_user(uid, async || {
            let bus = Bus::new(socket);
            let answered = async {
                while bus.here().await.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
            };
            Ok(timeout(Duration::from_secs(30), answered).await?)
        })
        .with_context(|| format!("the bus does not answer:\n{}", self.log()))
    }

    fn reached(&self) -> usize {
        self.log().matches("the database is reached").count()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().context("it does not run")?.signal(signal)?;
        Ok(())
    }

    /// Ends it with a signal, and waits until it is gone.
    pub fn end(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        let process = self.process.take().context("it does not run")?;
        ensure!(process.wait(Instant::now() + Duration::from_secs(10))?, "the bus did not end after {signal}");
        ensure!(process.bury().is_some(), "the bus is our child");
        Ok(())
    }
}

impl Drop for BusHost {
    fn drop(&mut self) {
        if self.process.is_some() {
            let _ = self.end(Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("---- a bus's log\n{}", self.log());
        }
    }
}

/// A user of the appliance's. Any start of it makes them, also one that is refused then.
pub fn user(name: &str) -> Result<User> {
    if let Some(user) = User::from_name(name)? {
        return Ok(user);
    }
    let state = tempfile::tempdir()?;
    fs::set_permissions(state.path(), Permissions::from_mode(0o755))?;
    let mut command = std::process::Command::new(binaries().join("culvert"));
    command.args(["run", "--listen", "203.0.113.7:443", "--redirect", "off", "--state"]).arg(state.path().join("s"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    User::from_name(name)?.with_context(|| format!("the user {name} was not made"))
}

/// Does something in a thread that has this user, as the bus sees the connections that are opened there.
pub fn as_user<T: Send>(uid: u32, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    let uid = Uid::from_raw(uid);
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // Of this thread alone.
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
        });
        worker.join().map_err(|_| anyhow!("the work as another user panicked"))?
    })
}
