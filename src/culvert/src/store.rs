//! `culvert store`: a database, looked at from here.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use culvert_wire::errand::{Errand, Report};
use serde_json::json;

use crate::arguments::{Database, Output};
use crate::configuration::Trouble;
use crate::errand;
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
