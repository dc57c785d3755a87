//! From the prologue to the exit code.

use std::error::Error as StdError;
use std::process::ExitCode;
use std::time::Duration;

use culvert_link::log;
use culvert_model::Role;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::context::Stop;
use crate::{Context, Error, Notify, prologue};

/// How long a process may take to finish what it is answering.
const GRACE: Duration = Duration::from_secs(2);

/// The whole life of a process: the prologue, then a current-thread runtime that runs `serve` until it ends or SIGTERM
/// or SIGINT comes. An error is one line on stderr and the exit code 1, or 2 for [`Error::Configuration`].
pub fn main<F, Fut>(role: Role, serve: F) -> ExitCode
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn StdError>>>,
{
    report_panics(role);
    match live(role, serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(&format!("culvert-{role}: {}", whole(&*error)));
            error.downcast_ref::<Error>().map_or(ExitCode::FAILURE, Error::exit_code)
        }
    }
}

fn live<F, Fut>(role: Role, serve: F) -> Result<(), Box<dyn StdError>>
where
    F: FnOnce(Context) -> Fut,
    Fut: Future<Output = Result<(), Box<dyn StdError>>>,
{
    let (context, stop) = prologue::run(role)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::system("starting the event loop", error))?;
    let result = runtime.block_on(async {
        let signals = Signals::new()?;
        let mut stopped = context.stop.clone();
        if let Some(period) = context.notify.period() {
            tokio::spawn(feed(context.notify.clone(), period));
        }
        tokio::spawn(signals.forward(stop));
        let grace = async {
            // The sender lives in a task of this runtime until it has sent.
            let _ = stopped.wait_for(|stop| *stop != Stop::Not).await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            result = serve(context) => result,
            () = grace => Ok(()),
        }
    });
    // What still runs on a thread of its own may take long, and nobody waits for it any more.
    runtime.shutdown_background();
    result
}

/// Feeds the watchdog on the same runtime as the work, so that it starves when the work hangs.
async fn feed(notify: Notify, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        notify.feed();
    }
}

/// The signals that end a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::system("listening for signals", error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn forward(mut self, stop: watch::Sender<Stop>) {
        stop.send_replace(tokio::select! {
            _ = self.terminate.recv() => Stop::Restart,
            _ = self.interrupt.recv() => Stop::End,
        });
        // Kept, so that those who ask later hear it, too.
        stop.closed().await;
    }
}

/// An error with what caused it, in one line. A cause that the text before already contains is not said twice.
fn whole(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

/// A panic is one line, never a backtrace; the process then aborts, as the build profile says.
fn report_panics(role: Role) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref().map(String::as_str));
        let text = text.unwrap_or("no text").replace('\n', " ");
        log::line(&format!("culvert-{role}: a mistake in the program, please report it: {text} ({place})"));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_with_its_causes() {
        let error = Error::system("reading the settings", std::io::Error::other("the disk\nis gone"));
        assert_eq!(whole(&error), "reading the settings: the disk is gone");
    }
}
