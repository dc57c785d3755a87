//! The folders, pipes and control groups of the instances.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use culvert_link::pidfd::Process;
use culvert_model::Slot;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::cgroup::Cgroups;
use crate::failure::{During, Failure};
use crate::record::{Folder, absent};

/// How long the kernel may take to end a process that was left in a control group.
const KILL: Duration = Duration::from_secs(1);

/// Where the instances' folders and control groups are.
#[derive(Debug)]
pub struct Places {
    folders: PathBuf,
    cgroups: Option<Cgroups>,
    /// The group that reaches the management sockets: `vpn`'s.
    group: u32,
}

impl Places {
    /// Under the run folder.
    ///
    /// # Errors
    ///
    /// When the instances' folder can't be made.
    pub fn new(run: &Path, group: u32) -> Result<Self, Failure> {
        let folders = run.join("instances");
        fs::create_dir_all(&folders).during("making the instances' folder")?;
        fs::set_permissions(&folders, Permissions::from_mode(0o755)).during("opening the instances' folder")?;
        Ok(Self { folders, cgroups: Cgroups::find(run), group })
    }

    /// Makes an instance's folder, where it makes the socket that `vpn` reaches.
    ///
    /// # Errors
    ///
    /// When it can't be made.
    pub fn make(&self, slot: Slot, owner: u32) -> Result<PathBuf, Failure> {
        let path = self.folder(slot);
        absent(fs::remove_dir_all(&path)).during("removing an old folder of the instance")?;
        DirBuilder::new().mode(0o700).create(&path).during("making the instance's folder")?;
        chown(&path, Some(owner), Some(self.group)).during("giving the instance its folder")?;
        fs::set_permissions(&path, Permissions::from_mode(0o710)).during("opening the instance's folder")?;
        Ok(path)
    }

    /// Makes the pipe that an instance prints into. Opened for reading too, so that it has a reader for as long as there
    /// is a writer, and never waits: nobody who reads slowly stops the tunnel, lines are lost instead.
    ///
    /// # Errors
    ///
    /// When it can't be made.
    pub fn make_output(&self, records: &Folder, slot: Slot) -> Result<OwnedFd, Failure> {
        let path = pipe(records, slot);
        absent(fs::remove_file(&path)).during("removing an old pipe of the instance")?;
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).during("making the instance's pipe")?;
        let file = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
        Ok(file.during("opening the instance's pipe")?.into())
    }

    /// The end for reading of what an instance prints.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn read_output(&self, records: &Folder, slot: Slot) -> Result<OwnedFd, Failure> {
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(pipe(records, slot));
        Ok(file.during("opening the instance's pipe")?.into())
    }

    /// Makes an instance's control group. `None` where there are none: the instance then shares the helper's.
    pub fn make_cgroup(&self, slot: Slot) -> Option<PathBuf> {
        let made = self.cgroups.as_ref()?.make(slot);
        made.inspect_err(|error| eprintln!("instance {slot} has no control group of its own: {error}")).ok()
    }

    /// Ends what is in an instance's control group, and removes the group.
    ///
    /// # Errors
    ///
    /// When a process stays.
    pub fn clear_cgroup(&self, slot: Slot) -> Result<(), Failure> {
        let Some(cgroups) = &self.cgroups else { return Ok(()) };
        for pid in cgroups.processes(slot) {
            // It may end by itself between any two of these calls.
            let Ok(process) = Process::open(pid) else { continue };
            if cgroups.processes(slot).contains(&pid) && process.signal(Signal::SIGKILL).is_ok() {
                process.wait(Instant::now() + KILL).during("waiting for a leftover process to end")?;
                let _ = process.bury();
            }
        }
        cgroups.remove(slot).during("removing the instance's control group")
    }

    /// Removes an instance's folder and pipe.
    ///
    /// # Errors
    ///
    /// When they can't be removed.
    pub fn clear(&self, records: &Folder, slot: Slot) -> Result<(), Failure> {
        absent(fs::remove_dir_all(self.folder(slot))).during("removing the instance's folder")?;
        absent(fs::remove_file(pipe(records, slot))).during("removing the instance's pipe")
    }

    /// Removes the empty rest.
    ///
    /// # Errors
    ///
    /// When something is in it.
    pub fn destroy(&self) -> Result<(), Failure> {
        absent(fs::remove_dir(&self.folders)).during("removing the instances' folder")?;
        let cgroups = self.cgroups.as_ref().map_or(Ok(()), Cgroups::destroy);
        cgroups.during("removing the control group")
    }

    fn folder(&self, slot: Slot) -> PathBuf {
        self.folders.join(slot.to_string())
    }
}

fn pipe(records: &Folder, slot: Slot) -> PathBuf {
    records.beside(slot, "log")
}
