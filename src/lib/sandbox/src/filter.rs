//! From a posture to a seccomp filter: which calls, and with which arguments.

use std::collections::BTreeMap;

use nix::libc::{self, c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::posture::{Calls, Family, Posture};
use crate::{Error, calls};

/// On x86-64 the same kernel may offer every call a second time under this bit; a list of what is forbidden must name
/// those, too.
#[cfg(target_arch = "x86_64")]
const SECOND_SET: c_long = 0x4000_0000;

/// Calls that have another number in the second set: ptrace, kexec_load, process_vm_readv, process_vm_writev.
#[cfg(target_arch = "x86_64")]
const SECOND_ONLY: [c_long; 4] = [521, 528, 539, 540];

/// `ioctl`'s number in the second set.
#[cfg(target_arch = "x86_64")]
const SECOND_IOCTL: c_long = 514;

/// Types into a terminal, among other things (`linux/tiocl.h`).
const TIOCLINUX: u64 = 0x541c;

/// All flags of `clone` that make namespaces.
const NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// What the event loop and the standard library ask of descriptors: to be non-blocking, to be closed by exec, whether
/// they are a terminal, how much there is to read.
const IOCTLS: [u64; 4] = [libc::FIONBIO, libc::FIOCLEX, libc::TCGETS, libc::FIONREAD];

/// What openvpn asks of its tun device and of interfaces.
const TUN_IOCTLS: [u64; 10] = [
    libc::TUNSETIFF,
    libc::TUNGETIFF,
    libc::SIOCGIFCONF,
    libc::SIOCGIFINDEX,
    libc::SIOCGIFNAME,
    libc::SIOCGIFHWADDR,
    libc::SIOCGIFMTU,
    libc::SIOCGIFFLAGS,
    libc::SIOCGIFADDR,
    libc::SIOCGIFNETMASK,
];

/// What is asked of the kernel about the process itself; openvpn's libraries look at its capabilities.
const PRCTLS: [c_int; 6] = [
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_SECUREBITS,
    libc::PR_GET_NO_NEW_PRIVS,
];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filter of a posture. `own` is the number of the process that it is for; only that may be signalled. With `None`
/// it may signal nobody.
pub(crate) fn program(posture: &Posture, own: Option<u32>) -> Result<BpfProgram, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new("making the filter of system calls", error);
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(&error))?;
    let refused = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = match posture.calls {
        // A call that is not listed looks as if the kernel did not know it: libraries then take an older way.
        Calls::Only(groups) => SeccompFilter::new(only(posture, groups, own)?, refused, SeccompAction::Allow, arch),
        Calls::AllBut(groups) => SeccompFilter::new(all_but(posture, groups)?, SeccompAction::Allow, refused, arch),
    };
    filter.and_then(BpfProgram::try_from).map_err(|error| failed(&error))
}

/// What may be called.
fn only(posture: &Posture, groups: &[&calls::Group], own: Option<u32>) -> Result<Rules, Error> {
    let mut rules = Rules::new();
    let tun = groups.iter().any(|group| group.calls.contains(&libc::SYS_execve));
    for call in groups.iter().flat_map(|group| group.calls) {
        rules.insert(*call, conditions(*call, posture, own, tun)?);
    }
    // Nobody may be signalled where there is no process to name.
    if own.is_none() {
        rules.remove(&libc::SYS_tgkill);
    }
    Ok(rules)
}

/// What the arguments of a call may be. None: anything.
fn conditions(call: c_long, posture: &Posture, own: Option<u32>, tun: bool) -> Result<Vec<SeccompRule>, Error> {
    let any_of = |place, values: &[u64]| values.iter().map(|value| rule(vec![equal(place, *value)?])).collect();
    match call {
        libc::SYS_socket => posture.families.iter().map(|one| rule(vec![equal(0, family(*one))?])).collect(),
        libc::SYS_socketpair => any_of(0, &[family(Family::Unix)]),
        // Threads only: neither processes nor namespaces.
        libc::SYS_clone => {
            let (thread, all) = (bits(libc::CLONE_THREAD), bits(libc::CLONE_THREAD | NAMESPACES));
            Ok(vec![rule(vec![condition(0, SeccompCmpOp::MaskedEq(all), thread)?])?])
        }
        // Nothing that was ever writable becomes executable; only a program that is being loaded maps files so.
        libc::SYS_mmap if tun => {
            let both = bits(libc::PROT_EXEC | libc::PROT_WRITE);
            let executable = condition(2, SeccompCmpOp::MaskedEq(both), bits(libc::PROT_EXEC))?;
            Ok(vec![rule(vec![not_executable()?])?, rule(vec![executable])?])
        }
        libc::SYS_mmap | libc::SYS_mprotect => Ok(vec![rule(vec![not_executable()?])?]),
        libc::SYS_ioctl if tun => any_of(1, &[IOCTLS.as_slice(), &TUN_IOCTLS].concat()),
        libc::SYS_ioctl => any_of(1, &IOCTLS),
        // A thread's name, and questions about itself.
        libc::SYS_prctl => any_of(0, &PRCTLS.map(bits)),
        // Limits are read, not set. This one is a pointer: a lower half that is zero says nothing.
        libc::SYS_prlimit64 => Ok(vec![rule(vec![nothing(2)?])?]),
        // Its own policy, not others', and the last.
        libc::SYS_sched_setscheduler => Ok(vec![rule(vec![equal(0, 0)?, equal(1, bits(libc::SCHED_IDLE))?])?]),
        libc::SYS_tgkill => any_of(0, &[u64::from(own.unwrap_or_default())]),
        _ => Ok(Vec::new()),
    }
}

/// What may not be called.
fn all_but(posture: &Posture, groups: &[&calls::Group]) -> Result<Rules, Error> {
    let mut rules = Rules::new();
    for call in groups.iter().flat_map(|group| group.calls) {
        rules.insert(*call, Vec::new());
        #[cfg(target_arch = "x86_64")]
        rules.insert(*call | SECOND_SET, Vec::new());
    }
    #[cfg(target_arch = "x86_64")]
    rules.extend(SECOND_ONLY.map(|call| (call | SECOND_SET, Vec::new())));
    let other = || {
        posture
            .families
            .iter()
            .map(|one| condition(0, SeccompCmpOp::Ne, family(*one)))
            .collect::<Result<Vec<_>, Error>>()
    };
    rules.insert(libc::SYS_socket, vec![rule(other()?)?]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_socket | SECOND_SET, vec![rule(other()?)?]);
    // A user namespace of its own would give back every capability that was dropped.
    let users =
        || rule(vec![condition(0, SeccompCmpOp::MaskedEq(bits(libc::CLONE_NEWUSER)), bits(libc::CLONE_NEWUSER))?]);
    // Words put into a terminal are executed by whoever sits there.
    let typing = || -> Result<Vec<SeccompRule>, Error> {
        [libc::TIOCSTI, TIOCLINUX].into_iter().map(|one| rule(vec![equal(1, one)?])).collect()
    };
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        rules.insert(call, vec![users()?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(call | SECOND_SET, vec![users()?]);
    }
    rules.insert(libc::SYS_ioctl, typing()?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(SECOND_IOCTL | SECOND_SET, typing()?);
    Ok(rules)
}

fn family(family: Family) -> u64 {
    bits(match family {
        Family::Unix => libc::AF_UNIX,
        Family::Inet => libc::AF_INET,
        Family::Inet6 => libc::AF_INET6,
        Family::Netlink => libc::AF_NETLINK,
    })
}

fn bits(value: c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

/// The third argument asks for memory that is not executable.
fn not_executable() -> Result<SeccompCondition, Error> {
    condition(2, SeccompCmpOp::MaskedEq(bits(libc::PROT_EXEC)), 0)
}

fn equal(place: u8, value: u64) -> Result<SeccompCondition, Error> {
    condition(place, SeccompCmpOp::Eq, value)
}

/// An argument is the null pointer.
fn nothing(place: u8) -> Result<SeccompCondition, Error> {
    let made = SeccompCondition::new(place, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0);
    made.map_err(|error| Error::new("making the filter of system calls", error))
}

/// Compares the lower half of an argument: all that are compared so are ints for the kernel.
fn condition(place: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, Error> {
    let made = SeccompCondition::new(place, SeccompCmpArgLen::Dword, operator, value);
    made.map_err(|error| Error::new("making the filter of system calls", error))
}

fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, Error> {
    SeccompRule::new(conditions).map_err(|error| Error::new("making the filter of system calls", error))
}
