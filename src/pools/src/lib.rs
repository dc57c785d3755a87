//! Pools: hears of everything that is taken from a pool, and enqueues the jobs that fill the gap.

mod owed;

use std::error::Error;
use std::time::Duration;

use culvert_daemon::Context;
use culvert_jobs::Enqueued;
use culvert_pool::{refill, refill_all};
use culvert_records::{Bus, Failure, Subscription};
use tokio::time::{sleep, timeout};

use owed::{HEARD, Owed};

/// After a refill that came to nothing because the store is away.
const RETRY: Duration = Duration::from_secs(1);

/// The process.
///
/// # Errors
///
/// None: it waits for a bus that is away.
pub async fn serve(context: Context) -> Result<(), Box<dyn Error>> {
    let bus = Bus::new(context.run.join("bus.sock"));
    context.notify.ready();
    tokio::select! {
        () = keep(&bus) => {}
        () = context.stopped() => {}
    }
    Ok(())
}

/// Keeps the pools at their levels, for ever. Cancel safe.
pub async fn keep(bus: &Bus) {
    let mut news = bus.subscribe(&HEARD).await;
    let mut owed = Owed::default();
    loop {
        hear(&mut news, &mut owed).await;
        match settle(bus, &owed).await {
            Ok(done) => {
                if done != Enqueued::default() {
                    tracing::info!(enqueued = done.enqueued, there = done.there, "refilled");
                }
                owed = Owed::default();
            }
            Err(failure) => {
                tracing::debug!(%failure, "could not refill; trying again");
                sleep(RETRY).await;
            }
        }
    }
}

/// Waits until something is owed, and takes in all that was heard by then: many changes are one reason to look.
async fn hear(news: &mut Subscription, owed: &mut Owed) {
    while owed.nothing() {
        owed.add(&news.next().await);
    }
    while let Ok(more) = timeout(Duration::ZERO, news.next()).await {
        owed.add(&more);
    }
}

async fn settle(bus: &Bus, owed: &Owed) -> Result<Enqueued, Failure> {
    match owed {
        Owed::All => refill_all(bus).await,
        Owed::Of(owners) => refill(bus, owners).await,
    }
}
