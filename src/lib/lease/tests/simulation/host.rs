//! A host.

use culvert_lease::Millis;

use crate::fault::Cut;
use crate::process::Process;

/// A host: its clock, and its process if it runs.
pub struct Host {
    pub life: u32,
    pub process: Option<Process>,
    /// What its clock shows at the beginning, and how many microseconds it shows in a second.
    pub beginning: Millis,
    pub speed: u64,
    pub frozen: Millis,
    pub cut: Option<Cut>,
    pub wake: Millis,
    /// Since when it has been out of contact, if it is; and when the last outage ended that it must have noticed.
    pub dark: Option<Millis>,
    pub dawn: Option<Millis>,
}

impl Host {
    pub fn local(&self, now: Millis) -> Millis {
        self.beginning + now * self.speed / 1_000_000
    }

    /// The first instant at which its clock shows this.
    pub fn instant(&self, local: Millis) -> Millis {
        (local.saturating_sub(self.beginning) * 1_000_000).div_ceil(self.speed)
    }
}
