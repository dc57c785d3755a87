//! `culvert store`: a database, looked at from here.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use culvert_wire::errand::{Errand, Place, Report};
use serde_json::json;

use crate::arguments::{Database, Kept, Migrating, Output, Repairing};
use crate::backup;
use crate::cluster::running::Appliance;
use crate::configuration::Trouble;
use crate::errand;
use crate::machine;
use crate::print::{print, say};

/// `culvert store check`.
///
/// # Errors
///
/// The step that failed, and what to do.
pub fn check(given: &Database, output: Output) -> Result<ExitCode, Trouble> {
    let errand = Errand::Check { uri: uri(&given.uri)? };
    let mut steps = Vec::new();
    let mut broken = None;
    let mut show = |report| {
        let Report::Step { name, good, text } = report else { return };
        if output == Output::Text {
            broken =
                broken.take().or(print(&format!("{} {name}: {text}\n", if good { "ok    " } else { "FAILED" })).err());
        }
        steps.push(json!({ "step": name, "good": good, "text": text }));
    };
    let done = errand::send(&given.place.absolute(), &errand, None, &mut show);
    if let Some(trouble) = broken {
        return Err(trouble);
    }
    if output == Output::Json {
        print(&format!("{}\n", json!({ "usable": done.is_ok(), "steps": steps })))?;
        return done.map(|_| ExitCode::SUCCESS);
    }
    print(&format!("{}\n", done?))?;
    Ok(ExitCode::SUCCESS)
}

/// `culvert store migrate`.
///
/// # Errors
///
/// Hosts keep the format back, or the store does not answer.
pub fn migrate(given: &Migrating, output: Output) -> Result<ExitCode, Trouble> {
    carry_out(&given.kept, output, |place| Ok(Errand::Migrate { place, dry: given.dry_run }))
}

/// `culvert store damaged`.
///
/// # Errors
///
/// The store does not answer.
pub fn damaged(given: &Kept, output: Output) -> Result<ExitCode, Trouble> {
    carry_out(given, output, |place| Ok(Errand::Damaged { place }))
}

/// `culvert store repair`.
///
/// # Errors
///
/// There is no such record, it is not damaged, or what was given is no good one: nothing was changed.
pub fn repair(given: &Repairing, output: Output) -> Result<ExitCode, Trouble> {
    let Repairing { kind, id, delete, kept } = given;
    carry_out(kept, output, |place| {
        let body = if *delete { None } else { Some(record()?) };
        Ok(Errand::Repair { place, kind: kind.clone(), id: id.clone(), body })
    })
}

/// A record from standard input.
fn record() -> Result<String, Trouble> {
    let mut text = String::new();
    let read = std::io::stdin().take(1 << 20).read_to_string(&mut text);
    read.map_err(|error| Trouble::Failed(format!("the record can't be read from standard input: {error}")))?;
    Ok(text.trim().to_owned())
}

/// Sends an errand about the records, wherever they are, and prints what it found, line by line.
fn carry_out(
    given: &Kept,
    output: Output,
    errand: impl FnOnce(Place) -> Result<Errand, Trouble>,
) -> Result<ExitCode, Trouble> {
    machine::demand_root()?;
    let appliance = Appliance::of(given.place.absolute());
    let errand = errand(backup::place(&appliance, given.store.as_deref())?)?;
    let (mut found, mut broken) = (Vec::new(), None);
    let text = errand::send(&appliance.state, &errand, None, |report| {
        let Report::Step { name, good, text } = report else { return };
        if output == Output::Text {
            broken = broken.take().or(print(&format!("{name}: {text}\n")).err());
        }
        found.push(json!({ "name": name, "good": good, "text": text }));
    })?;
    if let Some(trouble) = broken {
        return Err(trouble);
    }
    match output {
        Output::Json => print(&format!("{}\n", json!({ "found": found, "text": text })))?,
        Output::Text => print(&format!("{text}\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The URI that was given: itself, in a file, or on standard input.
///
/// # Errors
///
/// It can't be read. It is never repeated: it may hold a password.
pub fn uri(given: &str) -> Result<String, Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("the database's URI can't be read: {error}"));
    let text = if given == "-" {
        let mut text = String::new();
        std::io::stdin().take(1 << 16).read_to_string(&mut text).map_err(failed)?;
        text
    } else if let Some(file) = given.strip_prefix('@') {
        std::fs::read_to_string(Path::new(file)).map_err(failed)?
    } else {
        if given.contains('@') {
            say(
                "warning: the database's password stands on the command line, where every user of this machine can read \
                 it; better: @FILE, or - for standard input",
            );
        }
        given.to_owned()
    };
    Ok(text.trim().to_owned())
}
