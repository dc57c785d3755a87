//! `culvert run`: prepares the machine and becomes the supervisor.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use culvert_model::Role;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::arguments::Given;
use crate::configuration::{self, Trouble};
use crate::machine;
use crate::print::say;
use crate::settings::{Settings, Store};

/// Does not come back when all goes well: the supervisor takes this process's place.
///
/// # Errors
///
/// The configuration is at fault, something is missing, or the supervisor can't be executed.
pub fn run(given: Given) -> Result<ExitCode, Trouble> {
    machine::demand_root()?;
    let settings = configuration::settings(&given)?;
    warn_of_passwords(&settings.store);
    machine::demand()?;
    let binaries = binaries()?;
    machine::users()?;
    let store = machine::folders(&settings)?;
    let run = Settings::run_folder(&settings.state);
    let ready = announcer(&settings)?;

    let mut supervisor = Command::new(binaries.join("culvert-supervisor"));
    supervisor.arg("--state").arg(&settings.state).arg("--run").arg(&run).arg("--bin").arg(&binaries);
    supervisor.args(["--listen", &settings.listen.to_string(), "--store", &store, "--log", &settings.log]);
    supervisor.arg("--redirect").arg(settings.redirect.map_or("off".into(), |address| address.to_string()));
    supervisor.arg("--ready-fd").arg(ready.as_raw_fd().to_string());
    if settings.headless {
        supervisor.arg("--headless");
    }
    let error = supervisor.exec();
    Err(Trouble::Failed(format!("{}: {error}", supervisor.get_program().display())))
}

/// Says who else can read the database's password.
fn warn_of_passwords(store: &Store) {
    match store {
        Store::Uri(uri) if uri.contains('@') => say(
            "warning: the database's password stands on the command line, where every user of this machine could read it \
             until now; better: --store @FILE",
        ),
        Store::File(file, uri) if uri.contains('@') && readable_by_others(file) => say(&format!(
            "warning: {0} holds the database's password, and others may read it: run: chmod 600 {0}",
            file.display()
        )),
        _ => {}
    }
}

fn readable_by_others(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0)
}

/// The folder that this program lies in: the others lie beside it, where their users can run them.
pub fn binaries() -> Result<PathBuf, Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("this program's own folder is not known: {error}"));
    let program = std::env::current_exe().and_then(|program| program.canonicalize()).map_err(failed)?;
    let folder = program.parent().ok_or_else(|| Trouble::Failed("this program lies in no folder".into()))?;
    let names = Role::ALL.map(Role::name).into_iter().chain(["helper", "supervisor"]);
    let programs: Vec<PathBuf> = names.map(|name| folder.join(format!("culvert-{name}"))).collect();
    if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
        let text = format!("{} is missing: build or install all programs together (make build)", missing.display());
        return Err(Trouble::Failed(text));
    }
    let closed = |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0);
    if closed(folder) || programs.iter().any(|program| closed(program)) {
        return Err(Trouble::Failed(format!(
            "{0}: only some users may run what is in this folder, but each process has a user of its own: run: chmod o+x \
             {0} {0}/culvert*",
            folder.display()
        )));
    }
    Ok(folder.into())
}

/// Starts the process that prints where the console is once the supervisor says so on the descriptor given back.
fn announcer(settings: &Settings) -> Result<OwnedFd, Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("this program can't be started again: {error}"));
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    let mut announcer = Command::new(std::env::current_exe().map_err(failed)?);
    announcer.arg("announce").arg("--state").arg(&settings.state).args(["--listen", &settings.listen.to_string()]);
    if settings.headless {
        announcer.arg("--headless");
    }
    // A group of its own, so that Ctrl-C reaches the supervisor alone; it ends when the descriptor is closed.
    announcer.stdin(Stdio::from(reader)).process_group(0).spawn().map_err(failed)?;
    let writer = OwnedFd::from(writer);
    fcntl(&writer, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|error| failed(error.into()))?;
    Ok(writer)
}
