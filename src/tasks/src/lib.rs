//! Tasks: every host knows the table; each waits a random while after a task is due and tries to reserve it; one wins.
//!
//! A reservation is the lease of the task's record, as long as the task may take. Who dies in the middle loses it by the
//! clock, and another begins again. Every task can be run twice without harm.

pub mod desk;
pub mod duty;
mod reserve;
mod schedule;

use std::error::Error;
use std::sync::Arc;

use culvert_daemon::Context;
use culvert_model::{Kind, Millis};
use culvert_records::{Bus, News};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use duty::{DUTIES, Duty};

/// A task that is due at least so often, milliseconds, needs not be looked at because its record was changed.
const OFTEN: Millis = 10_000;

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
    attend_to(bus, &DUTIES).await;
}

/// Attends to these tasks, for ever. Cancel safe.
pub async fn attend_to(bus: &Bus, duties: &'static [Duty]) {
    let mut tasks = JoinSet::new();
    let mut attended = Vec::new();
    for duty in duties {
        let changed = Arc::new(Notify::new());
        tasks.spawn(reserve::attend(bus.clone(), duty, changed.clone()));
        attended.push((duty, changed));
    }
    hear(bus, &attended).await;
}

/// Has a task looked at whose record is changed: an administrator may have made it due.
async fn hear(bus: &Bus, attended: &[(&Duty, Arc<Notify>)]) {
    let mut news = bus.subscribe(&[Kind::Task]).await;
    loop {
        let concerned = |duty: &Duty, news: &News| match news {
            News::Changed(change) => change.record == duty.name && duty.period > OFTEN,
            News::Gap => true,
        };
        let heard = news.next().await;
        attended.iter().filter(|(duty, _)| concerned(duty, &heard)).for_each(|(_, changed)| changed.notify_one());
    }
}
