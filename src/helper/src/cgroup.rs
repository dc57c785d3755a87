//! A control group of its own for each instance: what ends the helper's group does not end OpenVPN, and what is in the
//! group is the instance's, whoever remembers it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use culvert_model::Slot;
use nix::libc::pid_t;

use crate::record::absent;

/// Where the instances' control groups are, on a machine that has the unified hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroups(PathBuf);

impl Cgroups {
    /// Under the unified hierarchy, in a group that has the run folder's name: `culvert`, or, for another state folder,
    /// `culvert-<hash>`.
    pub fn find(run: &Path) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        Some(Self(unified(&mounts)?.join(run.file_name()?)))
    }

    /// Makes an instance's group, if it can be made: without one, an instance runs in the helper's.
    pub fn make(&self, slot: Slot) -> io::Result<PathBuf> {
        let path = self.path(slot);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// The processes in an instance's group.
    pub fn processes(&self, slot: Slot) -> Vec<pid_t> {
        processes(&self.path(slot))
    }

    /// Removes an instance's group. It must be empty.
    ///
    /// # Errors
    ///
    /// When a process is in it.
    pub fn remove(&self, slot: Slot) -> io::Result<()> {
        absent(fs::remove_dir(self.path(slot)))
    }

    /// Removes the group of all instances.
    ///
    /// # Errors
    ///
    /// When an instance is in it.
    pub fn destroy(&self) -> io::Result<()> {
        absent(fs::remove_dir(&self.0))
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.0.join(slot.to_string())
    }
}

/// The processes in the group at `path`; none if it is not there.
pub fn processes(path: &Path) -> Vec<pid_t> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Where the unified hierarchy is mounted, out of `/proc/self/mountinfo` (proc(5)): the fifth field of the line that has
/// the file system's type behind the separator.
fn unified(mounts: &str) -> Option<&Path> {
    fn mount(line: &str) -> Option<&str> {
        let (fields, kind) = line.split_once(" - ")?;
        let point = fields.split(' ').nth(4)?;
        (kind.split(' ').next() == Some("cgroup2")).then_some(point)
    }
    mounts.lines().find_map(mount).map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_hierarchy_is_found() {
        let hybrid = "23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n\
                      40 31 0:37 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,name=systemd\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw\n";
        assert_eq!(unified(hybrid), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(unified("23 27 0:22 / /cgroup2 rw - sysfs cgroup2 rw\n"), None);
    }
}
