//! What a posture forbids is really refused by the kernel. Needs root.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::FromRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use culvert_sandbox::{Scope, TABLE, enter, of};
use nix::libc;

/// Runs `test` in a process of its own that has entered a posture; what it says is returned.
fn inside(program: &str, scope: &Scope<'_>, test: impl FnOnce() -> String) -> String {
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    let posture = of(program).expect("it is in the table");
    // SAFETY: the child has one thread, and leaves by _exit.
    #[allow(unsafe_code)]
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let text = match enter(posture, scope) {
            Ok(_) => test(),
            Err(error) => format!("not entered: {error}"),
        };
        let _ = File::from(writer).write_all(text.as_bytes());
        // SAFETY: ends the process.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0)
        }
    }
    drop(writer);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("what it says");
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).expect("it ends");
    text
}

/// The number of a raw call's error, 0 when it succeeds.
fn call(number: libc::c_long, arguments: [libc::c_long; 4]) -> i32 {
    let [a, b, c, d] = arguments;
    // SAFETY: only called with arguments that cannot touch memory.
    #[allow(unsafe_code)]
    let result = unsafe { libc::syscall(number, a, b, c, d) };
    if result == -1 { nix::errno::Errno::last_raw() } else { 0 }
}

fn scope(state: &Path) -> Scope<'_> {
    std::fs::create_dir_all(state.join("bus")).expect("a folder");
    Scope { state: Some(state), instance: None, named: Vec::new(), port: Some(9756) }
}

/// A folder that is removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sandboxtest-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ROLES: [&str; 8] = ["proxy", "api", "bus", "bus-mongodb", "pools", "queue", "tasks", "vpn"];

#[test]
fn no_role_starts_programs_or_looks_into_others() {
    let folder = Folder::new("calls");
    for role in ROLES {
        let text = inside(role, &scope(&folder.0), || {
            let calls = [
                libc::SYS_execve,
                libc::SYS_execveat,
                libc::SYS_ptrace,
                libc::SYS_mount,
                libc::SYS_bpf,
                libc::SYS_clone3,
                libc::SYS_unshare,
                libc::SYS_setns,
                libc::SYS_kill,
                libc::SYS_process_vm_readv,
                libc::SYS_io_uring_setup,
                libc::SYS_memfd_create,
                libc::SYS_pidfd_open,
                libc::SYS_setuid,
                libc::SYS_symlinkat,
            ];
            let passed: Vec<_> = calls.into_iter().filter(|one| call(*one, [0; 4]) != libc::ENOSYS).collect();
            let fork = call(libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0]);
            let other = call(libc::SYS_tgkill, [1, 1, 0, 0]);
            let executable = call(libc::SYS_mmap, [0, 4096, (libc::PROT_EXEC | libc::PROT_READ).into(), 0x22]);
            // A pointer whose lower half is zero is a pointer all the same.
            let limits = call(libc::SYS_prlimit64, [0, libc::RLIMIT_NOFILE.into(), 1 << 32, 0]);
            let policy = call(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO.into(), 0, 0]);
            format!("{passed:?} {:?}", [fork, other, executable, limits, policy].map(|one| one == libc::ENOSYS))
        });
        assert_eq!(text, "[] [true, true, true, true, true]", "{role}");
    }
}

#[test]
fn no_role_has_a_capability() {
    let folder = Folder::new("capabilities");
    for role in ROLES {
        let text = inside(role, &scope(&folder.0), || std::fs::read_to_string("/proc/self/status").expect("itself"));
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(text.contains(&format!("{set}:\t0000000000000000")), "{role} {set}: {text}");
        }
        assert!(text.contains("NoNewPrivs:\t1\nSeccomp:\t2"), "{role}: {text}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn another_table_of_calls_is_no_way_round() {
    let folder = Folder::new("tables");
    for role in ROLES.into_iter().chain(["helper", "supervisor"]) {
        let text = inside(role, &scope(&folder.0), || {
            let mut number: u32 = 20;
            // SAFETY: getpid of the 32-bit table; it takes nothing and touches no memory.
            #[allow(unsafe_code)]
            unsafe {
                std::arch::asm!("int 0x80", inout("eax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
            }
            format!("it is process {number}")
        });
        assert_eq!(text, "", "{role} is killed");
    }
}

#[test]
fn nobody_leaves_a_core_dump_or_is_traced() {
    let folder = Folder::new("dumps");
    for role in ROLES.into_iter().chain(["helper", "supervisor"]) {
        let text = inside(role, &scope(&folder.0), || {
            let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CORE);
            format!("{limit:?} {:?}", nix::sys::prctl::get_dumpable())
        });
        // The limit 1 holds where core dumps go to a program, too: 0 does not.
        assert_eq!(text, "Ok((1, 1)) Ok(false)", "{role}");
    }
}

#[test]
fn sockets_are_of_the_families_in_the_table() {
    let folder = Folder::new("families");
    let all = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_ALG];
    let expected = |role: &str| match role {
        "proxy" | "api" => "110000",
        "bus-mongodb" => "111100",
        _ => "100000",
    };
    for role in ROLES {
        let text = inside(role, &scope(&folder.0), || {
            let made = |family: i32| call(libc::SYS_socket, [family.into(), libc::SOCK_DGRAM.into(), 0, 0]) == 0;
            all.into_iter().map(|family| if made(family) { '1' } else { '0' }).collect()
        });
        assert_eq!(text, expected(role), "{role}");
    }
}

#[test]
fn files_are_those_of_the_table() {
    let folder = Folder::new("files");
    std::fs::write(folder.0.join("other"), "x").expect("a file");
    for role in ROLES {
        let text = inside(role, &scope(&folder.0), || {
            let kind = |result: std::io::Result<File>| result.err().map(|error| error.kind());
            let refused = Some(ErrorKind::PermissionDenied);
            let shadow = kind(File::open("/etc/shadow")) == refused;
            let tun = kind(File::open("/dev/net/tun")) == refused;
            let other = kind(File::open(folder.0.join("other"))) == refused;
            let made = kind(File::create(folder.0.join("new"))) == refused;
            let store = File::create(folder.0.join("bus/store")).is_ok();
            let random = File::open("/dev/urandom").is_ok();
            format!("{shadow} {tun} {other} {made} {random} {store}")
        });
        assert_eq!(text, format!("true true true true true {}", role.starts_with("bus")), "{role}");
    }
}

#[test]
fn proxy_connects_to_the_api_and_to_nobody_else() {
    let folder = Folder::new("proxy");
    let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let api = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = |listener: &TcpListener| listener.local_addr().expect("an address");
    let scope = Scope { port: Some(address(&api).port()), ..scope(&folder.0) };
    let text = inside("proxy", &scope, || {
        let refused = TcpStream::connect(address(&other)).err().map(|error| error.kind());
        let bound = TcpListener::bind("127.0.0.1:0").is_err();
        format!(
            "{} {} {bound}",
            TcpStream::connect(address(&api)).is_ok(),
            refused == Some(ErrorKind::PermissionDenied)
        )
    });
    assert_eq!(text, "true true true");
}

#[test]
fn a_listening_socket_of_the_host_does_not_help_proxy() {
    // mechanisms: a socket that was handed over belongs to the host's namespace; disconnected, it could connect there.
    let folder = Folder::new("handed");
    let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let handed = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let to = other.local_addr().expect("an address");
    let text = inside("proxy", &scope(&folder.0), || {
        let number = std::os::fd::AsRawFd::as_raw_fd(&handed);
        let nowhere = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
        // SAFETY: the address is valid for the call; a second socket object for the number is forgotten below.
        #[allow(unsafe_code)]
        let (disconnected, socket) = unsafe { (libc::connect(number, &raw const nowhere, 16), socket_from(number)) };
        let there = nix::sys::socket::SockaddrStorage::from(to);
        let result = nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &there);
        std::mem::forget(socket);
        format!("{disconnected} {result:?}")
    });
    assert!(text.ends_with("Err(EACCES)"), "{text}");
}

#[allow(unsafe_code)]
unsafe fn socket_from(number: i32) -> UdpSocket {
    // SAFETY: as the caller says.
    unsafe { UdpSocket::from_raw_fd(number) }
}

#[test]
fn unix_sockets_work_and_threads_start() {
    let folder = Folder::new("works");
    let path = folder.0.join("socket");
    let _listener = UnixListener::bind(&path).expect("a listener");
    for role in ROLES {
        let text = inside(role, &scope(&folder.0), || {
            let connected = UnixStream::connect(&path).is_ok();
            let thread = std::thread::Builder::new().name("probe".into()).spawn(|| 41 + 1);
            let joined = thread.map(|one| one.join().unwrap_or_default()).unwrap_or_default();
            // Without its parameter: the kernel is asked, and says so.
            let policy = |thread| call(libc::SYS_sched_setscheduler, [thread, libc::SCHED_IDLE.into(), 0, 0]);
            let policies = [policy(0), policy(1)] == [libc::EINVAL, libc::ENOSYS];
            let time = policies && std::time::SystemTime::now().elapsed().is_ok();
            format!("{connected} {joined} {time}")
        });
        assert_eq!(text, "true 42 true", "{role}");
    }
}

#[test]
fn helper_keeps_what_it_needs_and_its_children_no_more() {
    let scope = Scope::default();
    let text = inside("helper", &scope, || {
        let calls =
            [libc::SYS_ptrace, libc::SYS_bpf, libc::SYS_init_module, libc::SYS_kexec_load, libc::SYS_io_uring_setup];
        let mut passed: Vec<_> = calls.into_iter().filter(|one| call(*one, [0; 4]) != libc::ENOSYS).collect();
        let (users, terminal) = (libc::CLONE_NEWUSER.into(), libc::TIOCSTI.cast_signed());
        let more = [
            (libc::SYS_clone3, [0, 0, 0, 0]),
            (libc::SYS_unshare, [users, 0, 0, 0]),
            (libc::SYS_clone, [users | libc::c_long::from(libc::SIGCHLD), 0, 0, 0]),
            (libc::SYS_ioctl, [0, terminal, 0, 0]),
        ];
        passed.extend(more.into_iter().filter(|(one, with)| call(*one, *with) != libc::ENOSYS).map(|(one, _)| one));
        let packet = call(libc::SYS_socket, [libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0, 0]) == libc::ENOSYS;
        let child = std::process::Command::new("/bin/cat").arg("/proc/self/status").output().expect("a child");
        let status = String::from_utf8_lossy(&child.stdout).into_owned();
        let bounding = status.lines().find(|line| line.starts_with("CapBnd")).unwrap_or_default().to_owned();
        let nft =
            std::process::Command::new("/usr/sbin/nft").args(["-c", "add", "table", "inet", "sandboxtest"]).status();
        format!("{passed:?} {packet} {bounding} {}", nft.is_ok_and(|one| one.success()))
    });
    let kept = of("helper").expect("it is there").capabilities.iter().fold(0_u64, |all, one| all | one.bitmask());
    assert_eq!(text, format!("[] true CapBnd:\t{kept:016x} true"));
}

#[test]
fn a_process_with_threads_does_not_enter() {
    let text = inside("pools", &Scope::default(), || "entered".into());
    assert_eq!(text, "entered");
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || receiver.recv().is_err());
    let error = enter(of("pools").expect("it is there"), &Scope::default()).expect_err("two threads at least");
    assert!(error.to_string().contains("threads already"), "{error}");
    drop(sender);
    assert!(thread.join().expect("no panic"));
}

#[test]
fn every_process_is_in_the_table_once() {
    for posture in TABLE {
        assert_eq!(TABLE.iter().filter(|one| one.program == posture.program).count(), 1, "{}", posture.program);
    }
    assert!(ROLES.iter().chain(&["helper", "supervisor", "openvpn"]).all(|one| of(one).is_some()));
}
