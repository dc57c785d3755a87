//! What the tests need: namespaces, certificates, the helper, a stand-in for `vpn`, an openvpn client.

#![allow(dead_code, reason = "each suite uses a part of it")]

mod certificates;
mod management;

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use culvert_link::launch::Launch;
use culvert_link::notify::Receiver;
use culvert_link::packet::Packets;
use culvert_link::pidfd::Process;
use culvert_link::socket;
use culvert_model::{Cipher, Digest, Id, KeyKind, Port, Protocol, Slot};
use culvert_wire::helper::{Instance, PACKET, Reply, Request, Route, Start};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::{Gid, Uid, User, setegid, seteuid};

use certificates::Certificates;

/// The user whose connections the helper's guard stops: as the proxy's.
pub const GUARDED: u32 = 65534;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Three namespaces in a row, client - server - behind, and a helper in the middle one.
pub struct Lab {
    name: String,
    folder: PathBuf,
    listener: OwnedFd,
    notify: Receiver,
    helper: Option<Process>,
    vpn: Option<Packets>,
    client: Option<Child>,
    certificates: Certificates,
    /// One at a time: to be `vpn`, the whole process changes its user.
    _alone: MutexGuard<'static, ()>,
}

/// The slot of the only instance.
pub fn slot() -> Slot {
    Slot::try_from(0).expect("a slot")
}

impl Lab {
    pub fn new() -> Self {
        Self::of(KeyKind::P256)
    }

    /// With all keys of this kind.
    pub fn of(key: KeyKind) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("cvhelp{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(format!("/run/{name}"));
        fs::create_dir(&folder).expect("a folder; the test must run as root");
        user();
        let listener = socket::packets(&folder.join("helper.sock"), 0o666, None, None).expect("a listener");
        let notify = Receiver::bind(&folder.join("notify.sock"), 0).expect("a socket");
        let certificates = Certificates::make(&folder.join("certificates"), key);
        let (helper, vpn, client) = (None, None, None);
        let lab = Self { name, folder, listener, notify, helper, vpn, client, certificates, _alone: alone };
        lab.namespaces();
        lab
    }

    fn namespaces(&self) {
        for end in ["c", "s", "b"] {
            run(&format!("ip netns add {}{end}", self.name));
            self.at(end, "ip link set lo up");
        }
        let number = self.name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) & 0xffff;
        for (end, network) in [("c", 97), ("b", 98)] {
            let (ours, theirs) = (format!("cvh{number:x}{end}0"), format!("cvh{number:x}{end}1"));
            run(&format!("ip link add {ours} netns {0}s type veth peer name {theirs} netns {0}{end}", self.name));
            self.at("s", &format!("ip addr add 10.{network}.0.1/24 dev {ours}"));
            self.at("s", &format!("ip link set {ours} up"));
            self.at(end, &format!("ip addr add 10.{network}.0.2/24 dev {theirs}"));
            self.at(end, &format!("ip link set {theirs} up"));
        }
        self.at("s", "ip addr add 10.96.0.1/32 dev lo");
    }

    /// A request to start the instance that the client connects to.
    pub fn request(&self, change: impl FnOnce(&mut Start)) -> Start {
        let mut start = Start {
            slot: slot(),
            server: Id::from_bytes([7; 12]),
            epoch: 1,
            protocol: Protocol::Udp,
            port: port(1194),
            bind: None,
            network: "10.8.0.0/24".parse().expect("a network"),
            cipher: Cipher::Aes256,
            digest: Digest::Sha1,
            multi_device: false,
            inter_client: false,
            restrict_routes: true,
            max_clients: 100,
            ping: 10,
            ping_restart: 60,
            renegotiate: 3600,
            mtu: 1500,
            debug: false,
            routes: routes(&["10.98.0.0/24"]),
            ca: vec![self.certificates.ca.der.clone()],
            certificate: self.certificates.server.der.clone(),
            key: self.certificates.server.key.to_vec(),
            tls_crypt: self.certificates.shared(),
            dh: None,
        };
        change(&mut start);
        start
    }

    /// The certificate of another CA.
    pub fn other_authority(&self) -> Vec<u8> {
        certificates::authority(KeyKind::P256).1.der
    }

    /// Starts the helper and waits until it says that it serves.
    pub fn start_helper(&mut self) {
        let namespace = fs::File::open(format!("/run/netns/{}s", self.name)).expect("a namespace");
        let folder = self.folder.to_str().expect("a path");
        let helper = Launch::new(env!("CARGO_BIN_EXE_culvert-helper"))
            .arguments(["--run", folder, "--state", folder, "--guard-uid", &GUARDED.to_string(), "--guard-port", "443"])
            .variable("NOTIFY_SOCKET", format!("{folder}/notify.sock"))
            .variable("WATCHDOG_USEC", "3000000")
            .listening("helper", self.listener.as_fd())
            .network(namespace.as_fd())
            .start();
        let helper = helper.expect("the helper starts");
        until("the helper is ready", || {
            assert!(helper.alive(), "the helper ended");
            let message = self.notify.receive().expect("a socket");
            message.is_some_and(|one| one.pid == helper.pid() && one.value("READY") == Some("1"))
        });
        self.helper = Some(helper);
        self.vpn = Some(self.connection());
    }

    /// How a helper of another run folder ends in the same network.
    pub fn second_helper(&self) -> Option<WaitStatus> {
        let namespace = fs::File::open(format!("/run/netns/{}s", self.name)).expect("a namespace");
        let folder = self.folder.join("second");
        fs::create_dir(&folder).expect("a folder");
        let folder = folder.to_str().expect("a path");
        let helper = Launch::new(env!("CARGO_BIN_EXE_culvert-helper"))
            .arguments(["--run", folder, "--state", folder])
            .listening("helper", self.listener.as_fd())
            .network(namespace.as_fd())
            .start()
            .expect("it starts");
        assert!(helper.wait(Instant::now() + PATIENCE).expect("waiting"), "it does not end");
        helper.bury()
    }

    pub fn kill_helper(&mut self) {
        self.end_helper(Signal::SIGKILL);
    }

    pub fn interrupt_helper(&mut self) {
        self.end_helper(Signal::SIGINT);
    }

    fn end_helper(&mut self, signal: Signal) {
        self.helper.as_ref().expect("a helper").signal(signal).expect("a signal");
        self.bury_helper();
    }

    /// Waits for the end of a helper that ends.
    pub fn bury_helper(&mut self) {
        let helper = self.helper.take().expect("a helper");
        assert!(helper.wait(Instant::now() + PATIENCE).expect("waiting"), "the helper does not end");
        let _ = helper.bury();
        self.vpn = None;
    }

    /// Whether a connection by root is closed without an answer.
    pub fn refuses_root(&self) -> bool {
        let packets = Packets::new(socket::connect_packets(&self.folder.join("helper.sock")).expect("a way"));
        let request = culvert_wire::encode(&Request::List).expect("a form");
        let deadline = Instant::now() + PATIENCE;
        packets.send(&request, None, deadline).is_err()
            || !matches!(packets.receive(PACKET, deadline), Ok(Some(_)))
                && !matches!(packets.receive(PACKET, deadline), Err(error) if error.kind() == ErrorKind::TimedOut)
    }

    /// Whether a connection by `vpn` is closed for sending these bytes.
    pub fn closes_for(&self, bytes: &[u8]) -> bool {
        let packets = self.connection();
        let deadline = Instant::now() + PATIENCE;
        packets.send(bytes, None, deadline).expect("sent");
        match packets.receive(PACKET, deadline) {
            Ok(answer) => answer.is_none(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Another connection by `vpn`.
    fn connection(&self) -> Packets {
        as_vpn(|| Packets::new(socket::connect_packets(&self.folder.join("helper.sock")).expect("a way")))
    }

    /// Asks the helper as `vpn`.
    pub fn ask(&self, request: Request) -> (Reply, Option<OwnedFd>) {
        let vpn = self.vpn.as_ref().expect("a connection");
        let deadline = Instant::now() + PATIENCE;
        vpn.send(&culvert_wire::encode(&request).expect("a form"), None, deadline).expect("sent");
        let (bytes, descriptor) = vpn.receive(PACKET, deadline).expect("received").expect("a reply");
        (culvert_wire::decode(&bytes).expect("a reply"), descriptor)
    }

    /// As [`Lab::ask`], of a helper that may die of it.
    pub fn try_ask(&self, request: Request) -> Option<Reply> {
        let vpn = self.vpn.as_ref().expect("a connection");
        let deadline = Instant::now() + PATIENCE;
        vpn.send(&culvert_wire::encode(&request).expect("a form"), None, deadline).ok()?;
        let (bytes, _) = vpn.receive(PACKET, deadline).ok()??;
        culvert_wire::decode(&bytes).ok()
    }

    pub fn helper_pid(&self) -> u32 {
        self.helper.as_ref().expect("a helper").pid().cast_unsigned()
    }

    /// How many processes are in the control groups of this helper's instances.
    pub fn members(&self) -> usize {
        let name = self.folder.file_name().expect("a name").to_str().expect("text");
        let groups =
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|root| Path::new(root).join(name).join("0/cgroup.procs"));
        groups.iter().filter_map(|path| fs::read_to_string(path).ok()).map(|text| text.lines().count()).sum()
    }

    /// The only instance.
    pub fn instance(&self) -> Instance {
        match self.ask(Request::List).0 {
            Reply::Instances(all) if all.len() == 1 => all[0],
            other => panic!("not one instance: {other:?}"),
        }
    }

    /// The process of the only instance, which runs.
    pub fn running(&self) -> u32 {
        let instance = self.instance();
        assert!(instance.running && alive(instance.pid));
        instance.pid
    }

    /// Attaches to the management socket and lets every client in from now on.
    pub fn attach(&self) {
        let path = self.folder.join("instances/0/management.sock");
        until("openvpn listens", || path.exists());
        let stream = as_vpn(|| std::os::unix::net::UnixStream::connect(&path).expect("the management socket"));
        management::serve(stream);
    }

    /// Starts a client and waits until its tunnel is there.
    pub fn connect_client(&mut self) {
        self.start_client(&[]);
        until("the client is connected", || self.client_says("Initialization Sequence Completed"));
    }

    /// Starts a client in the place of the one before.
    pub fn start_client(&mut self, options: &[&str]) {
        self.stop_client();
        let configuration = self.certificates.client("10.97.0.1");
        let child = Command::new("ip")
            .args(["netns", "exec", &format!("{}c", self.name), "openvpn", "--config"])
            .arg(&configuration)
            .args(options)
            .stdout(fs::File::create(self.folder.join("client.log")).expect("a log"))
            .spawn();
        self.client = Some(child.expect("a client"));
    }

    /// Whether the client has said this by now.
    pub fn client_says(&self, what: &str) -> bool {
        fs::read_to_string(self.folder.join("client.log")).is_ok_and(|text| text.contains(what))
    }

    fn stop_client(&mut self) {
        if let Some(mut client) = self.client.take() {
            let _ = client.kill();
            let _ = client.wait();
        }
    }

    /// Whether the client gets an answer from there.
    pub fn reaches(&self, address: &str) -> bool {
        let ping = ["ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", address];
        let name = format!("{}c", self.name);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name]).args(ping).stdout(Stdio::null());
        command.status().expect("ping").success()
    }

    /// Whether an attempt to connect by TCP from one end is answered, be it by a refusal.
    pub fn answers(&self, end: &str, user: u32, address: &str) -> bool {
        let attempt = format!("exec 3<>/dev/tcp/{address}/9");
        let name = format!("{}{end}", self.name);
        let user = ["setpriv", "--clear-groups", "--reuid", &user.to_string()].map(str::to_owned);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name]).args(user).args(["timeout", "2", "bash", "-c", &attempt]);
        // 124 is the end of `timeout`'s patience.
        command.stderr(Stdio::null()).status().expect("bash").code() != Some(124)
    }

    /// Whether the tun device is there.
    pub fn device(&self) -> bool {
        self.at("s", "ip -o link").contains("culvert0")
    }

    /// The helper's table.
    pub fn rules(&self) -> String {
        self.at("s", "nft list ruleset")
    }

    pub fn flush_rules(&self) {
        self.at("s", "nft flush ruleset");
    }

    pub fn forwarding(&self) -> String {
        self.at("s", "cat /proc/sys/net/ipv4/ip_forward").trim().to_owned()
    }

    /// What is left in the run folder of what the helper makes there.
    pub fn left(&self) -> Vec<String> {
        let list = |of: &Path| fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
        let top = ["helper", "instances"].map(|name| self.folder.join(name));
        let all = top.iter().filter(|path| path.exists()).cloned().chain(top.iter().flat_map(|path| list(path)));
        let relative = |path: PathBuf| path.strip_prefix(&self.folder).expect("inside").to_string_lossy().into_owned();
        let mut names: Vec<String> = all.map(relative).collect();
        names.sort();
        names
    }

    fn at(&self, end: &str, command: &str) -> String {
        run(&format!("ip netns exec {}{end} {command}", self.name))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let client = fs::read_to_string(self.folder.join("client.log")).unwrap_or_default();
            let mut server = fs::OpenOptions::new();
            let server =
                server.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(self.folder.join("helper/0.log"));
            let server = server.map(|mut file| read(&mut file)).unwrap_or_default();
            eprintln!("--- the client\n{client}--- the server\n{server}--- the rules\n{}", self.rules());
        }
        self.stop_client();
        if self.helper.is_some() {
            self.interrupt_helper();
        }
        for end in ["c", "s", "b"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{end}", self.name)]).status();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client's pings, twenty in a second.
pub struct Pinging(Child);

impl Pinging {
    pub fn start(lab: &Lab, address: &str, count: u32) -> Self {
        let arguments = ["-n", "-q", "-i", "0.05", "-c", &count.to_string(), "-W", "2", address];
        let name = format!("{}c", lab.name);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name, "ping"]).args(arguments).stdout(Stdio::piped());
        Self(command.spawn().expect("ping"))
    }

    pub fn finish_without_loss(self) {
        let output = self.0.wait_with_output().expect("ping ends");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(" 0% packet loss"), "{text}");
    }
}

/// Waits for something to become true.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What is in a pipe now.
pub fn read(pipe: &mut fs::File) -> String {
    let mut text = Vec::new();
    // The pipe has a writer, so it ends with the error that nothing is there now.
    let _ = pipe.read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// A port.
pub fn port(number: i64) -> Port {
    Port::try_from(number).expect("a port")
}

/// Routes with address translation.
pub fn routes(networks: &[&str]) -> Vec<Route> {
    networks.iter().map(|network| Route { network: network.parse().expect("a network"), nat: true }).collect()
}

/// A line of `/proc/<pid>/status`.
pub fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("a line").trim().to_owned()
}

pub fn alive(pid: u32) -> bool {
    Process::open(pid.cast_signed()).is_ok_and(|process| process.alive())
}

pub fn kill(pid: u32) {
    Process::open(pid.cast_signed()).and_then(|process| process.signal(Signal::SIGKILL)).expect("killed");
}

/// Runs a command that must succeed; what it prints.
fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("a program");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The user of `vpn`, made if it is not there.
fn user() -> User {
    let find = || User::from_name("culvert-vpn").expect("users");
    find().unwrap_or_else(|| {
        // Another test may be making it at the same moment: what counts is that it is there.
        let make = ["--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "culvert-vpn"];
        let _ = Command::new("useradd").args(make).status();
        until("the user is there", || find().is_some());
        find().expect("the user was made")
    })
}

/// Does something as `vpn`. The whole process is it meanwhile.
fn as_vpn<T>(what: impl FnOnce() -> T) -> T {
    let user = user();
    setegid(user.gid).and_then(|()| seteuid(user.uid)).expect("root");
    let result = what();
    seteuid(Uid::from_raw(0)).and_then(|()| setegid(Gid::from_raw(0))).expect("root");
    result
}
