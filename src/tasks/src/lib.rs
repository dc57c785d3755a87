//! Tasks: every host knows the table; each waits a random while after a task is due and tries to reserve it; one wins.
//!
//! A reservation is the lease of the task's record, as long as the task may take, kept while it runs. Who dies in the middle
//! loses it by the clock, and another begins again; who was only paused changes nothing any more, and is ended. Every task
//! can be run twice without harm.

mod bell;
pub mod desk;
pub mod duty;
pub mod fence;
mod reserve;
mod schedule;

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;

use culvert_daemon::Context;
use culvert_model::{Kind, Millis};
use culvert_records::{Bus, News};
use tokio::task::JoinSet;

use bell::Bell;
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
        let bell = Arc::new(Bell::default());
        tasks.spawn(reserve::attend(bus.clone(), duty, bell.clone()));
        attended.push((duty, bell));
    }
    hear(bus, &attended).await;
}

/// Has a task looked at whose record is changed, because an administrator may have made it due; and one that looks at what
/// was changed.
async fn hear(bus: &Bus, attended: &[(&Duty, Arc<Bell>)]) {
    let kinds: BTreeSet<Kind> = attended.iter().flat_map(|(duty, _)| duty.hears).copied().collect();
    let kinds: Vec<Kind> = kinds.into_iter().chain([Kind::Task]).collect();
    let mut news = bus.subscribe(&kinds).await;
    loop {
        let heard = news.next().await;
        for (duty, bell) in attended {
            match &heard {
                News::Changed(change) if duty.hears.contains(&change.kind) => bell.changed(),
                News::Changed(change) if change.kind == Kind::Task && change.record == duty.name => {
                    if duty.period > OFTEN {
                        bell.ring();
                    }
                }
                News::Changed(_) => {}
                News::Gap => {
                    bell.ring();
                    if !duty.hears.is_empty() {
                        bell.changed();
                    }
                }
            }
        }
    }
}
