//! The actions that end an instance and leave nothing of it.

use culvert_model::record::{Connection, Instance as Record, InstanceState, Output};
use culvert_model::{Id, Slot};
use culvert_records::{Bus, Claim, Failure, Guard, Query, delete};
use culvert_wire::helper::{Refusal, Request};

use super::acts::{Outcome, write};
use crate::helper;
use crate::instance::Setup;
use crate::plan::Why;

/// The most deletions in one batch.
const BATCH: usize = 50;

/// Ends an OpenVPN.
pub(super) async fn stop(setup: Setup, server: Id, slot: Slot, why: Why) -> Outcome {
    if let Err(failure) = end(&setup, slot).await {
        tracing::warn!(%server, %slot, %failure, "openvpn cannot be ended yet");
    } else if why != Why::Double
        && let Err(failure) = forget_connections(&setup, server).await
    {
        tracing::warn!(%server, %failure, "the connections of an instance that was stopped stay listed");
    }
    Outcome::Again { server }
}

/// Gives an instance up whose OpenVPN is gone.
pub(super) async fn retire(setup: Setup, seat: String, server: Id, claim: Claim) -> Outcome {
    match give_up(&setup, &seat, server, &claim).await {
        Ok(()) => Outcome::Retired { server, seat },
        Err(failure) => {
            tracing::warn!(%server, %failure, "an instance cannot be given up yet");
            Outcome::Again { server }
        }
    }
}

/// Removes what is left of an OpenVPN that ended by itself, and says so.
pub(super) async fn bury(
    setup: Setup,
    server: Id,
    slot: Slot,
    held: Option<(Claim, String)>,
    reason: String,
) -> Outcome {
    if let Err(failure) = end(&setup, slot).await {
        tracing::warn!(%server, %slot, %failure, "what is left of an instance cannot be removed yet");
        return Outcome::Again { server };
    }
    let mut done = forget_connections(&setup, server).await;
    if let Some((claim, seat)) = held
        && done.is_ok()
    {
        done = write(&setup.bus, &seat, &claim, |record, now| {
            (record.state, record.since, record.reason) = (InstanceState::Failed, now, Some(reason.clone()));
        })
        .await;
    }
    if let Err(failure) = done {
        tracing::warn!(%server, %failure, "the end of an instance cannot be recorded");
    }
    Outcome::Again { server }
}

async fn end(setup: &Setup, slot: Slot) -> Result<(), helper::Failure> {
    match setup.helper.done(Request::Stop(slot)).await {
        Ok(_) | Err(helper::Failure::Refused(Refusal::Missing)) => Ok(()),
        Err(failure) => Err(failure),
    }
}

async fn give_up(setup: &Setup, seat: &str, server: Id, claim: &Claim) -> Result<(), Failure> {
    forget_connections(setup, server).await?;
    if setup.directory.read().servers.contains_key(&server) {
        let written = write(&setup.bus, seat, claim, |record, now| {
            (record.host, record.slot) = (None, None);
            // Why it failed stays to be read after it was stopped.
            (record.state, record.since) = (InstanceState::Idle, now);
        });
        return match written.await {
            // Another host has it: it is given up already.
            Err(failure) if failure.refusal().is_some() => Ok(()),
            done => done,
        };
    }
    setup.bus.delete::<Output>(seat).await?;
    setup.bus.delete::<Record>(seat).await
}

/// Nobody is connected to this host's instance of a server any more.
async fn forget_connections(setup: &Setup, server: Id) -> Result<(), Failure> {
    let all = setup.bus.list::<Connection>(Query::by("by_host").equal(setup.host)).await?;
    let ours: Vec<Id> =
        all.iter().filter(|stored| stored.record.server == server).map(|stored| stored.record.id).collect();
    for some in ours.chunks(BATCH) {
        forget(&setup.bus, some).await?;
    }
    Ok(())
}

async fn forget(bus: &Bus, connections: &[Id]) -> Result<(), Failure> {
    let together = connections.iter().map(|id| delete::<Connection>(id, Guard::default())).collect();
    match bus.write(together).await {
        Err(failure) if failure.refusal().is_some() => {
            // One of them is gone already: one by one.
            for id in connections {
                bus.delete::<Connection>(id).await?;
            }
            Ok(())
        }
        done => done.map(drop),
    }
}
