//! The table: what each process may do.

use std::path::{Path, PathBuf};

use caps::Capability;

use crate::calls::{self, Group};

/// What one process may do.
#[derive(Debug)]
pub struct Posture {
    /// The process's name, as in `src/<name>`.
    pub program: &'static str,
    /// The capabilities it keeps; it loses all others, and its children with it.
    pub capabilities: &'static [Capability],
    /// The system calls it may make.
    pub calls: Calls,
    /// The kinds of sockets it may make. Those that were handed to it are not affected.
    pub families: &'static [Family],
    /// What it may reach in the file system; without a list, landlock does not confine it.
    pub files: Option<&'static [(Place, Rights)]>,
    /// The TCP ports it may use.
    pub tcp: Tcp,
}

/// Which system calls.
#[derive(Debug, Clone, Copy)]
pub enum Calls {
    /// These, and no other.
    Only(&'static [&'static Group]),
    /// All but these: for those who start programs of others.
    AllBut(&'static [&'static Group]),
}

/// A kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Within the machine.
    Unix,
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// To the kernel.
    Netlink,
}

/// A place in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this path; passed over when nothing is there.
    At(&'static str),
    /// At this path below the state folder; it must be there.
    State(&'static str),
    /// The folder of openvpn's own instance; it must be there.
    Instance,
    /// The files that the process's options name.
    Named,
}

/// What may be done at a place and below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Files are read, folders are listed.
    Read,
    /// Files are made, read, written, renamed and removed.
    Write,
    /// Sockets are made and removed.
    Sockets,
    /// A device is opened for reading and writing, and told by ioctl.
    Device,
    /// A program is read and executed.
    Execute,
}

/// Which TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tcp {
    /// None: neither connect nor bind.
    Nothing,
    /// Connect to the api's.
    ConnectApi,
    /// Bind the api's.
    BindApi,
    /// Connect to any.
    ConnectAny,
    /// Bind the one of openvpn's server, if that is TCP.
    BindOwn,
    /// Not confined.
    All,
}

/// What the table's words stand for in one process.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    /// The state folder.
    pub state: Option<&'a Path>,
    /// The folder of openvpn's instance.
    pub instance: Option<&'a Path>,
    /// Files that the process's options name.
    pub named: Vec<PathBuf>,
    /// The api's TCP port, or openvpn's own.
    pub port: Option<u16>,
}

use Family::{Inet, Inet6, Netlink, Unix};
use Place::{At, Instance, Named, State};
use Rights::{Device, Execute, Read, Sockets, Write};

/// What every process may read: the time zone, randomness, itself, and how the machine is doing.
const COMMON: [(Place, Rights); 11] = [
    (At("/etc/localtime"), Read),
    (At("/usr/share/zoneinfo"), Read),
    (At("/dev/urandom"), Read),
    (At("/dev/null"), Device),
    (At("/proc/self"), Read),
    (At("/proc/cpuinfo"), Read),
    (At("/proc/meminfo"), Read),
    (At("/proc/loadavg"), Read),
    (At("/proc/sys/kernel/random/boot_id"), Read),
    (At("/proc/sys/vm/overcommit_memory"), Read), // the allocator asks before it gives back
    (At("/sys/fs/cgroup"), Read),                 // how many cores it may use
];

/// [`COMMON`] and what OpenSSL reads when it starts.
const OPENSSL: [(Place, Rights); 14] = joined(
    COMMON,
    [(At("/etc/ssl/openssl.cnf"), Read), (At("/etc/pki/tls/openssl.cnf"), Read), (At("/usr/lib/ssl"), Read)],
);

/// [`COMMON`], the bus's own folder, and how busy the processors are, which it writes down for administrators.
const STORE: [(Place, Rights); 14] = joined(COMMON, [(State("bus"), Write), (Named, Read), (At("/proc/stat"), Read)]);

/// [`STORE`], how names are found, and whom to trust.
const DATABASE: [(Place, Rights); 22] = joined(
    STORE,
    [
        (At("/etc/resolv.conf"), Read),
        (At("/etc/hosts"), Read),
        (At("/etc/nsswitch.conf"), Read),
        (At("/etc/gai.conf"), Read),
        (At("/etc/host.conf"), Read),
        (At("/run/systemd/resolve"), Read),
        (At("/etc/ssl/certs"), Read),
        (At("/etc/pki"), Read),
    ],
);

/// What openvpn reaches: its program and libraries, its instance's folder, its tun device. Its configuration is a
/// descriptor. The device is one that only it sees where `link` makes it so, which adds the rule for that one.
const OPENVPN: [(Place, Rights); 15] = [
    (At("/usr/sbin/openvpn"), Execute),
    (At("/usr/lib"), Read),
    (At("/usr/lib64"), Read),
    (At("/lib64/ld-linux-x86-64.so.2"), Execute),
    (At("/lib/ld-linux-aarch64.so.1"), Execute),
    (At("/etc/ld.so.cache"), Read),
    (At("/etc/ssl/openssl.cnf"), Read),
    (At("/etc/localtime"), Read),
    (At("/etc/passwd"), Read),
    (At("/etc/group"), Read),
    (At("/etc/nsswitch.conf"), Read),
    (At("/proc/sys/kernel/cap_last_cap"), Read),
    (At("/dev/urandom"), Read),
    (At("/dev/null"), Device),
    (Instance, Sockets),
];

/// What a process without network and files does.
const PLAIN: &[&Group] = &[
    &calls::MEMORY,
    &calls::THREADS,
    &calls::SIGNALS,
    &calls::TIME,
    &calls::FILES,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::SELF,
];

/// [`PLAIN`] and listening sockets of its own.
const LISTENING: &[&Group] = &[
    &calls::MEMORY,
    &calls::THREADS,
    &calls::SIGNALS,
    &calls::TIME,
    &calls::FILES,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::LISTENERS,
    &calls::SELF,
];

/// [`LISTENING`] (the resolver binds) and changing files.
const STORING: &[&Group] = &[
    &calls::MEMORY,
    &calls::THREADS,
    &calls::SIGNALS,
    &calls::TIME,
    &calls::FILES,
    &calls::CHANGES,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::LISTENERS,
    &calls::SELF,
];

/// What openvpn does; it starts no thread.
const TUNNELLING: &[&Group] = &[
    &calls::MEMORY,
    &calls::LIBRARIES,
    &calls::SIGNALS,
    &calls::TIME,
    &calls::FILES,
    &calls::CHANGES,
    &calls::EVENTS,
    &calls::SOCKETS,
    &calls::LISTENERS,
    &calls::SELF,
    &calls::TUNNEL,
];

/// What nobody needs who administers a network and starts programs.
const NOBODY: &[&Group] = &[&calls::SPYING, &calls::KERNEL, &calls::CLOCKS, &calls::KEYS, &calls::EXOTIC];

/// What the helper keeps: interfaces and rules; openvpn's user, group, capabilities, mounts and device; its folders.
const HELPER: &[Capability] = &[
    Capability::CAP_NET_ADMIN,        // tun devices, addresses, nftables, forwarding
    Capability::CAP_NET_BIND_SERVICE, // handed to an openvpn whose port is below 1024
    Capability::CAP_SETUID,           // openvpn runs as a user of its own
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,      // openvpn has no capabilities
    Capability::CAP_KILL,         // and is told to end
    Capability::CAP_SYS_ADMIN,    // openvpn's own mount namespace; cgroups
    Capability::CAP_MKNOD,        // openvpn's own tun device
    Capability::CAP_CHOWN,        // openvpn's folder
    Capability::CAP_DAC_OVERRIDE, // which root cleans up
    Capability::CAP_FOWNER,
];

/// The privileges of all processes. `docs/processes.md` says the same in words, and a test compares the two.
pub static TABLE: &[Posture] = &[
    Posture {
        program: "proxy",
        capabilities: &[],
        calls: Calls::Only(PLAIN),
        families: &[Unix, Inet],
        files: Some(&COMMON),
        tcp: Tcp::ConnectApi,
    },
    Posture {
        program: "api",
        capabilities: &[],
        calls: Calls::Only(LISTENING),
        families: &[Unix, Inet],
        files: Some(&OPENSSL),
        tcp: Tcp::BindApi,
    },
    Posture {
        program: "bus",
        capabilities: &[],
        calls: Calls::Only(STORING),
        families: &[Unix],
        files: Some(&STORE),
        tcp: Tcp::Nothing,
    },
    Posture {
        program: "bus-mongodb",
        capabilities: &[],
        calls: Calls::Only(STORING),
        families: &[Unix, Inet, Inet6, Netlink],
        files: Some(&DATABASE),
        tcp: Tcp::ConnectAny,
    },
    Posture {
        program: "pools",
        capabilities: &[],
        calls: Calls::Only(PLAIN),
        families: &[Unix],
        files: Some(&COMMON),
        tcp: Tcp::Nothing,
    },
    Posture {
        program: "queue",
        capabilities: &[],
        calls: Calls::Only(PLAIN),
        families: &[Unix],
        files: Some(&OPENSSL),
        tcp: Tcp::Nothing,
    },
    Posture {
        program: "tasks",
        capabilities: &[],
        calls: Calls::Only(PLAIN),
        families: &[Unix],
        files: Some(&COMMON),
        tcp: Tcp::Nothing,
    },
    Posture {
        program: "vpn",
        capabilities: &[],
        calls: Calls::Only(PLAIN),
        families: &[Unix],
        files: Some(&OPENSSL),
        tcp: Tcp::Nothing,
    },
    Posture {
        program: "openvpn",
        capabilities: &[],
        calls: Calls::Only(TUNNELLING),
        families: &[Unix, Inet, Inet6, Netlink],
        files: Some(&OPENVPN),
        tcp: Tcp::BindOwn,
    },
    Posture {
        program: "helper",
        capabilities: HELPER,
        calls: Calls::AllBut(NOBODY),
        families: &[Unix, Inet, Inet6, Netlink],
        files: None,
        tcp: Tcp::All,
    },
    Posture {
        program: "supervisor",
        // The helper gets its own from here; the supervisor itself needs a part of them: to start and end the others.
        capabilities: HELPER,
        calls: Calls::AllBut(NOBODY),
        families: &[Unix, Inet, Inet6, Netlink],
        files: None,
        tcp: Tcp::All,
    },
];

/// The posture of a program.
#[must_use]
pub fn of(program: &str) -> Option<&'static Posture> {
    TABLE.iter().find(|posture| posture.program == program)
}

/// Two lists in one.
const fn joined<const A: usize, const B: usize, const C: usize>(
    a: [(Place, Rights); A],
    b: [(Place, Rights); B],
) -> [(Place, Rights); C] {
    assert!(A + B == C, "the list's length is the sum of its parts");
    let mut all = [(Place::Named, Rights::Read); C];
    let mut i = 0;
    while i < C {
        all[i] = if i < A { a[i] } else { b[i - A] };
        i += 1;
    }
    all
}
