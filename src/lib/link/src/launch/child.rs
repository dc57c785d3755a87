//! From fork to exec: system calls only, no allocation, no lock, no return.

use std::ffi::CStr;
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_ulong};

use super::plan::Plan;
use super::{device, gate};

/// What a step is called when it fails; a step is named by its place here.
pub(super) const STEPS: [&str; 18] = [
    "resetting its signals",
    "leaving its terminal",
    "entering its cgroup",
    "entering its network namespace",
    "making its mount namespace",
    "making its /dev/net",
    "making its tun device",
    "placing its descriptors",
    "forbidding core dumps",
    "dropping capabilities",
    "changing its user",
    "letting it bind low ports",
    "forbidding new privileges",
    "binding its life to its parent's",
    "confining it",
    "executing it",
    "waiting for its parent",
    "allowing it its tun device",
];

const SIGNALS: u8 = 0;
const TERMINAL: u8 = 1;
const CGROUP: u8 = 2;
const NETWORK: u8 = 3;
const MOUNTS: u8 = 4;
const DEV_NET: u8 = 5;
const TUN: u8 = 6;
const DESCRIPTORS: u8 = 7;
const CORE: u8 = 8;
const CAPABILITIES: u8 = 9;
const USER: u8 = 10;
const LOW_PORTS: u8 = 11;
const PRIVILEGES: u8 = 12;
const PARENT: u8 = 13;
const SANDBOX: u8 = 14;
const EXEC: u8 = 15;
const GATE: u8 = 16;
const RULE: u8 = 17;

/// Binding ports below 1024.
const CAP_NET_BIND_SERVICE: u32 = 10;

type Step = Result<(), (u8, c_int)>;

/// Becomes the program, or reports why not and ends.
pub(super) fn run(plan: &mut Plan) -> ! {
    let (step, number) = match become_it(plan) {
        Ok(()) => (EXEC, 0),
        Err(failed) => failed,
    };
    let mut report = [step, 0, 0, 0, 0];
    report[1..].copy_from_slice(&number.to_ne_bytes());
    // SAFETY: the buffer is valid for the call; _exit ends the process without running anything of the parent's.
    #[allow(unsafe_code)]
    unsafe {
        libc::write(plan.report, report.as_ptr().cast(), report.len());
        libc::_exit(127)
    }
}

fn become_it(plan: &mut Plan) -> Step {
    signals()?;
    if plan.no_terminal {
        leave_terminal()?;
    }
    if let Some(procs) = plan.cgroup {
        // SAFETY: one byte of a constant; "0" means the writer.
        #[allow(unsafe_code)]
        done(CGROUP, unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) } as i64)?;
    }
    if let Some(namespace) = plan.network {
        // SAFETY: takes two integers.
        #[allow(unsafe_code)]
        done(NETWORK, unsafe { libc::setns(namespace, libc::CLONE_NEWNET) }.into())?;
    }
    if let (true, Some((uid, gid))) = (plan.private_tun, plan.user) {
        dev_net(uid, gid)?;
    }
    descriptors(plan)?;
    if let Some((uid, gid)) = plan.user {
        unprivileged(uid, gid, plan.low_ports)?;
        prctl(PRIVILEGES, libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    }
    if plan.die_with_parent {
        bind_to_parent(plan.parent)?;
    }
    if plan.gate.is_some_and(|ends| !gate::pass(ends)) {
        return Err((GATE, libc::ECANCELED));
    }
    confine(plan)?;
    execute(plan)
}

/// Every signal back to its default, none blocked. The calls are made directly: the C library's own leave out the two
/// signals that it uses itself, which a parent may have ignored all the same.
fn signals() -> Step {
    // A `struct sigaction` of the kernel's, and its set of 64 signals: all zeros are the default, and none.
    let (default, none, size) = ([0_u64; 4], 0_u64, size_of::<u64>());
    // SAFETY: both are at least as long as what the kernel reads; numbers that are not ours to set are refused.
    #[allow(unsafe_code)]
    unsafe {
        let nothing = ptr::null::<u64>();
        for number in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), nothing, size);
        }
        done(SIGNALS, libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const none, nothing, size))
    }
}

/// A process group of its own, without a terminal. No session: where sessions are scheduled against each other (`sched(7)`,
/// autogroup), what yields to others yields to those of its session only.
fn leave_terminal() -> Step {
    // SAFETY: a constant string and integers; the descriptor is closed.
    #[allow(unsafe_code)]
    unsafe {
        done(TERMINAL, libc::setpgid(0, 0).into())?;
        // There is nothing to open where there is no terminal.
        let terminal = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        if terminal >= 0 {
            done(TERMINAL, libc::ioctl(terminal, libc::TIOCNOTTY).into())?;
            libc::close(terminal);
        }
    }
    Ok(())
}

/// A `/dev/net` that only this process sees, with a tun device that its user may open.
fn dev_net(uid: u32, gid: u32) -> Step {
    let (folder, kind, node): (&CStr, &CStr, &CStr) = (c"/dev/net", c"tmpfs", c"/dev/net/tun");
    let options = c"mode=0755,size=4k,nr_inodes=4";
    // SAFETY: constant strings, null pointers where the kernel ignores them, integers.
    #[allow(unsafe_code)]
    unsafe {
        done(MOUNTS, libc::unshare(libc::CLONE_NEWNS).into())?;
        let nothing = ptr::null();
        let flags = libc::MS_REC | libc::MS_SLAVE;
        done(MOUNTS, libc::mount(nothing, c"/".as_ptr(), nothing, flags, ptr::null()).into())?;
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        done(
            DEV_NET,
            libc::mount(kind.as_ptr(), folder.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()).into(),
        )?;
        done(TUN, libc::mknod(node.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(10, 200)).into())?;
        done(TUN, libc::chown(node.as_ptr(), uid, gid).into())
    }
}

/// Puts every descriptor where the program expects it and marks all others to be closed by exec.
fn descriptors(plan: &Plan) -> Step {
    for (source, target) in &plan.descriptors {
        // SAFETY: takes two integers.
        #[allow(unsafe_code)]
        done(DESCRIPTORS, unsafe { libc::dup2(*source, *target) }.into())?;
    }
    let from = libc::c_uint::try_from(plan.end).unwrap_or(libc::c_uint::MAX);
    let flag = c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or_default();
    // SAFETY: takes integers, and closes nothing yet.
    #[allow(unsafe_code)]
    unsafe {
        libc::umask(0o077);
        done(DESCRIPTORS, libc::chdir(c"/".as_ptr()).into())?;
        done(DESCRIPTORS, libc::close_range(from, libc::c_uint::MAX, flag).into())
    }
}

/// No capability, no supplementary group, no core dump, another user. The calls are made directly: the C library's own
/// would look for threads to tell.
fn unprivileged(uid: u32, gid: u32, low_ports: bool) -> Step {
    let kept = if low_ports { Some(c_ulong::from(CAP_NET_BIND_SERVICE)) } else { None };
    // Not 0, which does not count where dumps go to a program; 1 does there, too, and is shorter than any dump.
    let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
    // SAFETY: the limit is valid for the call; the list of groups is empty, so its pointer is not read.
    #[allow(unsafe_code)]
    unsafe {
        done(CORE, libc::setrlimit(libc::RLIMIT_CORE, &raw const limit).into())?;
        bounding(kept)?;
        if low_ports {
            prctl(LOW_PORTS, libc::PR_SET_KEEPCAPS, 1, 0)?;
        }
        done(USER, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()))?;
        done(USER, libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        done(USER, libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    let mask = if low_ports { 1 << CAP_NET_BIND_SERVICE } else { 0 };
    capabilities(mask)?;
    if low_ports {
        prctl(
            LOW_PORTS,
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as c_ulong,
            c_ulong::from(CAP_NET_BIND_SERVICE),
        )?;
    }
    Ok(())
}

/// Empties the bounding set, but for one.
fn bounding(kept: Option<c_ulong>) -> Step {
    for capability in (0..64).filter(|one| Some(*one) != kept) {
        match prctl(CAPABILITIES, libc::PR_CAPBSET_DROP, capability, 0) {
            // The kernel knows no more capabilities.
            Err((_, libc::EINVAL)) => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// `struct __user_cap_data_struct`; two of them make 64 bits.
#[repr(C)]
#[derive(Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Keeps these capabilities, all below 32, and no other.
fn capabilities(mask: u32) -> Step {
    // _LINUX_CAPABILITY_VERSION_3
    let header = Header { version: 0x2008_0522, pid: 0 };
    let low = Data { effective: mask, permitted: mask, inheritable: mask };
    let data = [low, Data { effective: 0, permitted: 0, inheritable: 0 }];
    // SAFETY: both structures are as the kernel defines them for this version, and valid for the call.
    #[allow(unsafe_code)]
    done(CAPABILITIES, unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })
}

/// To be killed with the parent; should it be dead already, this is noticed here.
fn bind_to_parent(parent: libc::pid_t) -> Step {
    prctl(PARENT, libc::PR_SET_PDEATHSIG, c_ulong::try_from(libc::SIGKILL).unwrap_or_default(), 0)?;
    // SAFETY: takes nothing.
    #[allow(unsafe_code)]
    let now = unsafe { libc::getppid() };
    if now == parent { Ok(()) } else { Err((PARENT, libc::ESRCH)) }
}

/// Landlock, then seccomp: the filter need not let landlock's call through.
fn confine(plan: &Plan) -> Step {
    if plan.landlock.is_some() || !plan.filter.is_empty() {
        prctl(PRIVILEGES, libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    }
    if let Some(ruleset) = plan.landlock {
        if plan.private_tun && !device::allow(ruleset) {
            return Err((RULE, Errno::last_raw()));
        }
        // SAFETY: takes two integers.
        #[allow(unsafe_code)]
        done(SANDBOX, unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) })?;
    }
    if plan.filter.is_empty() {
        return Ok(());
    }
    let length = u16::try_from(plan.filter.len()).map_err(|_| (SANDBOX, libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: plan.filter.as_ptr().cast_mut() };
    // SAFETY: the program points to `length` instructions, which the kernel reads and does not change.
    #[allow(unsafe_code)]
    done(SANDBOX, unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
}

fn execute(plan: &mut Plan) -> Step {
    if let Some(place) = plan.own_number {
        // SAFETY: takes nothing.
        #[allow(unsafe_code)]
        let own = unsafe { libc::getpid() };
        write_number(place, own);
    }
    let (argv, envp) = (plan.argv.as_ptr(), plan.envp.as_ptr());
    // SAFETY: both lists end with a null pointer and point to strings that the plan holds.
    #[allow(unsafe_code)]
    let result = unsafe {
        match &plan.folder {
            Some((folder, name)) => libc::syscall(libc::SYS_execveat, *folder, name.as_ptr(), argv, envp, 0),
            None => libc::execve(plan.program.as_ptr(), argv, envp).into(),
        }
    };
    done(EXEC, result)
}

/// Writes a number's digits; a NUL follows, since the place is zeroed and longer than any number.
fn write_number(place: *mut u8, number: libc::pid_t) {
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    let mut rest = number.unsigned_abs();
    while rest > 0 && first > 0 {
        first -= 1;
        digits[first] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    let length = digits.len() - first;
    // SAFETY: the place has room for twelve bytes and belongs to this process alone since the fork.
    #[allow(unsafe_code)]
    unsafe {
        ptr::copy_nonoverlapping(digits.as_ptr().wrapping_add(first), place, length);
    }
}

fn prctl(step: u8, option: c_int, first: c_ulong, second: c_ulong) -> Step {
    // SAFETY: every option that this file passes takes integers.
    #[allow(unsafe_code)]
    let result = unsafe { libc::prctl(option, first, second, 0 as c_ulong, 0 as c_ulong) };
    done(step, result.into())
}

/// The error of a call that answers -1 when it fails.
fn done(step: u8, result: i64) -> Step {
    if result == -1 { Err((step, Errno::last_raw())) } else { Ok(()) }
}
