//! Programs that are started get what they are given and nothing else. Needs root.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use culvert_link::launch::Launch;
use culvert_link::{netns, pidfd, tun};
use nix::sys::signal::Signal;

const NOBODY: u32 = 65534;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// What a program prints until it ends.
fn output(launch: Launch<'_>) -> String {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    let process = launch.descriptor(1, writer.as_fd()).start().expect("it starts");
    drop(writer);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("its output");
    assert!(process.wait(soon()).expect("waiting"), "it ends");
    process.bury().expect("it is our child");
    text
}

fn file(text: &str) -> OwnedFd {
    let mut file = tempfile();
    file.write_all(text.as_bytes()).expect("written");
    file.rewind().expect("rewound");
    file.into()
}

fn tempfile() -> File {
    nix::sys::memfd::memfd_create("test", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).expect("a file").into()
}

/// The value of a line of `/proc/<pid>/status`.
fn status(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn another_user_has_no_privileges() {
    let text = output(Launch::new("/bin/cat").argument("/proc/self/status").user(NOBODY, NOBODY).no_terminal());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&text, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(&text, "Uid"), "65534 65534 65534 65534");
    assert_eq!(status(&text, "Gid"), "65534 65534 65534 65534");
    assert_eq!(status(&text, "Groups"), "");
    assert_eq!(status(&text, "NoNewPrivs"), "1");
    assert_eq!(status(&text, "Umask"), "0077");
    assert_eq!(status(&text, "SigBlk"), "0000000000000000");
    assert_eq!(status(&text, "SigIgn"), "0000000000000000");
}

#[test]
fn one_capability_can_be_left() {
    let text = output(Launch::new("/bin/cat").argument("/proc/self/status").user(NOBODY, NOBODY).low_ports());
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(&text, set), "0000000000000400", "{set}");
    }
}

#[test]
fn the_environment_is_what_was_given() {
    assert_eq!(output(Launch::new("/usr/bin/env")), "");
    assert_eq!(output(Launch::new("/usr/bin/env").variable("A", "b")), "A=b\n");
}

#[test]
fn descriptors_are_what_was_given() {
    let (a, b) = (file("one"), file("two"));
    let script = "cat <&4; cat <&3; ls /proc/self/fd";
    let launch = Launch::new("/bin/sh").arguments(["-c", script]);
    let text = output(launch.descriptor(4, a.as_fd()).descriptor(3, b.as_fd()));
    // The last one is the folder that `ls` itself has open.
    assert_eq!(text, "onetwo0\n1\n2\n3\n4\n5\n");
}

#[test]
fn descriptors_have_names() {
    let (a, b) = (file("one"), file("two"));
    let script = "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_FDNAMES; [ $LISTEN_PID = $$ ] && echo own";
    let launch = Launch::new("/bin/sh").arguments(["-c", script]);
    let text = output(launch.listening("first", a.as_fd()).listening("second", b.as_fd()));
    assert_eq!(text, "onetwo2 first:second\nown\n");
}

#[test]
fn a_failed_step_is_named() {
    let error = Launch::new("/nonexistent").start().expect_err("there is no such program").to_string();
    assert_eq!(error, "starting /nonexistent: executing it: No such file or directory (os error 2)");
    let nothing = file("");
    let error = Launch::new("/bin/true").network(nothing.as_fd()).start().expect_err("no namespace").to_string();
    assert!(error.starts_with("starting /bin/true: entering its network namespace: "), "{error}");
    assert!(Launch::new("bin/true").start().is_err());
    assert!(Launch::new("/bin/true").user(0, 0).start().is_err());
}

#[test]
fn a_network_namespace_is_entered() {
    let namespace = netns::make(true).expect("a namespace");
    let text = output(Launch::new("/bin/cat").argument("/proc/self/net/dev").network(namespace.as_fd()));
    let names: Vec<&str> = text.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    assert_eq!(names, ["lo"]);
}

/// Its own group, but no session: its parent's is one for the scheduler.
#[test]
fn it_leaves_the_terminal() {
    let field = |text: &str, place: usize| text.split(' ').nth(place).map(str::to_owned);
    let text = output(Launch::new("/bin/sh").arguments(["-c", "cat /proc/$$/stat"]).no_terminal());
    let parent = std::fs::read_to_string("/proc/self/stat").expect("its own");
    let [group, session, terminal] = [4, 5, 6].map(|place| field(&text, place));
    assert_eq!((group, session, terminal), (field(&text, 0), field(&parent, 5), Some("0".into())));
}

#[test]
fn a_user_opens_a_tun_device_that_was_made_for_it() {
    let namespace = netns::make(true).expect("a namespace");
    let inside = namespace.try_clone().expect("a copy");
    let make = move || {
        netns::enter(&inside).expect("entered");
        tun::make("launchtest0", NOBODY).expect("made");
    };
    std::thread::spawn(make).join().expect("made");
    let launch =
        Launch::new("/bin/sh").arguments(["-c", "exec 3<>/dev/net/tun && ls -ln /dev/net/tun; mount -t tmpfs x /mnt"]);
    let text = output(launch.user(NOBODY, NOBODY).network(namespace.as_fd()).private_tun());
    assert!(text.starts_with("crw------- 1 65534 65534 10, 200 "), "{text}");
    assert!(Path::new("/dev/net/tun").metadata().is_ok(), "ours is untouched");
}

#[test]
fn it_dies_with_its_parent() {
    // The thread that starts it is its parent in this respect.
    let start = || {
        let launch = Launch::new("/bin/sleep").argument("60").user(NOBODY, NOBODY).die_with_parent();
        launch.start().expect("it starts")
    };
    let process = std::thread::spawn(start).join().expect("no panic");
    assert!(process.wait(soon()).expect("waiting"), "it was killed");
    assert!(matches!(process.bury(), Some(nix::sys::wait::WaitStatus::Signaled(_, Signal::SIGKILL, _))));
}

#[test]
fn a_filter_is_applied() {
    use nix::libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SYS_uname};
    let statement =
        |code: u32, jt, jf, k| nix::libc::sock_filter { code: u16::try_from(code).expect("small"), jt, jf, k };
    let uname = u32::try_from(SYS_uname).expect("small");
    let filter = vec![
        statement(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
        statement(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, uname),
        statement(BPF_RET | BPF_K, 0, 0, nix::libc::SECCOMP_RET_ERRNO | 1),
        statement(BPF_RET | BPF_K, 0, 0, nix::libc::SECCOMP_RET_ALLOW),
    ];
    let launch = Launch::new("/bin/sh").arguments(["-c", "uname 2>/dev/null || echo refused"]);
    assert_eq!(output(launch.filter(filter)), "refused\n");
}

#[test]
fn a_cgroup_is_entered() {
    let root = Path::new("/sys/fs/cgroup/unified");
    if !root.join("cgroup.procs").exists() {
        return;
    }
    let folder = root.join(format!("linktest-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a cgroup");
    let procs = File::options().write(true).open(folder.join("cgroup.procs")).expect("its processes");
    let launch = Launch::new("/bin/sleep").argument("60").user(NOBODY, NOBODY).cgroup(procs.as_fd());
    let process = launch.start().expect("it starts");
    let identity = process.identity().expect("it lives");
    assert!(pidfd::Process::adopt(&identity, Some(&folder)).is_ok());
    assert!(matches!(pidfd::Process::adopt(&identity, Some(root)), Err(pidfd::Refusal::Gone(_))));
    process.signal(Signal::SIGKILL).expect("killed");
    assert!(process.wait(soon()).expect("waiting"));
    process.bury().expect("buried");
    std::fs::remove_dir(&folder).expect("the cgroup is empty");
}

#[test]
fn a_held_program_runs_when_it_is_released() {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    let echo = || Launch::new("/bin/echo").argument("here").descriptor(1, writer.as_fd()).user(NOBODY, NOBODY);
    let held = echo().hold().expect("it is held");
    let identity = held.process().identity().expect("it is there");
    // One that is not released leaves nothing, and prints nothing.
    drop(echo().hold().expect("it is held"));
    let process = held.release().expect("it goes on");
    assert_eq!(process.pid(), identity.pid);
    assert!(process.wait(soon()).expect("waiting"), "it ends");
    drop(writer);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("its output");
    assert_eq!(text, "here\n");
    process.bury().expect("it is our child");
}
