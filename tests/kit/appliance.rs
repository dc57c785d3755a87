//! The appliance as its user starts it: `culvert run`, in a namespace.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::lines::{Lines, until};
use crate::namespace::{Namespace, succeed};

/// How an appliance is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Where records are kept, as `--store` wants it; empty where `culvert join` and `culvert leave` decide.
    pub store: String,
    /// Whether it has no console.
    pub headless: bool,
    /// Where the binaries are.
    pub binaries: PathBuf,
    /// The console's address and port.
    pub listen: String,
    /// The address and port of plain HTTP, or `off`.
    pub redirect: String,
    /// The log's level. The suites show the log of what failed.
    pub log: String,
}

impl Setup {
    /// With this store, listening at this address on the usual ports.
    pub fn new(store: &str, address: &str) -> Self {
        Self {
            store: store.into(),
            headless: false,
            binaries: binaries(),
            listen: format!("{address}:443"),
            redirect: format!("{address}:80"),
            log: "debug".into(),
        }
    }
}

/// The folder of the binaries under test: beside the test itself, or `CULVERT_BIN`.
pub fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("CULVERT_BIN") {
        return folder.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().find(|folder| folder.join("culvert-supervisor").exists());
    folder.expect("the binaries are built before the tests: make test does that").into()
}

/// A running appliance. Stopped, and its state deleted, when dropped.
#[derive(Debug)]
pub struct Appliance {
    setup: Setup,
    namespace: Arc<Namespace>,
    state: TempDir,
    supervisor: Child,
    /// What `culvert run` printed.
    pub printed: Lines,
    /// How long it took until it said that all is up.
    pub started_in: Duration,
}

impl Appliance {
    /// Starts one and waits until it says that all is up.
    pub fn start(namespace: &Arc<Namespace>, setup: Setup) -> Result<Self> {
        Self::start_with(namespace, setup, state_folder()?)
    }

    /// The same, with a state folder that may hold something already.
    pub fn start_with(namespace: &Arc<Namespace>, setup: Setup, state: TempDir) -> Result<Self> {
        let (supervisor, printed, started_in) = launch(namespace, &setup, state.path())?;
        Ok(Self { setup, namespace: namespace.clone(), state, supervisor, printed, started_in })
    }

    /// A copy of its disk, as it is now: what is running besides goes on.
    pub fn copy_of_state(&self) -> Result<TempDir> {
        let copy = state_folder()?;
        succeed(Command::new("cp").arg("-a").arg(self.state().join(".")).arg(copy.path()))?;
        fs::remove_file(copy.path().join("log"))?;
        Ok(copy)
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Everything that the processes logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.state.path().join("log")).unwrap_or_default()
    }

    /// Runs another `culvert` command on this appliance.
    pub fn culvert(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.namespace.command(self.setup.binaries.join("culvert"));
        succeed(command.args(arguments).arg("--state").arg(self.state()))
    }

    /// The administrator's name and one-time password.
    pub fn credentials(&self) -> Result<(String, String)> {
        let answer: serde_json::Value = serde_json::from_str(&self.culvert(&["default-password", "-o", "json"])?)?;
        let field =
            |name: &str| answer[name].as_str().map(String::from).with_context(|| format!("no {name} in {answer}"));
        Ok((field("username")?, field("password")?))
    }

    /// The supervisor's process id.
    pub fn supervisor(&self) -> u32 {
        self.supervisor.id()
    }

    /// The process of this name (`api`, `helper`, ...), if it runs.
    pub fn process(&self, name: &str) -> Option<u32> {
        let wanted = format!("culvert-{name}");
        children(self.supervisor.id()).into_iter().find(|pid| comm(*pid).is_some_and(|comm| wanted.starts_with(&comm)))
    }

    /// All of our processes but the supervisor, by name.
    pub fn processes(&self) -> Vec<(String, u32)> {
        children(self.supervisor.id())
            .into_iter()
            .filter_map(|pid| Some((comm(pid)?.strip_prefix("culvert-")?.to_string(), pid)))
            .collect()
    }

    /// The openvpn processes in the appliance's namespace.
    pub fn openvpns(&self) -> Result<Vec<u32>> {
        let pids = self.namespace.processes()?;
        Ok(pids.into_iter().filter(|pid| comm(*pid).as_deref() == Some("openvpn")).collect())
    }

    /// Sends a signal to processes of ours.
    pub fn signal(&self, names: &[&str], signal: Signal) -> Result<Vec<u32>> {
        let find = |name: &&str| self.process(name).with_context(|| format!("{name} does not run"));
        let pids: Vec<u32> = names.iter().map(find).collect::<Result<_>>()?;
        for pid in &pids {
            kill(Pid::from_raw(*pid as i32), signal)?;
        }
        Ok(pids)
    }

    /// Waits until processes of these names run that are not the ones given, and gives back how long it took.
    pub fn replaced(&self, names: &[&str], old: &[u32], deadline: Duration) -> Result<Duration> {
        let begun = Instant::now();
        until(&format!("{names:?} replaced"), deadline, || {
            let fresh = |name: &&str| self.process(name).is_some_and(|pid| !old.contains(&pid));
            Ok(names.iter().all(fresh).then_some(()))
        })?;
        Ok(begun.elapsed())
    }

    /// Kills the supervisor as `kill -9` does, and waits until all of its children are gone.
    pub fn kill_supervisor(&mut self) -> Result<()> {
        let children = self.processes();
        self.supervisor.kill()?;
        self.supervisor.wait()?;
        until("the supervisor's children gone", Duration::from_secs(5), || {
            let left = children
                .iter()
                .filter(|(name, pid)| comm(*pid).is_some_and(|comm| format!("culvert-{name}").starts_with(&comm)));
            Ok((left.count() == 0).then_some(()))
        })
    }

    /// As when a machine loses its power.
    pub fn pull_the_plug(&mut self) -> Result<()> {
        for (_, pid) in self.processes() {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
        }
        self.kill_supervisor()?;
        for pid in self.openvpns()? {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// Freezes the supervisor, as SIGSTOP does, and starts another one, which must take over.
    pub fn freeze_supervisor_and_start_again(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.supervisor.id() as i32), Signal::SIGSTOP)?;
        let (supervisor, printed, started_in) = launch(&self.namespace, &self.setup, self.state.path())?;
        let mut frozen = std::mem::replace(&mut self.supervisor, supervisor);
        (self.printed, self.started_in) = (printed, started_in);
        until("the frozen supervisor gone", Duration::from_secs(5), || Ok(frozen.try_wait()?)).map(drop)
    }

    /// Starts it again after [`Self::kill_supervisor`] or [`Self::interrupt`].
    pub fn start_again(&mut self) -> Result<()> {
        let (supervisor, printed, started_in) = launch(&self.namespace, &self.setup, self.state.path())?;
        (self.supervisor, self.printed, self.started_in) = (supervisor, printed, started_in);
        Ok(())
    }

    /// Ctrl-C: waits until it has stopped.
    pub fn interrupt(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.supervisor.id() as i32), Signal::SIGINT)?;
        let status = until("stopped after Ctrl-C", Duration::from_secs(30), || Ok(self.supervisor.try_wait()?))?;
        ensure!(status.success(), "stopped with {status}\n{}", self.log());
        Ok(())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        if let Ok(None) = self.supervisor.try_wait()
            && let Err(error) = self.interrupt()
        {
            eprintln!("{error:#}");
            let _ = self.supervisor.kill();
            let _ = self.supervisor.wait();
        }
        for pid in self.openvpns().unwrap_or_default() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("---- the appliance's log\n{}", self.log());
        }
    }
}

/// A new state folder. Others can enter it: every process has a user of its own.
pub fn state_folder() -> Result<TempDir> {
    let state = tempfile::Builder::new().prefix("culvert-test-").tempdir()?;
    fs::set_permissions(state.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(state)
}

/// `culvert run` with this setup on this state folder.
pub fn run(namespace: &Namespace, setup: &Setup, state: &Path) -> Command {
    let mut command = namespace.command(setup.binaries.join("culvert"));
    command.arg("run").arg("--state").arg(state).args(["--listen", &setup.listen, "--redirect", &setup.redirect]);
    command.args(["--log", &setup.log]);
    if !setup.store.is_empty() {
        command.args(["--store", &setup.store]);
    }
    if setup.headless {
        command.arg("--headless");
    }
    command
}

fn launch(namespace: &Namespace, setup: &Setup, state: &Path) -> Result<(Child, Lines, Duration)> {
    let begun = Instant::now();
    let log = File::options().create(true).append(true).open(state.join("log"))?;
    let mut child = run(namespace, setup, state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
    let printed = Lines::default();
    printed.read(child.stdout.take().context("its output")?);
    let up = printed.wait(0, Duration::from_secs(60), |line| line.starts_with("Culvert is up"));
    if let Err(error) = up {
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
        let _ = child.wait();
        bail!("{error:#}\n{}", fs::read_to_string(state.join("log")).unwrap_or_default());
    }
    Ok((child, printed, begun.elapsed()))
}

fn comm(pid: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, behind) = status.rsplit_once(')')?;
    // A zombie is gone.
    (!behind.starts_with(" Z")).then(|| before.split_once('(').map(|(_, comm)| comm.to_string()))?
}

fn children(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        status.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

/// Runs a command that is expected to fail, and gives back its exit code and what it printed on stderr.
pub fn refused(command: &mut Command) -> Result<(i32, String)> {
    let output = command.output()?;
    ensure!(!output.status.success(), "{command:?} succeeded");
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned()))
}
