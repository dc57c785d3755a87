//! The time that leases on the embedded store last by: it runs on while the machine sleeps, never jumps, and begins
//! anew with each boot.

use nix::time::{ClockId, clock_gettime};
use std::io;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The clock of one boot.
#[derive(Debug, Clone)]
pub struct Clock {
    boot: String,
}

impl Clock {
    /// The clock of the boot that the machine is in.
    ///
    /// # Errors
    ///
    /// The kernel does not tell the boot's id.
    pub fn of_this_boot() -> io::Result<Self> {
        std::fs::read_to_string(BOOT_ID).map(|boot| Self { boot: boot.trim().into() })
    }

    /// The clock of a boot of this id, for tests.
    #[must_use]
    pub fn of_boot(id: &str) -> Self {
        Self { boot: id.into() }
    }

    /// The boot's id.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Milliseconds since the machine's boot.
    #[must_use]
    pub fn now(&self) -> i64 {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has this clock");
        now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000
    }
}
