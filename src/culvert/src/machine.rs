//! What the machine must have, and what `culvert run` makes on it: users and folders.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use culvert_model::Role;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, User, access, geteuid};

use crate::cluster::choice;
use crate::configuration::Trouble;
use crate::settings::{Settings, Store};

/// The programs that are executed, and the packages that they come in.
const PROGRAMS: [(&str, &[&str]); 2] =
    [("openvpn", &["/usr/sbin/openvpn"]), ("nftables", &["/usr/sbin/nft", "/sbin/nft"])];

/// What helper and supervisor keep (docs/processes.md), with the kernel's numbers.
const CAPABILITIES: [(u32, &str); 11] = [
    (0, "CHOWN"),
    (1, "DAC_OVERRIDE"),
    (3, "FOWNER"),
    (5, "KILL"),
    (6, "SETGID"),
    (7, "SETUID"),
    (8, "SETPCAP"),
    (10, "NET_BIND_SERVICE"),
    (12, "NET_ADMIN"),
    (21, "SYS_ADMIN"),
    (27, "MKNOD"),
];

/// Nobody but root can make what an appliance needs.
///
/// # Errors
///
/// The caller is not root.
pub fn demand_root() -> Result<(), Trouble> {
    let root = geteuid().is_root();
    let why = "must be started as root: it makes tun devices and firewall rules; try sudo";
    if root { Ok(()) } else { Err(Trouble::Failed(why.into())) }
}

/// What must be there before anything is started.
///
/// # Errors
///
/// All that is missing, each with what to do.
pub fn demand() -> Result<(), Trouble> {
    let absent = |path: &&str| access(*path, AccessFlags::X_OK).is_err();
    if let Some(missing) = capabilities() {
        return Err(Trouble::Failed(missing));
    }
    let mut missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(_, paths)| paths.iter().all(absent))
        .map(|(package, paths)| format!("there is no {} that can be run: install the package {package}", paths[0]))
        .collect();
    if let Err(error) = tun() {
        missing.push(format!("/dev/net/tun can't be used ({error}): load the kernel's tun module (modprobe tun)"));
    }
    if missing.is_empty() { Ok(()) } else { Err(Trouble::Failed(missing.join("\nculvert: "))) }
}

/// Which of the capabilities that root has on a machine are missing here, as in a container.
fn capabilities() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let missing: Vec<&str> =
        CAPABILITIES.iter().filter(|(number, _)| mask & (1 << number) == 0).map(|(_, name)| *name).collect();
    let all = missing.join(", ");
    (!missing.is_empty())
        .then(|| format!("root lacks capabilities here: {all}; if this is a container, grant it these"))
}

fn tun() -> std::io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let device = tun.metadata()?.file_type().is_char_device();
    if device { Ok(()) } else { Err(Error::other("it is no device")) }
}

/// Makes the system user of each process that has none.
///
/// # Errors
///
/// A user can't be made, or two processes share one.
pub fn users() -> Result<(), Trouble> {
    let mut seen: Vec<(u32, Role)> = Vec::new();
    for role in Role::ALL {
        let user = match look_up(role)? {
            Some(user) => user,
            None => make(role)?,
        };
        let uid = user.uid.as_raw();
        if let Some((_, other)) = seen.iter().find(|(taken, _)| *taken == uid) {
            let text = format!(
                "{} and {} have one user id, {uid}: each process needs its own; remove one of the users",
                other.user(),
                role.user()
            );
            return Err(Trouble::Failed(text));
        }
        seen.push((uid, role));
    }
    Ok(())
}

fn look_up(role: Role) -> Result<Option<User>, Trouble> {
    User::from_name(role.user()).map_err(|error| Trouble::Failed(format!("the user {}: {error}", role.user())))
}

fn make(role: Role) -> Result<User, Trouble> {
    let failed = |why: String| Trouble::Failed(format!("the user {} can't be made: {why}", role.user()));
    let arguments =
        ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"];
    let made = Command::new("/usr/sbin/useradd").args(arguments).arg(role.user()).output();
    match made {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(failed(String::from_utf8_lossy(&output.stderr).trim().into())),
        Err(error) => return Err(failed(format!("useradd: {error}"))),
    }
    look_up(role)?.ok_or_else(|| failed("useradd made none".into()))
}

/// Makes the state folder, and the bus's folder in it. A URI goes into a file of the bus's, so that it stands in no
/// process's arguments. Returns what the supervisor is to be told of the store.
///
/// # Errors
///
/// As [`state`].
pub fn folders(settings: &Settings) -> Result<String, Trouble> {
    let (bus, owner) = state(&settings.state)?;
    if settings.store != Store::Chosen && choice::moved(&settings.state) {
        return Err(Trouble::Configuration(vec![
            "store: this appliance's records were moved by `culvert join`, and this setting would set it apart from them: \
             remove it (or run `culvert leave` first)"
                .into(),
        ]));
    }
    let uri = match &settings.store {
        Store::Chosen => return Ok("chosen".into()),
        Store::Embedded => return Ok("embedded".into()),
        Store::Uri(uri) | Store::File(_, uri) => uri,
    };
    let kept = keep(&bus, uri, &owner).map_err(|error| unmade(&bus.join("uri"), &error))?;
    Ok(format!("@{}", kept.display()))
}

/// Makes the state folder, and the bus's folder in it. Returns the latter and its owner.
///
/// # Errors
///
/// The folder can't be made, somebody else could change it, or the bus can't get to it.
pub fn state(state: &Path) -> Result<(PathBuf, User), Trouble> {
    if let Some(closed) = state.ancestors().find(|folder| folder.is_dir() && !others_may_enter(folder)) {
        return Err(Trouble::Failed(format!(
            "{}: other users may not enter this folder, so the bus can't reach its state in {}: choose another --state, \
             or run: chmod o+x {0}",
            closed.display(),
            state.display()
        )));
    }
    DirBuilder::new().recursive(true).mode(0o755).create(state).map_err(|error| unmade(state, &error))?;
    guarded(state)?;
    let owner = look_up(Role::Bus)?.ok_or_else(|| Trouble::Failed("the bus has no user".into()))?;
    let bus = state.join("bus");
    match DirBuilder::new().mode(0o700).create(&bus) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(unmade(&bus, &error)),
        _ => {}
    }
    own(&bus, &owner).map_err(|error| unmade(&bus, &error))?;
    Ok((bus, owner))
}

/// What is wrong with a file or folder that can't be made, and what to do.
#[must_use]
pub fn unmade(path: &Path, error: &Error) -> Trouble {
    let path = path.display();
    Trouble::Failed(match error.kind() {
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            format!("{path}: a part of this path is no folder: remove it, or choose another --state")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!(
                "{path}: it lies on a file system that is read-only: mount it for writing, or choose another --state"
            )
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("{path}: the disk is full: make room on it, or choose another --state")
        }
        _ => format!("{path}: this can't be made or changed ({error}): choose another --state"),
    })
}

/// Nobody but root may put another folder in the place of the bus's.
fn guarded(state: &Path) -> Result<(), Trouble> {
    let meta = std::fs::metadata(state).map_err(|error| unmade(state, &error))?;
    let (name, free) = (state.display(), meta.mode() & 0o1002 == 0o002);
    let why = match meta.uid() {
        0 if free => format!("every user may change it: run: chmod o-w {name}"),
        0 => return Ok(()),
        other => format!("it belongs to the user with the id {other}, not to root: run: chown root {name}"),
    };
    Err(Trouble::Failed(format!(
        "{name}: this folder can't hold the appliance's state, {why}, or choose another --state"
    )))
}

/// Hands a folder to a user alone. A link in its place is refused.
fn own(folder: &Path, owner: &User) -> std::io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let opened = File::options().read(true).custom_flags(flags.bits()).open(folder)?;
    opened.set_permissions(Permissions::from_mode(0o700))?;
    fchown(&opened, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
}

fn others_may_enter(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o001 != 0)
}

/// Keeps a database's URI where the bus reads it. Written beside and renamed, so that a crash leaves the old one or the new
/// one.
pub fn keep(bus: &Path, uri: &str, owner: &User) -> std::io::Result<PathBuf> {
    let (kept, beside) = (bus.join("uri"), bus.join("uri.new"));
    let _ = std::fs::remove_file(&beside);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(uri.as_bytes())?;
    file.sync_all()?;
    chown(&beside, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    std::fs::rename(&beside, &kept)?;
    Ok(kept)
}
