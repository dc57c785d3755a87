//! Hosts that no longer report.
//!
//! A host that vanishes is to be offline for everybody within 10 s. Looking often would do it; looking at the right moment
//! costs less: each run says when the first of the leases that it saw could run out, and that is when the next one is due.

use culvert_model::record::{Host, HostStatus};
use culvert_model::{HostId, Millis};
use culvert_records::{Failure, Query, Stored, unheld, update};

use super::{Done, counted};
use crate::desk::Desk;

/// How long a lease's end is waited for beyond it, so that it has surely run out.
pub const MARGIN: Millis = 20;

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let hosts = desk.all::<Host>(Query::all()).await?;
    if let Some(early) = early(desk, Host::LEASE) {
        return Ok(early);
    }
    let mut count = 0;
    let again = next(&hosts);
    for mut host in hosts.into_iter().filter(|host| lost(host, desk.host)) {
        host.record.status = HostStatus::Offline;
        let message = format!("The host {} does not report any more and is taken for lost.", host.record.name);
        // Who comes back takes the lease before it changes anything of the record.
        let free = unheld::<Host>(host.record.id);
        count += u64::from(desk.write(vec![free, update(&host.record, host.unchanged()), desk.note(message)]).await?);
    }
    Ok(Done { text: format!("{} lost", counted(count, "host")), again })
}

/// What a run comes to before there has been contact with the store for as long as a lease lasts: contact for less proves
/// nothing about who is lost.
pub fn early(desk: &Desk<'_>, lease: Millis) -> Option<Done> {
    let rest = lease.checked_sub(desk.bus.uninterrupted()).filter(|rest| *rest > 0)?;
    Some(Done { text: "waits until every host had the time to report".into(), again: Some(rest + MARGIN) })
}

/// In how many milliseconds the first of the leases could run out, this host's own included: another may look then. One
/// that is taken only now ends later than that.
fn next(hosts: &[Stored<Host>]) -> Option<Millis> {
    let online = hosts.iter().filter(|host| host.record.status == HostStatus::Online);
    online.map(Stored::held_for).filter(|left| *left > 0).min().map(|left| left + MARGIN)
}

/// This host is there: it is looking.
fn lost(host: &Stored<Host>, here: HostId) -> bool {
    host.record.status == HostStatus::Online && host.held_for() == 0 && host.record.id != here
}
