//! The actions that get an instance and start it. Each can be done twice, and each can die half-way.

use std::os::fd::OwnedFd;

use culvert_model::record::{Instance as Record, InstanceState, Server};
use culvert_model::{Id, Millis, Slot};
use culvert_records::{Bus, Claim, Failure, Guard, Refusal, update};
use culvert_wire::helper::Request;

use super::holding::Lease;
use super::material::{self, Missing};
use crate::helper;
use crate::instance::Setup;

/// What came of an action.
#[derive(Debug)]
pub(super) enum Outcome {
    /// An instance is held.
    Held { seat: String, server: Id, owner: String, hold: Lease },
    /// It is not held under this word any more.
    Ended { seat: String, owner: String },
    /// OpenVPN runs.
    Started { server: Id, slot: Slot, printed: Option<OwnedFd> },
    /// It could not be started.
    Failed { server: Id, tried: Option<Box<Server>> },
    /// The record says that it serves, or could not be written.
    Online { server: Id, written: bool },
    /// Nothing of it is left, and it need not be held any more.
    Retired { server: Id, seat: String },
    /// Something changed or failed: look again.
    Again { server: Id },
}

/// Makes the record of an instance.
pub(super) async fn create(setup: Setup, server: Id, number: u16) -> Outcome {
    let record = Record {
        id: Record::name(server, number),
        server,
        host: None,
        slot: None,
        state: InstanceState::Idle,
        since: setup.bus.here().await.map_or(0, |(_, now)| now),
        reason: None,
        certificate: None,
    };
    if let Err(failure) = setup.bus.insert(&record).await
        && !matches!(failure.refusal(), Some(Refusal::Exists))
    {
        tracing::warn!(%server, %failure, "the record of an instance cannot be made");
    }
    Outcome::Again { server }
}

/// Starts OpenVPN. The record says where before it is done, so that whoever comes after us finds it.
pub(super) async fn start(setup: Setup, seat: String, server: Id, claim: Claim, slot: Slot) -> Outcome {
    // What is changed from here on may be what was missing.
    let tried = setup.directory.read().servers.get(&server).cloned().map(Box::new);
    let failed = match try_start(&setup, &seat, server, &claim, slot).await {
        Ok(printed) => return Outcome::Started { server, slot, printed },
        Err(reason) => reason,
    };
    tracing::error!(%server, reason = failed, "a server cannot be started");
    let written = write(&setup.bus, &seat, &claim, |record, now| {
        (record.state, record.since, record.reason) = (InstanceState::Failed, now, Some(failed.clone()));
    });
    if let Err(failure) = written.await {
        tracing::warn!(%server, %failure, "that a server failed cannot be recorded");
    }
    Outcome::Failed { server, tried }
}

async fn try_start(
    setup: &Setup,
    seat: &str,
    server: Id,
    claim: &Claim,
    slot: Slot,
) -> Result<Option<OwnedFd>, String> {
    let text = |missing: Missing| missing.to_string();
    // Read before what it is started with: should it be replaced in this moment, the record names the older one.
    let certificate = setup.directory.read().servers.get(&server).and_then(|server| server.certificate);
    let start = material::gather(&setup.bus, &setup.directory, server, claim.epoch, slot).await.map_err(text)?;
    let host = setup.host;
    let written = write(&setup.bus, seat, claim, move |record, now| {
        (record.host, record.slot, record.certificate) = (Some(host), Some(slot), certificate);
        (record.state, record.since) = (InstanceState::Starting, now);
    });
    written.await.map_err(|failure| failure.to_string())?;
    let started = setup.helper.done(Request::Start(Box::new(start))).await;
    started.map_err(|failure: helper::Failure| failure.to_string())
}

/// Says that an instance serves, and where: while this host could not be reached it may have been freed.
pub(super) async fn online(setup: Setup, seat: String, server: Id, claim: Claim, slot: Slot) -> Outcome {
    let written = write(&setup.bus, &seat, &claim, |record, now| {
        (record.host, record.slot) = (Some(setup.host), Some(slot));
        if record.state != InstanceState::Online {
            (record.state, record.since, record.reason) = (InstanceState::Online, now, None);
        }
    });
    Outcome::Online { server, written: written.await.is_ok() }
}

/// Changes an instance's record under a claim.
///
/// # Errors
///
/// The store can't be reached, or the claim does not hold any more.
pub(super) async fn write(
    bus: &Bus,
    seat: &str,
    claim: &Claim,
    change: impl Fn(&mut Record, Millis),
) -> Result<(), Failure> {
    let (_, now) = bus.here().await?;
    let mut tries = 0;
    loop {
        let Some(stored) = bus.get::<Record>(seat).await? else { return Ok(()) };
        let mut record = stored.record.clone();
        change(&mut record, now);
        if record == stored.record {
            return Ok(());
        }
        let guard = Guard { revision: Some(stored.revision), claim: Some(claim.clone()) };
        tries += 1;
        match bus.write(vec![update(&record, guard)]).await {
            Err(failure) if tries < 4 && matches!(failure.refusal(), Some(Refusal::Stale { .. })) => {}
            done => return done.map(drop),
        }
    }
}
