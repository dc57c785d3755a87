//! The rule for the tun device that only the child sees: it can be written only once the device is there, in the child.

use std::os::fd::RawFd;

use nix::libc::{self, c_int};

/// The kernel's names: `LANDLOCK_ACCESS_FS_WRITE_FILE`, `_READ_FILE`, `_IOCTL_DEV` (from Linux 6.10 on).
const WRITE: u64 = 1 << 1;
const READ: u64 = 1 << 2;
const IOCTL: u64 = 1 << 15;

/// `LANDLOCK_RULE_PATH_BENEATH`.
const PATH_BENEATH: c_int = 1;

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    access: u64,
    parent: i32,
}

/// Adds the device to what a ruleset allows. Whether the kernel did; `errno` says why not.
pub(super) fn allow(ruleset: RawFd) -> bool {
    // SAFETY: a constant string; the structure is as the kernel defines it and valid for the calls.
    #[allow(unsafe_code)]
    unsafe {
        let parent = libc::open(c"/dev/net/tun".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        parent >= 0
            && [READ | WRITE | IOCTL, READ | WRITE].into_iter().any(|access| {
                let rule = Beneath { access, parent };
                libc::syscall(libc::SYS_landlock_add_rule, ruleset, PATH_BENEATH, &raw const rule, 0) == 0
            })
    }
}
