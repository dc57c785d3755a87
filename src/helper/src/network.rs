//! One helper in a network: two would take each other's rules and tunnels away, again and again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

/// How long a predecessor that is being killed may take to let go.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is tried meanwhile: the kernel tells nobody without a wait that has no end.
const AGAIN: Duration = Duration::from_millis(20);

/// The right to make tunnels and rules in this network namespace. It is held as long as this is.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _file: Flock<File>,
}

impl Claim {
    /// Takes it.
    ///
    /// # Errors
    ///
    /// That another appliance has it, for people.
    pub fn take() -> Result<Self, String> {
        let network = fs::metadata("/proc/self/ns/net");
        let network = network.map_err(|error| format!("looking at the network namespace: {error}"))?.ino();
        Self::of(PathBuf::from(format!("/run/culvert.network-{network}")), Instant::now() + PATIENCE)
    }

    fn of(path: PathBuf, deadline: Instant) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        loop {
            let mut open = OpenOptions::new();
            let open = open
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlag::O_NOFOLLOW.bits());
            match Flock::lock(open.open(&path).map_err(failed)?, FlockArg::LockExclusiveNonblock) {
                Ok(file) if same(&file, &path) => {
                    sign(&file).map_err(failed)?;
                    return Ok(Self { path, _file: file });
                }
                // One who had it has removed the file meanwhile.
                Ok(_) => {}
                Err((_, Errno::EWOULDBLOCK)) if Instant::now() < deadline => std::thread::sleep(AGAIN),
                Err((_, Errno::EWOULDBLOCK)) => {
                    let holder = fs::read_to_string(&path).unwrap_or_default();
                    return Err(format!(
                        "another appliance runs in this network (its helper is process {}): each would take the other's \
                         rules and tunnels away; end that one first",
                        holder.trim()
                    ));
                }
                Err((_, error)) => return Err(failed(error.into())),
            }
        }
    }

    /// Gives it up for good.
    pub fn remove(self) {
        // Whoever finds the file takes it over all the same.
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes down who has it.
fn sign(mut file: &File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

/// Whether a path still names a file.
fn same(file: &File, path: &Path) -> bool {
    let named = fs::metadata(path).map(|found| found.ino());
    named.is_ok_and(|named| file.metadata().is_ok_and(|own| own.ino() == named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_next_takes_it_over() {
        let path = std::env::temp_dir().join(format!("culvert-network-{}", std::process::id()));
        let take = || Claim::of(path.clone(), Instant::now());
        let first = take().expect("nobody has it");
        let text = take().expect_err("it is taken");
        assert!(text.contains(&format!("process {})", std::process::id())), "{text}");
        drop(first);
        take().expect("the one before ended").remove();
        assert!(!path.exists());
    }
}
