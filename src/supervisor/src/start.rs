//! From the command line to the first process: lock, folder, sockets, namespaces, sandbox.

use std::os::fd::OwnedFd;
use std::path::Path;

use culvert_link::{inherited, netns};
use culvert_sandbox::Scope;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::{Mode, umask};

use crate::arguments::Settings;
use crate::failure::Failure;
use crate::lock::Lock;
use crate::place::{self, Accounts, Sockets};
use crate::report::{self, warn};
use crate::roster::Program;
use crate::supervisor::{Machine, Supervisor};

/// The signals that the supervisor waits for.
const SIGNALS: [Signal; 4] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// Prepares everything. Nothing is running yet when it returns.
pub fn start(settings: Settings) -> Result<Supervisor, Failure> {
    let ready = inherited::only(settings.ready)?;
    culvert_link::environment::clear(&["JOURNAL_STREAM"])?;
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::machine(
            "the supervisor must run as root: start it with `culvert run` as root, or with sudo",
        ));
    }
    if let Err(error) = report::never_wait() {
        warn(&format!("standard error may make the appliance wait: {error}"));
    }
    umask(Mode::from_bits_truncate(0o077));
    let signals = signals()?;
    let accounts = Accounts::resolve()?;
    place::folder(&settings.run)?;
    let lock = Lock::take(&settings.run.join("supervisor.lock"))?;
    let leftover = lock.leftover;
    let machine = machine(settings.clone(), accounts, leftover).inspect_err(|_| withdraw(&settings.run, leftover))?;
    let programs = Program::all(&settings).into_iter();
    let members = programs
        .map(|program| Ok((program, place::notify(&settings.run, program, &machine.accounts)?)))
        .collect::<Result<_, Failure>>()?;
    raise_descriptors();
    // Orphans of the processes come to this one, which buries them.
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        warn(&format!("orphans of ended processes will not be buried here: {error}"));
    }
    let posture = culvert_sandbox::of("supervisor").expect("it is in the table");
    for warning in culvert_sandbox::enter(posture, &Scope::default())? {
        warn(&warning);
    }
    Ok(Supervisor::new(machine, lock, signals, members, ready))
}

/// What the processes are made from.
fn machine(settings: Settings, accounts: Accounts, leftover: bool) -> Result<Machine, Failure> {
    let sockets = Sockets::bind(&settings, &accounts, leftover)?;
    let (console, nowhere) = (netns::make(true)?, netns::make(false)?);
    Ok(Machine { settings, accounts, sockets, console, nowhere })
}

/// Removes the run folder again when nothing was started, and no predecessor left anything in it.
fn withdraw(run: &Path, leftover: bool) {
    if !leftover && let Err(error) = place::remove(run, true) {
        warn(&format!("the run folder {} was not removed: {error}", run.display()));
    }
}

/// Signals come as something to read.
fn signals() -> Result<SignalFd, Failure> {
    let set: SigSet = SIGNALS.into_iter().collect();
    let failed = |error: nix::Error| Failure::machine(format!("listening for signals: {error}"));
    set.thread_block().map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// Lets the processes have as many descriptors open as the machine allows: one per client of the console.
fn raise_descriptors() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        warn(&format!("the number of open files stays as it was: {error}"));
    }
}

/// What tells the one who started the supervisor that everything is up.
pub type Ready = Option<OwnedFd>;
