//! Sends a `culvert-bus` on an errand, in its sandbox and under its user.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use culvert_link::launch::Launch;
use culvert_link::memfd;
use culvert_wire::errand::{Errand, Report, read, write};

use crate::configuration::Trouble;
use crate::machine;
use crate::run::binaries;
use crate::settings::Settings;

/// How long it may take to end after its last report.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs an errand and shows what it reports. The text that it ends with.
///
/// # Errors
///
/// It could not be started, or it failed: says what to do.
pub fn send(
    state: &Path,
    errand: &Errand,
    archive: Option<&File>,
    mut show: impl FnMut(Report),
) -> Result<String, Trouble> {
    machine::demand_root()?;
    machine::users()?;
    let (_, user) = machine::state(state)?;
    let failed =
        |error: &dyn std::fmt::Display| Trouble::Failed(format!("the bus can't be sent on an errand: {error}"));
    let mut bytes = Vec::new();
    write(&mut bytes, errand).map_err(|error| failed(&error))?;
    let errand = memfd::sealed("errand", &bytes, user.uid.as_raw()).map_err(|error| failed(&error))?;
    let (mut reader, writer) = std::io::pipe().map_err(|error| failed(&error))?;
    let mut launch = Launch::new(binaries()?.join("culvert-bus"))
        .arguments(["--run".into(), Settings::run_folder(state).to_string_lossy()])
        .arguments(["--state".into(), state.to_string_lossy()])
        .arguments(["--store", "inherited", "--errand"])
        .user(user.uid.as_raw(), user.gid.as_raw())
        .die_with_parent()
        .listening("errand", errand.as_fd())
        .listening("report", writer.as_fd());
    if let Some(archive) = archive {
        launch = launch.listening("archive", archive.as_fd());
    }
    let process = launch.start().map_err(|error| failed(&error))?;
    drop(writer);
    let end = loop {
        match read(&mut reader).map_err(|error| failed(&error))? {
            Some(Report::Done(text)) => break Ok(text),
            Some(Report::Failed(text)) => break Err(Trouble::Failed(text)),
            Some(report) => show(report),
            None => break Err(Trouble::Failed("the bus broke off its errand: its line above says why".into())),
        }
    };
    // It ends by itself; who waits for its end in vain has its answer all the same.
    let _ = process.wait(Instant::now() + FAREWELL);
    let _ = process.bury();
    end
}
