//! Network namespaces as machines: the appliance, a client in front of it, and a host behind it.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns};

/// A network namespace of our own, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one with its loopback interface up.
    pub fn new(what: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cvt{}-{}-{what}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        tool("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(arguments.split(' ')).collect();
        tool("ip", &words)
    }

    /// A command that will run in it, with the mounts of this process.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg(program);
        command
    }

    /// Runs something in a thread that is in it. Sockets that it opens stay in it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = std::fs::File::open(format!("/run/netns/{}", self.name))?;
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).context("entering the namespace")?;
                Ok(work())
            });
            worker.join().map_err(|_| anyhow::anyhow!("the work in the namespace panicked"))?
        })
    }

    /// The processes that are in it.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let pids = tool("ip", &["netns", "pids", &self.name])?;
        pids.split_whitespace().map(|pid| Ok(pid.parse()?)).collect()
    }

    /// Joins two namespaces by a cable with an address at each end.
    pub fn cable(&self, address: &str, other: &Self, other_address: &str) -> Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (here, there) = (format!("eth{number}a"), format!("eth{number}b"));
        self.ip(&format!("link add {here} type veth peer name {there} netns {}", other.name))?;
        for (namespace, interface, address) in [(self, &here, address), (other, &there, other_address)] {
            namespace.ip(&format!("addr add {address} dev {interface}"))?;
            namespace.ip(&format!("link set {interface} up"))?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Runs a program and gives back what it printed.
pub fn tool(program: &str, arguments: &[&str]) -> Result<String> {
    succeed(Command::new(program).args(arguments))
}

/// Runs a command and gives back what it printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    Ok(String::from_utf8(stdout)?)
}

/// Three machines in a row: `client` - `server` - `behind`. The server has a default route to the one behind it, which
/// knows no way back to anybody but the server itself.
#[derive(Debug)]
pub struct Town {
    /// Where the appliance runs.
    pub server: Namespace,
    /// Where VPN clients and browsers run.
    pub client: Namespace,
    /// A host that clients reach through the VPN.
    pub behind: Namespace,
}

impl Town {
    /// The appliance's address towards its clients.
    pub const SERVER: &'static str = "198.51.100.1";
    /// The address of the host behind the appliance.
    pub const BEHIND: &'static str = "203.0.113.2";

    /// A new town.
    pub fn new() -> Result<Self> {
        let [server, client, behind] = ["server", "client", "behind"].map(Namespace::new);
        let town = Self { server: server?, client: client?, behind: behind? };
        town.server.cable("198.51.100.1/24", &town.client, "198.51.100.2/24")?;
        town.server.cable("203.0.113.1/24", &town.behind, "203.0.113.2/24")?;
        town.server.ip("route add default via 203.0.113.2")?;
        town.client.ip("route add default via 198.51.100.1")?;
        // Without a tunnel, nothing of the VPN may be reached: the appliance would answer for its tunnel's address on any
        // of its interfaces.
        town.client.ip("route add unreachable 10.40.0.0/24 metric 9999")?;
        Ok(town)
    }
}
