//! Starting a program with exactly what it is given: descriptors, user, namespaces, sandbox; nothing is inherited by
//! accident.
//!
//! Everything is prepared before the fork ([`plan`]); between fork and exec only system calls are made ([`child`]), since
//! the process may have threads. What fails there comes back through a pipe that exec closes.

mod child;
mod device;
mod gate;
mod plan;

pub use gate::Held;

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::error::During;
use crate::packet::readable;
use crate::pidfd::Process;
use crate::{Error, inherited};

/// One instruction of a seccomp filter.
pub type Instruction = nix::libc::sock_filter;

/// How long the way from fork to exec may take: it makes a few dozen system calls.
const DEADLINE: Duration = Duration::from_secs(5);

/// A program that is to be started.
#[derive(Debug)]
pub struct Launch<'a> {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    descriptors: Vec<(RawFd, BorrowedFd<'a>)>,
    listening: Vec<(String, BorrowedFd<'a>)>,
    user: Option<(u32, u32)>,
    low_ports: bool,
    no_terminal: bool,
    die_with_parent: bool,
    private_tun: bool,
    cgroup: Option<BorrowedFd<'a>>,
    network: Option<BorrowedFd<'a>>,
    landlock: Option<BorrowedFd<'a>>,
    filter: Vec<Instruction>,
}

impl<'a> Launch<'a> {
    /// The program at an absolute path, with an empty environment, `/` as its folder and the umask 077. It inherits
    /// standard output and error unless told otherwise; its standard input is `/dev/null`.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            descriptors: Vec::new(),
            listening: Vec::new(),
            user: None,
            low_ports: false,
            no_terminal: false,
            die_with_parent: false,
            private_tun: false,
            cgroup: None,
            network: None,
            landlock: None,
            filter: Vec::new(),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A descriptor that it finds under this number.
    #[must_use]
    pub fn descriptor(mut self, number: RawFd, descriptor: BorrowedFd<'a>) -> Self {
        self.descriptors.push((number, descriptor));
        self
    }

    /// A descriptor that it finds by name, through `LISTEN_FDS` and `LISTEN_FDNAMES`: the first is number 3. Not to be
    /// mixed with [`Launch::descriptor`] from 3 on.
    #[must_use]
    pub fn listening(mut self, name: impl Into<String>, descriptor: BorrowedFd<'a>) -> Self {
        self.listening.push((name.into(), descriptor));
        self
    }

    /// Runs it as this user and group, without supplementary groups, without any capability, never to gain one again, and
    /// without core dumps. Without this call it keeps the caller's user and capabilities.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.user = Some((uid, gid));
        self
    }

    /// Leaves it one capability: to bind ports below 1024.
    #[must_use]
    pub fn low_ports(mut self) -> Self {
        self.low_ports = true;
        self
    }

    /// Takes the terminal away, and gives it a process group of its own: no Ctrl-C reaches it.
    #[must_use]
    pub fn no_terminal(mut self) -> Self {
        self.no_terminal = true;
        self
    }

    /// Has the kernel kill it when the calling thread ends, however it ends.
    #[must_use]
    pub fn die_with_parent(mut self) -> Self {
        self.die_with_parent = true;
        self
    }

    /// Shows it a `/dev/net` of its own with a `tun` in it that its user may open. Needs [`Launch::user`].
    #[must_use]
    pub fn private_tun(mut self) -> Self {
        self.private_tun = true;
        self
    }

    /// Moves it into the cgroup whose `cgroup.procs` is open for writing here.
    #[must_use]
    pub fn cgroup(mut self, procs: BorrowedFd<'a>) -> Self {
        self.cgroup = Some(procs);
        self
    }

    /// Starts it in this network namespace.
    #[must_use]
    pub fn network(mut self, namespace: BorrowedFd<'a>) -> Self {
        self.network = Some(namespace);
        self
    }

    /// Confines it by this landlock ruleset, which must let the program itself be executed.
    #[must_use]
    pub fn landlock(mut self, ruleset: BorrowedFd<'a>) -> Self {
        self.landlock = Some(ruleset);
        self
    }

    /// Confines it by this seccomp filter, which must let `execve` through.
    #[must_use]
    pub fn filter(mut self, filter: Vec<Instruction>) -> Self {
        self.filter = filter;
        self
    }

    /// Starts it. When this returns, the program itself runs. With [`Launch::die_with_parent`] the calling thread must be
    /// one that stays.
    ///
    /// # Errors
    ///
    /// What failed on the way to the program; no process is left then.
    pub fn start(self) -> Result<Process, Error> {
        let program = self.program.clone();
        let (process, report) = fork(plan::Plan::new(self)?, &program)?;
        outcome(report, &program).inspect_err(|_| bury(&process))?;
        Ok(process)
    }

    /// Starts it, but has it wait in front of exec, with nothing left to do but to be confined: for a caller who must
    /// write down that the process exists before the program runs.
    ///
    /// # Errors
    ///
    /// What failed so far; no process is left then.
    pub fn hold(self) -> Result<Held, Error> {
        let program = self.program.clone();
        let mut plan = plan::Plan::new(self)?;
        let (waits, opens) = gate::make(plan.end)?;
        plan.gate = Some((waits.as_raw_fd(), opens.as_raw_fd()));
        let (process, report) = fork(plan, &program)?;
        Ok(Held::new(process, opens, report, program))
    }
}

/// Makes the child. What it reports comes through the descriptor.
fn fork(mut plan: plan::Plan, program: &Path) -> Result<(Process, OwnedFd), Error> {
    let doing = || format!("starting {}", program.display());
    let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).during(doing)?;
    plan.raise_report(theirs.as_fd())?;
    let mut before = SigSet::empty();
    // No handler of this process may run in the child: signals wait until their handlers are gone there.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before)).during(doing)?;
    // SAFETY: the child calls `child::run`, which makes system calls only, allocates nothing and never returns.
    #[allow(unsafe_code)]
    let pid = unsafe { nix::libc::fork() };
    if pid == 0 {
        child::run(&mut plan);
    }
    let restored = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let pid = nix::errno::Errno::result(pid).during(doing)?;
    let process = Process::open(pid)?;
    // Both writing ends of this process: only the child's is left, and exec closes it.
    drop((theirs, plan));
    restored.during(doing)?;
    Ok((process, ours))
}

/// What the child reports: nothing when exec has closed the pipe, else which step failed and why.
fn outcome(pipe: OwnedFd, program: &Path) -> Result<(), Error> {
    let doing = || format!("starting {}", program.display());
    readable(pipe.as_fd(), Instant::now() + DEADLINE).during(doing)?;
    let mut report = Vec::new();
    std::fs::File::from(pipe).read_to_end(&mut report).during(doing)?;
    match report.as_slice() {
        [] => Ok(()),
        [step, rest @ ..] => {
            let number = rest.try_into().map(i32::from_ne_bytes).unwrap_or_default();
            let step = child::STEPS.get(usize::from(*step)).unwrap_or(&"taking an unknown step");
            let doing = format!("starting {}: {step}", program.display());
            Err(Error::new(doing, std::io::Error::from_raw_os_error(number)))
        }
    }
}

/// Ends and buries a child that did not become the program.
fn bury(process: &Process) {
    // Both fail only when it is gone already, which is what is wanted.
    let _ = process.signal(Signal::SIGKILL);
    let _ = process.wait(Instant::now() + DEADLINE);
    let _ = process.bury();
}

/// Text without a NUL.
fn text(value: impl Into<Vec<u8>>) -> Result<CString, Error> {
    CString::new(value).map_err(|_| Error::other("preparing a program", "an argument contains a NUL byte"))
}

/// Takes over a descriptor that `fcntl` has just duplicated.
fn duplicated(number: RawFd) -> OwnedFd {
    // SAFETY: F_DUPFD_CLOEXEC has just made it, so it is open and nobody else owns it.
    #[allow(unsafe_code)]
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}

/// The number that follows the highest one that the program gets.
fn end(numbers: impl Iterator<Item = RawFd>) -> RawFd {
    numbers.max().map_or(inherited::FIRST, |highest| (highest + 1).max(inherited::FIRST))
}
