//! One supervisor per run folder.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use culvert_link::pidfd::{self, Process};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use crate::failure::Failure;

/// How often it is tried to lock a file that was not removed meanwhile.
const ATTEMPTS: u8 = 5;

/// How long a frozen predecessor may take to die.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a process may take from being told to stop until it is stopped, and how often that is looked at.
const STOPPING: Duration = Duration::from_millis(200);
const AGAIN: Duration = Duration::from_millis(20);

/// The lock. It is held as long as this is.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
    /// Whether a supervisor was here before that did not clean up.
    pub leftover: bool,
}

impl Lock {
    /// Takes the lock. From a predecessor that is stopped, and so will never let it go, it is taken by killing that one.
    pub fn take(path: &Path) -> Result<Self, Failure> {
        let doing = |error: &dyn std::fmt::Display| Failure::machine(format!("locking {}: {error}", path.display()));
        // A predecessor that ends cleanly removes the file: then what was locked here is nobody's any more.
        for _ in 0..ATTEMPTS {
            let lock = Self::take_once(path, &doing)?;
            let named = std::fs::metadata(path).map(|meta| meta.ino());
            let locked = lock.file.metadata().map(|meta| meta.ino());
            if named.is_ok_and(|named| locked.is_ok_and(|locked| named == locked)) {
                return Ok(lock);
            }
        }
        Err(doing(&"another one takes and leaves it all the time"))
    }

    fn take_once(path: &Path, doing: &dyn Fn(&dyn std::fmt::Display) -> Failure) -> Result<Self, Failure> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = open.map_err(|error| doing(&error))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| doing(&error))?;
        let before = text.trim().parse().ok();
        let mut locked = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => locked,
            Err((file, Errno::EWOULDBLOCK)) => take_over(file, before)?,
            Err((_, error)) => return Err(doing(&error)),
        };
        let own = std::process::id();
        let write = locked.set_len(0).and_then(|()| locked.rewind()).and_then(|()| writeln!(locked, "{own}"));
        write.map_err(|error| doing(&error))?;
        Ok(Self { file: locked, leftover: before.is_some() })
    }
}

/// Takes the lock from a holder that is stopped.
fn take_over(file: File, holder: Option<i32>) -> Result<Flock<File>, Failure> {
    let pid = holder.ok_or_else(|| Failure::machine("another one is being started right now; wait for it"))?;
    let running = || Failure::machine(format!("already running as process {pid} (end it with: kill {pid})"));
    let process = Process::open(pid).map_err(|_| running())?;
    // Read after the process is held, so that it is that one's state and not a later one's.
    if !stopped(pid) {
        return Err(running());
    }
    process.signal(Signal::SIGKILL)?;
    if !process.wait(Instant::now() + DEADLINE).unwrap_or(false) {
        return Err(Failure::machine(format!(
            "the one that is running hangs as process {pid}, and does not even end when it is killed"
        )));
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| running())
}

/// Whether a process is stopped. One that was told to stop just now is so only when it next runs, and nothing tells when.
fn stopped(pid: i32) -> bool {
    let deadline = Instant::now() + STOPPING;
    while !matches!(pidfd::state(pid), Ok('T' | 't')) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(AGAIN);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_names_its_holder() {
        let path = std::env::temp_dir().join(format!("supervisortest-lock-{}", std::process::id()));
        let first = Lock::take(&path).expect("nobody holds it");
        assert!(!first.leftover);
        let failure = Lock::take(&path).expect_err("it is held").to_string();
        assert!(failure.contains(&format!("already running as process {}", std::process::id())), "{failure}");
        drop(first);
        assert!(Lock::take(&path).expect("nobody holds it").leftover);
        std::fs::remove_file(&path).expect("removed");
    }
}
