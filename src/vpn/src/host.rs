//! The host's own addresses, kept in its record for profiles and the console.

use std::time::Duration;

use culvert_model::HostId;
use culvert_model::record::Host;
use culvert_records::{Bus, Refusal};
use culvert_wire::helper::{Reply, Request};
use tokio::time::{MissedTickBehavior, interval};

use crate::helper::Helper;

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(60);

/// How often after a look that failed.
const SOON: Duration = Duration::from_secs(2);

/// Keeps the record right for as long as it is polled.
pub async fn watch(bus: Bus, helper: Helper, host: HostId) {
    let mut ticks = interval(SOON);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if look(&bus, &helper, host).await {
            ticks.reset_after(PERIOD);
        }
    }
}

/// Looks once; tells whether the record is right now.
async fn look(bus: &Bus, helper: &Helper, host: HostId) -> bool {
    let Ok((Reply::Addresses { default, all }, _)) = helper.ask(Request::Addresses).await else { return false };
    let address = default.map(|address| address.to_string());
    let networks: Vec<String> = all.iter().map(|network| network.trunc().to_string()).collect();
    let Ok(Some(mut stored)) = bus.get::<Host>(host).await else { return false };
    if stored.record.local_address == address && stored.record.local_networks == networks {
        return true;
    }
    stored.record.local_address = address;
    stored.record.local_networks = networks;
    match bus.update(&mut stored).await {
        Ok(()) => true,
        Err(failure) => {
            if !matches!(failure.refusal(), Some(Refusal::Stale { .. })) {
                tracing::debug!(%failure, "the host's addresses cannot be recorded yet");
            }
            false
        }
    }
}
