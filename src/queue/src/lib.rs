//! The queue: claims jobs, does them, and writes each result in one batch with the job's removal.
//!
//! A job is done once because the batch is guarded by the job's claim: whoever was paused, or lost the lease for any
//! reason, can't write. A job that is begun five times without an end is dead; an administrator may retry it.
//!
//! A process ends with whatever it does when one of its jobs brings it down. So a job whose attempt was begun and never
//! ended is done alone from then on: the one that is to blame takes no other with it a second time.

mod choice;
mod claimed;
mod fate;
mod job;
mod look;
mod offer;
mod thread;
mod work;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use culvert_daemon::Context;
use culvert_lease::Terms;
use culvert_model::{HostId, Id, Millis};
use culvert_records::Bus;
use look::Look;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// A job's lease: 15 s, renewed every 5 s.
pub const TERMS: Terms = Terms::of(15_000);

/// What begins the name under which this process claims; a random word follows, so that no process takes an earlier
/// one's claim for its own.
pub(crate) const OWNER: &str = "queue-";

/// How long leases are given back when the process ends.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// What all jobs of this process share.
pub(crate) struct Desk {
    pub bus: Bus,
    pub host: HostId,
    /// Under which name this process claims.
    pub owner: String,
    /// On which terms.
    pub terms: Terms,
    begun: Instant,
}

impl Desk {
    /// Milliseconds of this process's monotonic clock.
    pub fn clock(&self) -> Millis {
        self.begun.elapsed().as_millis() as Millis
    }
}

/// The process.
///
/// # Errors
///
/// None: it waits for a bus that is away.
pub async fn serve(context: Context) -> Result<(), Box<dyn Error>> {
    let bus = Bus::new(context.run.join("bus.sock"));
    context.notify.ready();
    attend(bus, context.stopped()).await;
    Ok(())
}

/// Does jobs until it is told to stop; gives back those that it has not ended by then.
pub async fn attend(bus: Bus, stop: impl Future<Output = ()>) {
    attend_on(bus, TERMS, stop).await;
}

/// The same, with leases on other terms than [`TERMS`]: a suite need not wait for as long as a machine that is busy.
pub async fn attend_on(bus: Bus, terms: Terms, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let work = async {
        let desk = Arc::new(Desk::open(bus, terms).await);
        let mut look = Look::new(desk.clone(), stopped);
        tokio::select! {
            () = look.run() => {}
            () = desk.bus.moved(desk.host) => tracing::info!("this machine is another host now; starting again as that one"),
        }
    };
    tokio::pin!(work);
    tokio::select! {
        () = &mut work => {}
        () = stop => {
            // Always heard: the work has a receiver, or it has not begun.
            let _ = stopping.send(true);
            // A job that can't give its lease back in time loses it by the clock.
            let _ = timeout(FAREWELL, work).await;
        }
    }
}

impl Desk {
    /// Waits for the bus.
    pub async fn open(bus: Bus, terms: Terms) -> Self {
        let host = loop {
            match bus.here().await {
                Ok((host, _)) => break host,
                Err(failure) => tracing::debug!(%failure, "waiting for the bus"),
            }
            sleep(Duration::from_millis(200)).await;
        };
        Self { bus, host, owner: format!("{OWNER}{}", Id::new()), terms, begun: Instant::now() }
    }
}
