//! One errand for `culvert`, instead of serving: what touches the database or reads a stranger's file happens in the bus's
//! sandbox, whoever asks.

mod backup;
mod check;
mod damaged;
mod migrate;
mod place;
mod restore;
mod survey;

use std::error::Error;
use std::fs::File;
use std::path::Path;

use culvert_daemon::Context;
use culvert_wire::errand::{Errand, Report, read, write};

/// Where reports go.
#[derive(Debug)]
pub struct Reporter(File);

impl Reporter {
    /// Tells the one who waits. That nobody waits any more is noticed where it matters: at the end.
    pub fn tell(&mut self, report: &Report) {
        let _ = write(&mut self.0, report);
    }

    /// Tells how far something is.
    fn progress(&mut self, what: &str, done: u64, total: u64) {
        self.tell(&Report::Progress { what: what.into(), done, total });
    }
}

/// Runs the errand that was handed over.
///
/// # Errors
///
/// None was, or nobody waits for its end. That the errand itself failed is a report.
pub async fn run(mut context: Context) -> Result<(), Box<dyn Error>> {
    let mut taken = |name: &str| {
        let missing =
            || culvert_daemon::Error::Start(format!("the descriptor `{name}` is missing: `culvert` starts this"));
        context.sockets.take(name).map(File::from).ok_or_else(missing)
    };
    let (mut errand, report) = (taken("errand")?, taken("report")?);
    let mut reporter = Reporter(report);
    let archive = context.sockets.take("archive").map(File::from);
    let folder = context.state.join("bus");
    let errand = read(&mut errand)?.ok_or("there is no errand")?;
    let done = tokio::select! {
        done = carry_out(errand, &folder, archive, &mut reporter) => done,
        () = context.stopped() => Err("it was ended".into()),
    };
    let last = match done {
        Ok(text) => Report::Done(text),
        Err(error) => Report::Failed(error.to_string()),
    };
    Ok(write(&mut reporter.0, &last)?)
}

async fn carry_out(
    errand: Errand,
    folder: &Path,
    archive: Option<File>,
    reporter: &mut Reporter,
) -> Result<String, Box<dyn Error>> {
    let archive = archive.ok_or("there is no archive");
    match errand {
        Errand::Check { uri } => check::run(&uri, reporter).await,
        Errand::Migrate { place, dry: true } => place::with(folder, place, true, migrate::Look { reporter }).await,
        Errand::Migrate { place, dry: false } => {
            place::with(folder, place, false, migrate::Migrate { folder, reporter }).await
        }
        Errand::Damaged { place } => place::with(folder, place, true, damaged::List { reporter }).await,
        Errand::Repair { place, kind, id, body } => {
            place::with(folder, place, false, damaged::Repair { kind, id, body }).await
        }
        Errand::Survey { uri } => survey::run(&uri, reporter).await,
        Errand::Backup { from, passphrase } => backup::write(folder, from, &passphrase, archive?, reporter).await,
        Errand::Verify { passphrase } => backup::verify(&passphrase, archive?, reporter).await,
        Errand::Restore { to, passphrase, fresh } => {
            restore::run(folder, to, &passphrase, fresh, archive?, reporter).await
        }
    }
}
