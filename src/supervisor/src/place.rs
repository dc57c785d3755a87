//! The run folder with its sockets, and the ports.

use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use culvert_link::notify::Receiver;
use culvert_link::{Error, socket};
use culvert_model::Role;
use nix::unistd::User;

use crate::arguments::Settings;
use crate::failure::Failure;
use crate::roster::Program;

/// How long the processes of a predecessor that was killed may hold its ports: they are being killed, too.
const LEFTOVER: Duration = Duration::from_secs(5);

/// How often a port is tried meanwhile: the kernel tells nobody that one has become free.
const AGAIN: Duration = Duration::from_millis(20);

/// The folder of the sockets where the processes say how they are.
const NOTIFY: &str = "notify";

/// A system user.
#[derive(Debug, Clone, Copy)]
pub struct Account {
    /// Its id.
    pub uid: u32,
    /// Its primary group's id.
    pub gid: u32,
}

/// The users of all roles.
#[derive(Debug)]
pub struct Accounts(Vec<(Role, Account)>);

impl Accounts {
    /// Asks the system. Two roles with one user, or one that is root, are refused: the processes tell each other apart by
    /// their users.
    pub fn resolve() -> Result<Self, Failure> {
        let mut all: Vec<(Role, Account)> = Vec::new();
        for role in Role::ALL {
            let name = role.user();
            let found =
                User::from_name(name).map_err(|error| Failure::machine(format!("looking up {name}: {error}")))?;
            let missing = || Failure::configuration(format!("there is no system user {name}: `culvert run` makes it"));
            let user = found.ok_or_else(missing)?;
            let account = Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
            if account.uid == 0 || account.gid == 0 {
                return Err(Failure::configuration(format!(
                    "the system user {name} is root, or in its group: change it"
                )));
            }
            if let Some((other, _)) = all.iter().find(|(_, known)| known.uid == account.uid) {
                let text =
                    format!("{} and {name} have the same user id {}: give each its own", other.user(), account.uid);
                return Err(Failure::configuration(text));
            }
            all.push((role, account));
        }
        Ok(Self(all))
    }

    /// The user of a role.
    pub fn of(&self, role: Role) -> Account {
        let found = self.0.iter().find(|(known, _)| *known == role);
        found.expect("resolve() put every role in").1
    }
}

/// Makes the run folder, or takes over the one that a predecessor left. What it recorded stays.
pub fn folder(run: &Path) -> Result<(), Failure> {
    let inside = [("helper", 0o700), ("instances", 0o755), (NOTIFY, 0o755)].map(|(name, mode)| (run.join(name), mode));
    for (path, mode) in std::iter::once((run.to_owned(), 0o755)).chain(inside) {
        let failed = |error: std::io::Error| Failure::machine(format!("making the folder {}: {error}", path.display()));
        match DirBuilder::new().mode(mode).create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let meta = std::fs::symlink_metadata(&path).map_err(failed)?;
        if !meta.is_dir() || meta.uid() != 0 {
            let text =
                format!("{} is not a folder of root's: remove it, or give --state another folder", path.display());
            return Err(Failure::machine(text));
        }
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed)?;
    }
    Ok(())
}

/// The sockets that the processes get, by name.
#[derive(Debug)]
pub struct Sockets(Vec<(&'static str, OwnedFd)>);

impl Sockets {
    /// Binds all of them. With `leftover` the ports may be held for a moment longer by processes that are being killed.
    pub fn bind(settings: &Settings, accounts: &Accounts, leftover: bool) -> Result<Self, Failure> {
        let mut all: Vec<(&'static str, OwnedFd)> = Vec::new();
        if !settings.headless {
            all.push(("https", port(settings.listen, "--listen", leftover)?.into()));
            if let Some(address) = settings.redirect {
                all.push(("redirect", port(address, "--redirect", leftover)?.into()));
            }
        }
        let (vpn, proxy) = (accounts.of(Role::Vpn).gid, accounts.of(Role::Proxy).gid);
        let path = |name: &str| settings.run.join(name);
        all.push(("bus", socket::stream(&path("bus.sock"), 0o666, None, None)?.into()));
        all.push(("cli", socket::stream(&path("cli.sock"), 0o600, None, None)?.into()));
        all.push(("proxy", socket::stream(&path("proxy.sock"), 0o660, None, Some(proxy))?.into()));
        all.push(("helper", socket::packets(&path("helper.sock"), 0o660, None, Some(vpn))?));
        Ok(Self(all))
    }

    /// A socket, if it was bound.
    pub fn get(&self, name: &str) -> Option<BorrowedFd<'_>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, socket)| socket.as_fd())
    }
}

/// Where a process says how it is: each has a socket of its own, which nobody else can send to.
pub fn notify(run: &Path, program: Program, accounts: &Accounts) -> Result<Receiver, Failure> {
    let owner = match program {
        Program::Helper => 0,
        Program::Of(role) => accounts.of(role).uid,
    };
    Ok(Receiver::bind(&notify_socket(run, program), owner)?)
}

/// That socket.
pub fn notify_socket(run: &Path, program: Program) -> PathBuf {
    run.join(NOTIFY).join(format!("{}.sock", program.name()))
}

/// Removes the run folder. Without `all`, what the helper recorded stays, since something of what it made does.
pub fn remove(run: &Path, all: bool) -> std::io::Result<()> {
    if all {
        return std::fs::remove_dir_all(run);
    }
    let absent = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    for name in ["bus.sock", "cli.sock", "proxy.sock", "helper.sock"] {
        absent(std::fs::remove_file(run.join(name)))?;
    }
    absent(std::fs::remove_dir_all(run.join(NOTIFY)))
}

fn port(address: SocketAddr, option: &str, leftover: bool) -> Result<TcpListener, Failure> {
    let deadline = Instant::now() + LEFTOVER;
    loop {
        match socket::tcp(address) {
            Err(error) if leftover && error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(AGAIN);
            }
            result => return result.map_err(|error| refused(address, option, &error)),
        }
    }
}

fn refused(address: SocketAddr, option: &str, error: &Error) -> Failure {
    let port = address.port();
    Failure::machine(match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{address} is in use by another program: end that one (ss -ltnp 'sport = :{port}' names it), or choose \
             another port with {option}"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("{address} is no address of this machine: choose another with {option}")
        }
        _ => format!("{error}: choose another address with {option}"),
    })
}
