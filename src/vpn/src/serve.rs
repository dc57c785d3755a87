//! The process: what it is made of and how it ends.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use culvert_daemon::Context;
use culvert_model::{HostId, Slot};
use culvert_records::Bus;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::authority::Pins;
use crate::directory::{Shared, follow};
use crate::fleet::Fleet;
use crate::helper::Helper;
use crate::host;
use crate::instance::Setup;

/// Between two questions for this host's name.
const PAUSE: Duration = Duration::from_millis(250);

/// How long instances may finish what they are answering.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Runs until it is told to stop. What runs, runs on: a stop of this process means a restart.
///
/// # Errors
///
/// Something that every vpn needs is missing.
pub async fn serve(mut context: Context) -> Result<(), Box<dyn std::error::Error>> {
    let kept = kept(&mut context);
    let bus = Bus::new(context.run.join("bus.sock"));
    let helper = Helper::new(context.run.join("helper.sock"));
    context.notify.ready();
    let host = tokio::select! {
        host = this_host(&bus) => host,
        () = context.stopped() => return Ok(()),
    };
    let setup = Setup {
        bus,
        helper,
        directory: Arc::new(Shared::default()),
        pins: Arc::new(Pins::default()),
        notify: Some(context.notify.clone()),
        run: context.run.clone(),
        host,
    };
    let changed = Arc::new(Notify::new());
    let mut aides = JoinSet::new();
    aides.spawn(follow(setup.bus.clone(), host, setup.directory.clone(), changed.clone()));
    aides.spawn(host::watch(setup.bus.clone(), setup.helper.clone(), host));
    let bus = setup.bus.clone();
    let mut fleet = Fleet::new(setup, kept);
    tokio::select! {
        () = fleet.run(changed) => {}
        () = bus.moved(host) => tracing::info!("this machine is another host now; starting again as that one"),
        () = context.stopped() => {}
    }
    fleet.leave(FAREWELL).await;
    Ok(())
}

/// The management connections that were kept for us, by slot.
fn kept(context: &mut Context) -> BTreeMap<Slot, OwnedFd> {
    let stored = context.sockets.take_prefix("instance-");
    let slot = |name: &str| Slot::try_from(name.strip_prefix("instance-")?.parse::<u8>().ok()?).ok();
    stored.into_iter().filter_map(|(name, descriptor)| Some((slot(&name)?, descriptor))).collect()
}

/// Waits for the bus to tell which host this is; says once why it takes long.
async fn this_host(bus: &Bus) -> HostId {
    let mut said = None;
    loop {
        match bus.here().await {
            Ok((host, _)) => return host,
            Err(failure) => {
                let text = failure.to_string();
                if said.as_ref() != Some(&text) {
                    tracing::warn!(failure = text, "the bus does not tell which host this is");
                    said = Some(text);
                }
                sleep(PAUSE).await;
            }
        }
    }
}
