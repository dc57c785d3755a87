//! What the machine must have, and what `culvert run` makes on it: users and folders.

use std::fs::{DirBuilder, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use culvert_model::Role;
use nix::unistd::{User, geteuid};

use crate::configuration::Trouble;
use crate::settings::{Settings, Store};

/// What must be there before anything is started.
///
/// # Errors
///
/// All that is missing, each with what to do.
pub fn demand(settings: &Settings) -> Result<(), Trouble> {
    if !geteuid().is_root() {
        return Err(Trouble::Failed(
            "must be started as root: it makes tun devices and firewall rules; try sudo".into(),
        ));
    }
    let programs = [("openvpn", "openvpn"), ("nft", "nftables")];
    let mut missing: Vec<String> = programs
        .iter()
        .filter(|(program, _)| {
            !["/usr/sbin", "/sbin", "/usr/bin"].iter().any(|at| Path::new(at).join(program).exists())
        })
        .map(|(program, package)| format!("{program} is not installed: install the package {package}"))
        .collect();
    if !Path::new("/dev/net/tun").exists() {
        missing.push("there is no /dev/net/tun: load the kernel's tun module (modprobe tun)".into());
    }
    if let Store::File(file) = &settings.store
        && let Err(error) = File::open(file)
    {
        missing.push(format!("{}: can't be read: {error}; it is to hold the database's URI", file.display()));
    }
    if missing.is_empty() { Ok(()) } else { Err(Trouble::Failed(missing.join("\nculvert: "))) }
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

/// Makes the state folder, and the bus's folder in it. A URI from the command line goes into a file of the bus's, so
/// that it stands in no process's arguments.
///
/// # Errors
///
/// The folder can't be made, or the bus can't get to it.
///
/// Returns what the supervisor is to be told of the store.
pub fn folders(settings: &Settings) -> Result<String, Trouble> {
    let failed = |path: &Path, error: std::io::Error| Trouble::Failed(format!("{}: {error}", path.display()));
    let state = &settings.state;
    DirBuilder::new().recursive(true).mode(0o755).create(state).map_err(|error| failed(state, error))?;
    if let Some(closed) = state.ancestors().find(|folder| !others_may_enter(folder)) {
        let text = format!(
            "{}: other users may not enter this folder, so the bus can't reach its state in {}: choose another --state, or chmod o+x",
            closed.display(),
            state.display()
        );
        return Err(Trouble::Failed(text));
    }
    let owner = look_up(Role::Bus)?.ok_or_else(|| Trouble::Failed("the bus has no user".into()))?;
    let bus = state.join("bus");
    if !bus.exists() {
        DirBuilder::new().mode(0o700).create(&bus).map_err(|error| failed(&bus, error))?;
    }
    std::fs::set_permissions(&bus, Permissions::from_mode(0o700)).map_err(|error| failed(&bus, error))?;
    chown(&bus, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).map_err(|error| failed(&bus, error))?;
    let uri = match &settings.store {
        Store::Embedded => return Ok("embedded".into()),
        Store::Uri(uri) => uri.clone(),
        Store::File(file) => std::fs::read_to_string(file).map_err(|error| failed(file, error))?,
    };
    let kept = keep(&bus, uri.trim(), &owner).map_err(|error| failed(&bus, error))?;
    Ok(format!("@{}", kept.display()))
}

fn others_may_enter(folder: &Path) -> bool {
    std::fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & 0o001 != 0)
}

/// Written beside and renamed, so that a crash leaves the old one or the new one.
fn keep(bus: &Path, uri: &str, owner: &User) -> std::io::Result<PathBuf> {
    let (kept, beside) = (bus.join("uri"), bus.join("uri.new"));
    let _ = std::fs::remove_file(&beside);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(uri.as_bytes())?;
    file.sync_all()?;
    chown(&beside, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    std::fs::rename(&beside, &kept)?;
    Ok(kept)
}
