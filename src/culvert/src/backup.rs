//! `culvert backup` and `culvert restore`.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use culvert_wire::errand::{self as wire, Errand, Report};
use serde_json::json;

use crate::arguments::{BackingUp, Given, Output, Restoring};
use crate::cluster::choice::{self, Way};
use crate::cluster::running::Appliance;
use crate::configuration::{self, Trouble};
use crate::print::print;
use crate::progress::Line;
use crate::settings::{Settings, Store};
use crate::{errand, machine, passphrase};

/// `culvert backup`.
///
/// # Errors
///
/// The records can't be read or the file can't be written: then there is no such file.
pub fn backup(asked: &BackingUp, output: Output) -> Result<ExitCode, Trouble> {
    machine::demand_root()?;
    let given = &asked.archive;
    let appliance = Appliance::of(given.place.absolute());
    let from = place(&appliance, given.store.as_deref())?;
    if given.file.exists() && !asked.force {
        let text = format!("{}: this is there already: name another file, or say --force", given.file.display());
        return Err(Trouble::Failed(text));
    }
    let passphrase = passphrase::ask(given.passphrase_file.as_deref(), true)?;
    let beside = beside(&given.file);
    let written = write(&appliance.state, from, passphrase, &beside);
    let text = written.inspect_err(|_| drop(std::fs::remove_file(&beside)))?;
    std::fs::rename(&beside, &given.file).map_err(|error| failed(&given.file, &error))?;
    match output {
        Output::Json => print(&format!("{}\n", json!({ "file": given.file, "holds": text })))?,
        Output::Text => print(&format!(
            "{}: {text}, encrypted; it was read back and is whole. Without the passphrase nobody can open it.\n",
            given.file.display()
        ))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn write(state: &Path, from: wire::Place, passphrase: String, to: &Path) -> Result<String, Trouble> {
    let _ = std::fs::remove_file(to);
    let file = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(|error| failed(to, &error))?;
    let mut line = Line::default();
    let errand = Errand::Backup { from, passphrase: passphrase.clone() };
    let done = errand::send(state, &errand, Some(&file), |report| line.report(&report));
    let verified = done.and_then(|_| {
        let file = File::open(to).map_err(|error| failed(to, &error))?;
        errand::send(state, &Errand::Verify { passphrase }, Some(&file), |report| line.report(&report))
    });
    line.end();
    verified
}

/// `culvert restore`.
///
/// # Errors
///
/// It is no backup, or the place is not free: nothing that is in use was changed.
pub fn restore(given: &Restoring, output: Output) -> Result<ExitCode, Trouble> {
    machine::demand_root()?;
    let archive = &given.archive;
    let appliance = Appliance::of(archive.place.absolute());
    if appliance.standing()?.is_some() {
        return Err(Trouble::Failed("Culvert is running: stop it (Ctrl-C, or its service), then restore".into()));
    }
    let to = place(&appliance, archive.store.as_deref())?;
    let file = File::open(&archive.file).map_err(|error| failed(&archive.file, &error))?;
    let passphrase = passphrase::ask(archive.passphrase_file.as_deref(), false)?;
    let mut line = Line::default();
    let mut what = String::new();
    let errand = Errand::Restore { to: to.clone(), passphrase, fresh: given.new_host };
    let done = errand::send(&appliance.state, &errand, Some(&file), |report| {
        if let Report::Archive { host, made, version } = &report {
            what = format!("made by {host} with Culvert {version} {} ago", age(*made));
        }
        line.report(&report);
    });
    line.end();
    let text = done?;
    if let (wire::Place::Mongo(uri), true) = (&to, archive.store.is_some()) {
        choose(&appliance.state, uri)?;
    }
    match output {
        Output::Json => print(&format!("{}\n", json!({ "restored": text, "backup": what })))?,
        Output::Text => print(&format!("Restored: {text}, {what}. Start it: culvert run\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// From its next start on, the appliance is a member there.
fn choose(state: &Path, uri: &str) -> Result<(), Trouble> {
    let (bus, owner) = machine::state(state)?;
    machine::keep(&bus, uri, &owner).map_err(|error| machine::unmade(state, &error))?;
    choice::put(state, Way::Join).map_err(|error| machine::unmade(state, &error))
}

/// Where the appliance's records are: as it was said, as the running one says, or as the configuration does.
///
/// # Errors
///
/// They are being moved, or what was said or configured makes no sense.
pub fn place(appliance: &Appliance, given: Option<&str>) -> Result<wire::Place, Trouble> {
    let kept = || {
        let read = std::fs::read_to_string(appliance.state.join("bus/uri"));
        read.map(|uri| wire::Place::Mongo(uri.trim().into()))
            .map_err(|error| failed(&appliance.state.join("bus/uri"), &error))
    };
    if given.is_none()
        && let Some(standing) = appliance.standing()?
    {
        if standing.transfer.is_some() {
            let text =
                "the records are being moved just now: wait until that is done (culvert join or culvert leave says so)";
            return Err(Trouble::Failed(text.into()));
        }
        return if standing.member { kept() } else { Ok(wire::Place::Embedded) };
    }
    let given = Given { store: given.map(Into::into), ..Given::default() };
    let Settings { store, .. } = configuration::settings(&given)?;
    match store {
        Store::Uri(uri) | Store::File(_, uri) => Ok(wire::Place::Mongo(uri)),
        Store::Chosen if choice::moved(&appliance.state) => kept(),
        Store::Chosen | Store::Embedded => Ok(wire::Place::Embedded),
    }
}

/// A name in the same folder, so that a file has its own name only when it is whole.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn failed(path: &Path, error: &std::io::Error) -> Trouble {
    let what = match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder".into(),
        ErrorKind::StorageFull => "the disk is full: make room on it".into(),
        _ => error.to_string(),
    };
    Trouble::Failed(format!("{}: {what}", path.display()))
}

/// How long ago something was, for people.
fn age(made: u64) -> String {
    let age = (UNIX_EPOCH + Duration::from_millis(made)).elapsed().unwrap_or_default();
    let minutes = age.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}
