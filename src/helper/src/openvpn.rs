//! OpenVPN as a process: without privileges, in a session and control group of its own, so that it outlives the helper.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use culvert_link::launch::Launch;
use culvert_link::pidfd::Process;
use culvert_link::tun;
use culvert_model::Slot;
use culvert_wire::helper::{Refusal, Start};

use crate::failure::{During, Failure};

/// Where OpenVPN is.
const PROGRAM: &str = "/usr/sbin/openvpn";

/// The user of slot 0; each slot has its own, so that no instance can signal or trace another.
const FIRST_OWNER: u32 = 1_900_000_000;

/// The first port that needs no privilege.
const UNPRIVILEGED: u16 = 1024;

/// The user, and group, that an instance runs as.
pub fn owner(slot: Slot) -> u32 {
    FIRST_OWNER + u32::from(slot.get())
}

/// The name of an instance's tun device.
pub fn device(slot: Slot) -> String {
    format!("culvert{slot}")
}

/// Refuses when a machine has no OpenVPN or no tun devices.
///
/// # Errors
///
/// [`Refusal::NoOpenvpn`] or [`Refusal::NoTun`].
pub fn present() -> Result<(), Failure> {
    let there = |path: &str, refusal| {
        let missing = || Failure::new(refusal, format!("{path} is not there"));
        Path::new(path).exists().then_some(()).ok_or_else(missing)
    };
    there(PROGRAM, Refusal::NoOpenvpn)?;
    there(tun::NODE, Refusal::NoTun)
}

/// Starts OpenVPN. Its configuration is a descriptor, not a file: it is found under number 3, by it alone, and ends with
/// it. What it prints goes to `output`.
///
/// # Errors
///
/// When it can't be started; no process is left.
pub fn start(
    start: &Start,
    configuration: OwnedFd,
    output: OwnedFd,
    cgroup: Option<&Path>,
) -> Result<Process, Failure> {
    let owner = owner(start.slot);
    let members = cgroup.map(|path| OpenOptions::new().write(true).open(path.join("cgroup.procs"))).transpose();
    let members = members.during("opening the instance's control group")?;
    let mut launch = Launch::new(PROGRAM)
        .arguments(["--config", "/proc/self/fd/3"])
        .descriptor(1, output.as_fd())
        .descriptor(2, output.as_fd())
        .descriptor(3, configuration.as_fd())
        .user(owner, owner)
        .session()
        .private_tun();
    if start.port.get() < UNPRIVILEGED {
        launch = launch.low_ports();
    }
    if let Some(members) = &members {
        launch = launch.cgroup(members.as_fd());
    }
    launch.start().during("starting openvpn")
}
