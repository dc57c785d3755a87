//! OpenVPN as a process: without privileges, in a session and control group of its own, so that it outlives the helper.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use culvert_link::launch::{Held, Launch};
use culvert_link::tun;
use culvert_model::{Protocol, Slot};
use culvert_sandbox::{Launched, Scope};
use culvert_wire::helper::{Refusal, Start};
use nix::errno::Errno;

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

/// Why there is no tun device: a kernel without them is a case of its own.
pub fn no_device(error: culvert_link::Error) -> Failure {
    match error.number().map(Errno::from_raw) {
        Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => Failure::new(Refusal::NoTun, error.to_string()),
        _ => Failure::system("making the tunnel", error),
    }
}

/// What the process may do: the same whoever starts the helper.
fn sandbox(start: &Start, folder: &Path) -> Result<Launched, Failure> {
    let posture = culvert_sandbox::of("openvpn").expect("the table has openvpn's posture");
    let port = (start.protocol == Protocol::Tcp).then_some(start.port.get());
    let scope = Scope { instance: Some(folder), port, ..Scope::default() };
    let sandbox = culvert_sandbox::for_launch(posture, &scope).map_err(std::io::Error::other);
    let sandbox = sandbox.during("preparing openvpn's sandbox")?;
    sandbox.warnings.iter().for_each(|warning| eprintln!("openvpn: {warning}"));
    Ok(sandbox)
}

/// Prepares OpenVPN up to the point where it is executed. Its configuration is a descriptor, not a file: it is found
/// under number 3, by it alone, and ends with it. What it prints goes to `output`.
///
/// # Errors
///
/// When it can't be started; no process is left.
pub fn hold(
    start: &Start,
    configuration: OwnedFd,
    output: OwnedFd,
    cgroup: Option<&Path>,
    folder: &Path,
) -> Result<Held, Failure> {
    let owner = owner(start.slot);
    let sandbox = sandbox(start, folder)?;
    let members = cgroup.map(|path| OpenOptions::new().write(true).open(path.join("cgroup.procs"))).transpose();
    let members = members.during("opening the instance's control group")?;
    let mut launch = Launch::new(PROGRAM)
        .arguments(["--config", "/proc/self/fd/3"])
        .descriptor(1, output.as_fd())
        .descriptor(2, output.as_fd())
        .descriptor(3, configuration.as_fd())
        .user(owner, owner)
        .no_terminal()
        .private_tun();
    if start.port.get() < UNPRIVILEGED {
        launch = launch.low_ports();
    }
    if let Some(members) = &members {
        launch = launch.cgroup(members.as_fd());
    }
    if let Some(ruleset) = &sandbox.ruleset {
        launch = launch.landlock(ruleset.as_fd());
    }
    launch = launch.filter(sandbox.filter);
    launch.hold().during("starting openvpn")
}
