//! A gate in front of exec: the child waits at it until its parent has written down that it exists. When the parent dies
//! before that, the child ends.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

use super::{bury, duplicated, outcome};
use crate::Error;
use crate::error::During;
use crate::pidfd::Process;

/// A child that waits in front of exec. Dropping it ends the child.
#[derive(Debug)]
pub struct Held {
    process: Option<Process>,
    gate: Option<OwnedFd>,
    report: Option<OwnedFd>,
    program: PathBuf,
}

impl Held {
    pub(super) fn new(process: Process, gate: OwnedFd, report: OwnedFd, program: PathBuf) -> Self {
        Self { process: Some(process), gate: Some(gate), report: Some(report), program }
    }

    /// The child.
    ///
    /// # Panics
    ///
    /// Never: only [`Held::release`] takes the process away, and `self` with it.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("a child that is held is there")
    }

    /// Lets the child go on. When this returns, the program itself runs.
    ///
    /// # Errors
    ///
    /// What failed on the way to the program; no process is left then.
    pub fn release(mut self) -> Result<Process, Error> {
        let doing = || format!("starting {}", self.program.display());
        let gone = || Error::other(doing(), "it was released before");
        let (gate, report) = (self.gate.take().ok_or_else(gone)?, self.report.take().ok_or_else(gone)?);
        nix::unistd::write(&gate, &[1]).during(doing)?;
        outcome(report, &self.program)?;
        self.process.take().ok_or_else(gone)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            bury(&process);
        }
    }
}

/// Both ends of a gate, from number `least` on: the child must be able to close the opener's end, which it inherits,
/// without closing anything that the program is to get.
pub(super) fn make(least: RawFd) -> Result<(OwnedFd, OwnedFd), Error> {
    let doing = || "making a gate for a program".to_owned();
    let (waits, opens) = nix::unistd::pipe2(OFlag::O_CLOEXEC).during(doing)?;
    let raise = |end: OwnedFd| fcntl(end.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(least)).map(duplicated);
    Ok((raise(waits).during(doing)?, raise(opens).during(doing)?))
}

/// In the child: waits until the gate is opened. Whether it was; it was not when the parent is gone.
pub(super) fn pass((waits, opens): (RawFd, RawFd)) -> bool {
    let mut byte = 0_u8;
    // SAFETY: the child's copy of the opener's end is nobody else's; one byte is valid for the read.
    #[allow(unsafe_code)]
    unsafe {
        libc::close(opens);
        loop {
            match libc::read(waits, (&raw mut byte).cast(), 1) {
                -1 if nix::errno::Errno::last_raw() == libc::EINTR => {}
                length => return length == 1,
            }
        }
    }
}
