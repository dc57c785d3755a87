//! Tasks: every host knows the table; each waits a random while after a task is due and tries to reserve it; one wins.
//!
//! A reservation is the lease of the task's record, as long as the task may take. Who dies in the middle loses it by the
//! clock, and another begins again. Every task can be run twice without harm.

pub mod duty;
mod reserve;
mod schedule;

use std::error::Error;

use culvert_daemon::Context;
use culvert_records::Bus;
use tokio::task::JoinSet;

use duty::DUTIES;

/// The process.
///
/// # Errors
///
/// None: it waits for a bus that is away.
pub async fn serve(context: Context) -> Result<(), Box<dyn Error>> {
    let bus = Bus::new(context.run.join("bus.sock"));
    context.notify.ready();
    tokio::select! {
        () = attend(&bus) => {}
        () = context.stopped() => {}
    }
    Ok(())
}

/// Attends to all tasks of the table, for ever. Cancel safe.
pub async fn attend(bus: &Bus) {
    let mut tasks = JoinSet::new();
    for duty in &DUTIES {
        tasks.spawn(reserve::attend(bus.clone(), duty));
    }
    // None of them ends by itself.
    while tasks.join_next().await.is_some() {}
}
