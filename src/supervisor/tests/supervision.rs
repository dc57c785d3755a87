//! The supervisor black-box, with this very program in the place of every process. Needs root and the system users that
//! `culvert run` makes; makes them where they are missing.

mod member;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use culvert_link::notify::Sender;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every test, by name.
const TESTS: [(&str, fn()); 9] = [
    ("everything_comes_up_and_ends_in_order", everything_comes_up_and_ends_in_order),
    ("who_is_killed_comes_back_and_gets_its_descriptors", who_is_killed_comes_back_and_gets_its_descriptors),
    ("who_is_frozen_is_replaced", who_is_frozen_is_replaced),
    ("a_refused_configuration_ends_everything", a_refused_configuration_ends_everything),
    ("a_port_in_use_is_one_line", a_port_in_use_is_one_line),
    (
        "children_die_with_the_supervisor_and_the_next_takes_over",
        children_die_with_the_supervisor_and_the_next_takes_over,
    ),
    (
        "a_frozen_supervisor_is_replaced_and_a_running_one_is_not",
        a_frozen_supervisor_is_replaced_and_a_running_one_is_not,
    ),
    ("a_log_that_nobody_reads_stops_nothing", a_log_that_nobody_reads_stops_nothing),
    ("nobody_speaks_for_another", nobody_speaks_for_another),
];

/// How long anything may take that is no watchdog.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of a pipe for writing that nobody reads and that has no room left, and the end for reading.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("its flags");
    while writer.write(&[b'x'; 512]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("its flags");
    (reader, writer)
}

/// Whoever could send to a process's socket could fill it: what the process says would be lost, and it be killed.
fn nobody_speaks_for_another() {
    let lab = Lab::new("voices");
    let _supervisor = lab.up();
    for name in member::ALL {
        let path = lab.path("run/notify").join(format!("{name}.sock"));
        let found = fs::metadata(&path).expect("its socket");
        let user = if name == "helper" { "root".to_owned() } else { format!("culvert-{name}") };
        let user = nix::unistd::User::from_name(&user).expect("users").expect("it is there");
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (user.uid.as_raw(), 0o600), "{name}");
        let sender = Sender::new(&path).expect("a socket");
        nix::unistd::seteuid(65534.into()).expect("root");
        let error = sender.send("WATCHDOG=1", None).expect_err("it is another's");
        nix::unistd::seteuid(0.into()).expect("root");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{name}");
    }
}

fn a_log_that_nobody_reads_stops_nothing() {
    let lab = Lab::new("log");
    let (reader, writer) = full_pipe();
    let (_supervisor, mut ready) = lab.start_with("127.0.0.1:0", writer.into());
    ready.read_exact(&mut [0; 6]).expect("everything is up");
    let again = |name: &str| {
        let pid = lab.pid(name);
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
        lab.another(name, pid, PATIENCE);
    };
    again("bus");
    drop(reader);
    again("api");
    again("queue");
}

fn main() {
    let program = std::env::current_exe().expect("this program");
    let own = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(name) = own.strip_prefix("culvert-") {
        return member::run(name);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|one| one == flag);
    let wanted = |name: &str| {
        let mut filters = arguments.iter().filter(|one| !one.starts_with('-') && *one != "terse").peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
    };
    for (name, test) in TESTS.into_iter().filter(|(name, _)| wanted(name) && !has("--ignored")) {
        if has("--list") {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// A state folder, a run folder and programs.
struct Lab {
    folder: PathBuf,
}

impl Lab {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("supervisortest-{name}-{}", std::process::id()));
        for one in ["state", "bin"] {
            fs::create_dir_all(folder.join(one)).expect("a folder");
        }
        fs::set_permissions(folder.join("state"), fs::Permissions::from_mode(0o777)).expect("open to all");
        for name in member::ALL {
            fs::copy(std::env::current_exe().expect("this program"), folder.join(format!("bin/culvert-{name}")))
                .expect("copied");
            let user = format!("culvert-{name}");
            if name != "helper" && nix::unistd::User::from_name(&user).expect("users").is_none() {
                let line = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", &user];
                assert!(Command::new("useradd").args(line).status().expect("useradd").success());
            }
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts a supervisor. What it is to tell when everything is up comes through the file.
    fn start(&self, listen: &str) -> (Supervisor, File) {
        let errors = File::options().create(true).append(true).open(self.path("errors")).expect("a file");
        self.start_with(listen, errors.into())
    }

    fn start_with(&self, listen: &str, errors: Stdio) -> (Supervisor, File) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("inherited");
        let mut command = Command::new(env!("CARGO_BIN_EXE_culvert-supervisor"));
        for (option, name) in [("--state", "state"), ("--run", "run"), ("--bin", "bin")] {
            command.arg(option).arg(self.path(name));
        }
        command.args(["--listen", listen, "--redirect", "127.0.0.1:0", "--store", "embedded"]);
        command.args(["--ready-fd", &writer.as_raw_fd().to_string()]);
        let child = command.stdin(Stdio::null()).stderr(errors).spawn().expect("it starts");
        (Supervisor(child), File::from(std::os::fd::OwnedFd::from(reader)))
    }

    /// Starts a supervisor and waits until everything is up.
    fn up(&self) -> Supervisor {
        let (supervisor, ready) = self.start("127.0.0.1:0");
        let mut line = String::new();
        BufReader::new(ready).read_line(&mut line).expect("it says so");
        assert_eq!(line, "ready\n", "{}", self.errors());
        supervisor
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.path("errors")).unwrap_or_default()
    }

    /// What a process wrote down, line by line.
    fn told(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path("state").join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The pid of the process's latest incarnation.
    fn pid(&self, name: &str) -> i32 {
        let started = self.told(name).into_iter().rev().find_map(|line| line.strip_prefix("pid ")?.parse().ok());
        started.unwrap_or_else(|| panic!("{name} has not started: {}", self.errors()))
    }

    /// Waits for another incarnation of a process than this.
    fn another(&self, name: &str, pid: i32, patience: Duration) {
        until(&format!("another {name}"), patience, || self.pid(name) != pid);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A supervisor, killed when dropped.
struct Supervisor(Child);

impl Supervisor {
    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("it is there");
    }

    fn code(&mut self) -> Option<i32> {
        until("the supervisor ends", 4 * PATIENCE, || self.0.try_wait().expect("waiting").is_some());
        self.0.wait().expect("its end").code()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_err()
}

fn everything_comes_up_and_ends_in_order() {
    let lab = Lab::new("order");
    let mut supervisor = lab.up();
    let line =
        |name: &str, what: &str| lab.told(name).into_iter().find_map(|line| Some(line.strip_prefix(what)?.to_owned()));
    assert_eq!(line("proxy", "sockets ").as_deref(), Some("https redirect"));
    assert_eq!(line("api", "sockets ").as_deref(), Some("cli proxy"));
    assert_eq!(line("vpn", "sockets ").as_deref(), Some(""));
    let network = |name: &str| line(name, "network ").expect("a namespace");
    let host = fs::read_link("/proc/self/ns/net").expect("ours").to_string_lossy().into_owned();
    assert_eq!(network("helper"), host);
    assert_eq!(network("proxy"), network("api"));
    assert_eq!(network("bus"), network("vpn"));
    assert!(network("bus") != host && network("api") != host && network("bus") != network("api"));
    for name in member::ALL.into_iter().filter(|name| *name != "helper") {
        assert_eq!(line(name, "capabilities ").as_deref(), Some("0000000000000000"), "{name}");
        assert_eq!(line(name, "bounding ").as_deref(), Some("0000000000000000"), "{name}");
    }
    let moment =
        |name: &str, what: &str| line(name, what).and_then(|text| text.parse::<u128>().ok()).expect("a moment");
    assert!(moment("helper", "ready ") <= moment("proxy", "started "), "the guard comes before the proxy");
    let pids: Vec<i32> = member::ALL.into_iter().map(|name| lab.pid(name)).collect();
    supervisor.signal(Signal::SIGINT);
    assert_eq!(supervisor.code(), Some(0), "{}", lab.errors());
    assert!(pids.into_iter().all(gone));
    assert!(moment("vpn", "SIGTERM ") <= moment("helper", "SIGINT "));
    assert!(moment("helper", "SIGINT ") <= moment("queue", "SIGTERM "));
    assert!(moment("queue", "SIGTERM ") <= moment("bus", "SIGINT "), "the bus serves until nobody is left");
    assert!(!lab.path("run").exists());
    assert_eq!(lab.errors(), "");
}

fn who_is_killed_comes_back_and_gets_its_descriptors() {
    let lab = Lab::new("killed");
    let _supervisor = lab.up();
    for name in member::ALL {
        let pid = lab.pid(name);
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
        lab.another(name, pid, Duration::from_secs(1));
    }
    until("the descriptor is back", PATIENCE, || lab.told("vpn").contains(&"sockets instance-1".to_owned()));
    until("what was in it, too", PATIENCE, || lab.told("vpn").contains(&"kept hello".to_owned()));
    let pid = lab.pid("vpn");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is there");
    lab.another("vpn", pid, PATIENCE);
}

fn who_is_frozen_is_replaced() {
    let lab = Lab::new("frozen");
    let supervisor = lab.up();
    let (bus, helper) = (lab.pid("bus"), lab.pid("helper"));
    for pid in [bus, helper] {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is there");
    }
    lab.another("bus", bus, Duration::from_secs(10));
    lab.another("helper", helper, Duration::from_secs(10));
    // The supervisor stood still itself: that is nobody else's fault.
    let before: Vec<i32> = member::ALL.into_iter().map(|name| lab.pid(name)).collect();
    supervisor.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(8));
    supervisor.signal(Signal::SIGCONT);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(before, member::ALL.into_iter().map(|name| lab.pid(name)).collect::<Vec<_>>(), "{}", lab.errors());
}

fn a_refused_configuration_ends_everything() {
    let lab = Lab::new("refused");
    fs::write(lab.path("state").join("queue.refuse"), "").expect("a file");
    let (mut supervisor, mut ready) = lab.start("127.0.0.1:0");
    assert_eq!(supervisor.code(), Some(2), "{}", lab.errors());
    let mut word = String::new();
    ready.read_to_string(&mut word).expect("its end");
    assert_eq!(word, "");
    assert!(lab.errors().starts_with("culvert-queue: refused\n"), "{}", lab.errors());
    assert!(!lab.path("run").exists());
}

fn a_port_in_use_is_one_line() {
    let lab = Lab::new("port");
    let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = other.local_addr().expect("its address").to_string();
    let (mut supervisor, _ready) = lab.start(&address);
    assert_eq!(supervisor.code(), Some(1));
    let errors = lab.errors();
    assert!(errors.lines().count() == 1 && errors.starts_with(&format!("culvert: {address} is in use")), "{errors}");
    assert!(!lab.path("run").exists());
}

fn children_die_with_the_supervisor_and_the_next_takes_over() {
    let lab = Lab::new("orphans");
    let supervisor = lab.up();
    let pids: Vec<i32> = member::ALL.into_iter().map(|name| lab.pid(name)).collect();
    // One that is frozen would not notice a closed pipe.
    kill(Pid::from_raw(lab.pid("tasks")), Signal::SIGSTOP).expect("it is there");
    let record = lab.path("run/helper/record");
    fs::write(&record, "kept").expect("written");
    drop(supervisor);
    until("all are gone", PATIENCE, || pids.iter().copied().all(gone));
    let mut next = lab.up();
    assert!(record.exists(), "what the helper recorded stays");
    next.signal(Signal::SIGTERM);
    assert_eq!(next.code(), Some(0), "{}", lab.errors());
    assert!(!lab.path("run").exists());
}

fn a_frozen_supervisor_is_replaced_and_a_running_one_is_not() {
    let lab = Lab::new("lock");
    let mut first = lab.up();
    let (mut second, _ready) = lab.start("127.0.0.1:0");
    assert_eq!(second.code(), Some(1));
    assert_eq!(
        lab.errors().trim(),
        format!("culvert: already running as process {0} (end it with: kill {0})", first.pid())
    );
    first.signal(Signal::SIGSTOP);
    let third = lab.up();
    assert_eq!(first.code(), None, "it was killed");
    assert!(Path::new(&format!("/proc/{}", third.pid())).exists());
}
