//! A real bus: the binary that users run, under its own user and in its sandbox, started as the supervisor does it.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use culvert_link::launch::Launch;
use culvert_link::pidfd::Process;
use culvert_link::socket;
use culvert_model::Role;
use culvert_records::{Bus, Failure};
use culvert_tests::appliance::binaries;
use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, geteuid, seteuid};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// How long a bus may take until it reaches its store.
const START: Duration = Duration::from_secs(60);

/// The user of the whole process is another one while somebody connects: one at a time.
static DOOR: Mutex<()> = Mutex::const_new(());

/// A bus, killed and its state removed when dropped.
pub struct Daemon {
    process: Process,
    folder: TempDir,
    // Supervisors hold it too.
    _listener: UnixListener,
}

impl Daemon {
    /// A bus with the embedded store.
    pub fn embedded() -> Result<Self> {
        Self::start(None)
    }

    /// A bus of the cluster at this URI.
    pub fn of_cluster(uri: &str) -> Result<Self> {
        Self::start(Some(uri))
    }

    /// It dies with the calling thread.
    fn start(uri: Option<&str>) -> Result<Self> {
        let user = account(Role::Bus)?;
        let folder = TempDir::with_prefix("culvert-bench-")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let own = folder.path().join("bus");
        fs::create_dir(&own)?;
        chown(&own, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let mut store = "embedded".to_owned();
        if let Some(uri) = uri {
            let file = folder.path().join("uri");
            fs::write(&file, uri)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            chown(&file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            store = format!("@{}", file.display());
        }
        let listener = socket::stream(&folder.path().join("bus.sock"), 0o666, None, None)?;
        let text = folder.path().to_str().context("a path in UTF-8")?;
        let silent = File::options().write(true).open("/dev/null")?;
        let process = Launch::new(binaries().join("culvert-bus"))
            .arguments(["--run", text, "--state", text, "--store", &store, "--log", "error"])
            .descriptor(1, silent.as_fd())
            .no_terminal()
            .die_with_parent()
            .user(user.uid.as_raw(), user.gid.as_raw())
            .listening("bus", listener.as_fd())
            .start()?;
        Ok(Self { process, folder, _listener: listener })
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.pid().unsigned_abs()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("bus.sock")
    }

    /// The embedded store's file.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("bus/store.sqlite")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.process.signal(Signal::SIGKILL);
        let _ = self.process.wait(Instant::now() + Duration::from_secs(5));
        let _ = self.process.bury();
    }
}

/// A connection to the bus at this socket as this role, once the store answers.
pub async fn connect(socket: PathBuf, role: Role) -> Result<Bus> {
    let begun = Instant::now();
    let _alone = DOOR.lock().await;
    ensure!(geteuid().is_root(), "the benches run as root: each process has a user of its own");
    seteuid(account(role)?.uid)?;
    let bus = Bus::new(socket);
    // Whatever the answer is, the connection stands by then.
    let mut here = bus.here().await;
    seteuid(Uid::from_raw(0))?;
    while here.is_err() {
        match here {
            Err(Failure::Unavailable) if begun.elapsed() < START => sleep(Duration::from_millis(50)).await,
            Err(failure) => bail!("the bus does not answer: {failure}"),
            Ok(_) => {}
        }
        here = bus.here().await;
    }
    Ok(bus)
}

/// The run folder of a process of ours: it was told by an argument.
pub fn run_folder(pid: u32) -> Result<PathBuf> {
    let line = fs::read(format!("/proc/{pid}/cmdline"))?;
    let mut arguments = line.split(|byte| *byte == 0).skip_while(|it| *it != b"--run");
    let folder = arguments.nth(1).context("it was started with --run")?;
    Ok(PathBuf::from(std::str::from_utf8(folder)?))
}

/// The role's user.
fn account(role: Role) -> Result<User> {
    let name = role.user();
    User::from_name(name)?.with_context(|| format!("there is no user {name}: `culvert run` makes it"))
}
