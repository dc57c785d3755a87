//! Processes that are held by descriptor, so that no signal ever reaches another that got the same number.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::Error;
use crate::error::During;
use crate::packet::{own, readable};

/// What makes a process the same one: its number alone does not, since numbers come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine's start (`/proc/<pid>/stat`, field 22).
    pub start: u64,
    /// Which start of the machine it belongs to.
    pub boot: String,
    /// The inode of its pidfd: unique since the machine's start from Linux 6.9 on, one and the same for all before.
    pub inode: u64,
}

/// Why a recorded process was not taken over.
#[derive(Debug)]
pub enum Refusal {
    /// It is gone, or its number belongs to another now.
    Gone(&'static str),
    /// It could not be found out.
    Failed(Error),
}

/// A process.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    descriptor: OwnedFd,
}

impl Process {
    /// Holds the process that has this number now.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn open(pid: i32) -> Result<Self, Error> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        #[allow(unsafe_code)]
        let number = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let number = nix::errno::Errno::result(number).during(|| format!("opening process {pid}"))?;
        let number = RawFd::try_from(number).map_err(|_| Error::other("opening a process", "no descriptor"))?;
        Ok(Self { pid, descriptor: own(number) })
    }

    /// Takes over a process that was recorded earlier, if it still is that one and, where a cgroup is given, belongs to
    /// it. All is read after the descriptor was opened, so that a number that comes again is noticed.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when it is not.
    pub fn adopt(recorded: &Identity, cgroup: Option<&Path>) -> Result<Self, Refusal> {
        if boot_id().map_err(Refusal::Failed)? != recorded.boot {
            return Err(Refusal::Gone("the machine has been started since"));
        }
        let process = Self::open(recorded.pid).map_err(|_| Refusal::Gone("no process has its number"))?;
        if !process.alive() {
            return Err(Refusal::Gone("it has exited"));
        }
        let now = process.identity().map_err(Refusal::Failed)?;
        if now.start != recorded.start || now.inode != recorded.inode {
            return Err(Refusal::Gone("another process has its number"));
        }
        match cgroup.map(|cgroup| member(cgroup, recorded.pid)).transpose().map_err(Refusal::Failed)? {
            Some(false) => Err(Refusal::Gone("it is not in its cgroup")),
            _ => Ok(process),
        }
    }

    /// What makes it the same one later.
    ///
    /// # Errors
    ///
    /// When it is gone.
    pub fn identity(&self) -> Result<Identity, Error> {
        let start = start_time(self.pid)?;
        let status = nix::sys::stat::fstat(&self.descriptor).during(|| format!("looking at process {}", self.pid))?;
        Ok(Identity { pid: self.pid, start, boot: boot_id()?, inode: status.st_ino })
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has not exited. One that has, and that its parent has not buried yet, is not alive.
    #[must_use]
    pub fn alive(&self) -> bool {
        // With a deadline in the past this is a question that does not wait.
        matches!(readable(self.descriptor.as_fd(), Instant::now()), Err(error) if error.kind() == io::ErrorKind::TimedOut)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// When it is gone, or is not ours to signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        let number = self.descriptor.as_raw_fd();
        // SAFETY: the descriptor is open; the pointer to the signal's information may be null; nothing is written.
        #[allow(unsafe_code)]
        let result = unsafe {
            let nothing = std::ptr::null::<nix::libc::siginfo_t>();
            nix::libc::syscall(nix::libc::SYS_pidfd_send_signal, number, signal as i32, nothing, 0)
        };
        nix::errno::Errno::result(result).during(|| format!("sending {signal} to process {}", self.pid))?;
        Ok(())
    }

    /// Waits until it has exited. Whether it has, at the deadline.
    ///
    /// # Errors
    ///
    /// When waiting fails.
    pub fn wait(&self, deadline: Instant) -> io::Result<bool> {
        match readable(self.descriptor.as_fd(), deadline) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Buries a child that has exited: how it ended, or `None` when it has not, or is no child of this process.
    #[must_use]
    pub fn bury(&self) -> Option<WaitStatus> {
        match waitid(Id::PIDFd(self.descriptor.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::StillAlive) | Err(_) => None,
            Ok(status) => Some(status),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Which start of the machine this is.
///
/// # Errors
///
/// When `/proc` is not there.
pub fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(std::fs::read_to_string(path).during(|| format!("reading {path}"))?.trim().to_owned())
}

/// When a process started, in clock ticks since the machine's start.
///
/// # Errors
///
/// When there is no such process.
pub fn start_time(pid: i32) -> Result<u64, Error> {
    let fields = fields(pid)?;
    let value = fields.get(19).and_then(|text| text.parse().ok());
    value.ok_or_else(|| Error::other(format!("reading /proc/{pid}/stat"), "it has no start time"))
}

/// The letter of a process's state: `R`, `S`, `D`, `T` (stopped), `Z`.
///
/// # Errors
///
/// When there is no such process.
pub fn state(pid: i32) -> Result<char, Error> {
    let state = fields(pid)?.first().and_then(|text| text.chars().next());
    state.ok_or_else(|| Error::other(format!("reading /proc/{pid}/stat"), "it has no state"))
}

/// The fields of `/proc/<pid>/stat` from the third on: the second is a name in brackets that may contain anything.
fn fields(pid: i32) -> Result<Vec<String>, Error> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).during(|| format!("reading {path}"))?;
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

/// Whether a process is in a cgroup.
fn member(cgroup: &Path, pid: i32) -> Result<bool, Error> {
    let path = cgroup.join("cgroup.procs");
    let text = std::fs::read_to_string(&path).during(|| format!("reading {}", path.display()))?;
    Ok(text.lines().any(|line| line.parse() == Ok(pid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};
    use std::time::Duration;

    fn sleeper() -> Child {
        Command::new("/bin/sleep").arg("60").spawn().expect("sleep starts")
    }

    #[test]
    fn a_process_is_adopted_only_as_itself() {
        let mut child = sleeper();
        let process = Process::open(child.id().cast_signed()).expect("it is there");
        let identity = process.identity().expect("it is alive");
        assert_eq!(Process::adopt(&identity, None).expect("the same").pid(), identity.pid);
        let other_start = Identity { start: identity.start + 1, ..identity.clone() };
        assert!(matches!(Process::adopt(&other_start, None), Err(Refusal::Gone(_))));
        let other_boot = Identity { boot: "another".into(), ..identity.clone() };
        assert!(matches!(Process::adopt(&other_boot, None), Err(Refusal::Gone(_))));
        let other_process = Identity { pid: std::process::id().cast_signed(), ..identity.clone() };
        assert!(matches!(Process::adopt(&other_process, None), Err(Refusal::Gone(_))));
        process.signal(Signal::SIGKILL).expect("killed");
        assert!(process.wait(Instant::now() + Duration::from_secs(5)).expect("waiting"));
        // A zombie still has its start time: only the descriptor tells that it is dead.
        assert_eq!(start_time(identity.pid).expect("a zombie"), identity.start);
        assert!(matches!(Process::adopt(&identity, None), Err(Refusal::Gone(_))));
        child.wait().expect("buried");
    }

    #[test]
    fn a_child_is_buried_once() {
        let mut child = sleeper();
        let process = Process::open(child.id().cast_signed()).expect("it is there");
        assert!(process.alive());
        assert!(process.bury().is_none());
        process.signal(Signal::SIGTERM).expect("ended");
        assert!(process.wait(Instant::now() + Duration::from_secs(5)).expect("waiting"));
        assert!(matches!(process.bury(), Some(WaitStatus::Signaled(_, Signal::SIGTERM, _))));
        assert!(process.bury().is_none());
        assert!(process.signal(Signal::SIGTERM).is_err());
        assert!(child.wait().is_err(), "it is buried");
    }

    #[test]
    fn a_stopped_process_is_told_apart() {
        let mut child = sleeper();
        let process = Process::open(child.id().cast_signed()).expect("it is there");
        process.signal(Signal::SIGSTOP).expect("stopped");
        let deadline = Instant::now() + Duration::from_secs(5);
        while state(process.pid()).expect("its state") != 'T' {
            assert!(Instant::now() < deadline, "it never stopped");
            std::thread::yield_now();
        }
        process.signal(Signal::SIGKILL).expect("killed");
        child.wait().expect("buried");
    }
}
