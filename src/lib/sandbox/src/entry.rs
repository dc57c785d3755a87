//! The way into a sandbox: for this process, or prepared for one that is about to be started.

use std::os::fd::OwnedFd;

use caps::{CapSet, CapsHashSet};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::posture::{Posture, Scope};
use crate::{Error, filter, paths};

/// Confines this process for good, and all that it starts. What the kernel could not do although it should is returned,
/// a line each, to be logged.
///
/// # Errors
///
/// When the process is not confined as the posture says. It must not go on then.
pub fn enter(posture: &Posture, scope: &Scope<'_>) -> Result<Vec<String>, Error> {
    alone()?;
    no_dumps()?;
    capabilities(posture)?;
    nix::sys::prctl::set_no_new_privs().map_err(|error| Error::new("forbidding new privileges", error))?;
    let warnings = match paths::ruleset(posture, scope)? {
        None => Vec::new(),
        Some((rules, warnings)) => {
            rules.restrict_self().map_err(|error| Error::new("confining the file system", error))?;
            warnings
        }
    };
    let program = filter::program(posture, Some(std::process::id()))?;
    seccompiler::apply_filter(&program).map_err(|error| Error::new("confining the system calls", error))?;
    Ok(warnings)
}

/// Forbids core dumps: keys are in memory. Neither would the limit 0 do, which does not count where dumps go to a program
/// (`core_pattern` begins with `|`), but 1 does there, too; nor would the limit alone, since whoever is dumpable may also be
/// traced by another process of its user.
fn no_dumps() -> Result<(), Error> {
    let failed = |error| Error::new("forbidding core dumps", error);
    setrlimit(Resource::RLIMIT_CORE, 1, 1).map_err(failed)?;
    nix::sys::prctl::set_dumpable(false).map_err(failed)
}

/// What the one who starts a program applies to it between fork and exec.
#[derive(Debug)]
pub struct Launched {
    /// The seccomp filter.
    pub filter: Vec<libc::sock_filter>,
    /// The landlock ruleset.
    pub ruleset: Option<OwnedFd>,
    /// What the kernel could not do although it should, a line each.
    pub warnings: Vec<String>,
}

/// Prepares a posture for a program that is about to be started. Its capabilities are the starter's to drop.
///
/// # Errors
///
/// When it cannot be prepared. The program must not be started then.
pub fn for_launch(posture: &Posture, scope: &Scope<'_>) -> Result<Launched, Error> {
    let instruction =
        |one: seccompiler::sock_filter| libc::sock_filter { code: one.code, jt: one.jt, jf: one.jf, k: one.k };
    let filter = filter::program(posture, None)?.into_iter().map(instruction).collect();
    let (ruleset, warnings) = match paths::ruleset(posture, scope)? {
        None => (None, Vec::new()),
        Some((rules, warnings)) => (rules.into(), warnings),
    };
    if posture.files.is_some() && ruleset.is_none() {
        return Err(Error::new("confining the file system", "there is no ruleset"));
    }
    Ok(Launched { filter, ruleset, warnings })
}

/// Refuses when there is more than one thread: the others would stay outside.
fn alone() -> Result<(), Error> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(|error| Error::new("counting threads", error))?;
    match tasks.count() {
        1 => Ok(()),
        more => Err(Error::new("entering the sandbox", format!("there are {more} threads already"))),
    }
}

/// Keeps the posture's capabilities, as far as the process has them, and no other, in every set.
fn capabilities(posture: &Posture) -> Result<(), Error> {
    let failed = |error: caps::errors::CapsError| Error::new("dropping capabilities", error);
    let wanted: CapsHashSet = posture.capabilities.iter().copied().collect();
    // The bounding set first: changing it takes a capability that the process may be about to lose.
    for capability in caps::read(None, CapSet::Bounding).map_err(failed)?.difference(&wanted) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    let kept: CapsHashSet =
        caps::read(None, CapSet::Permitted).map_err(failed)?.intersection(&wanted).copied().collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(failed)?;
    }
    caps::clear(None, CapSet::Inheritable).map_err(failed)
}
