//! Hosts that no longer report.

use culvert_model::record::{Host, HostStatus, Log};
use culvert_model::{HostId, Id, Millis};
use culvert_records::{Failure, Query, Stored, insert, update};

use super::{Desk, all, counted};

/// How long a host's heartbeat lasts, milliseconds: contact for less proves nothing about who is lost.
pub const HEARTBEAT: Millis = 10_000;

pub async fn run(desk: &Desk<'_>) -> Result<String, Failure> {
    let hosts = all::<Host>(desk.bus, Query::all()).await?;
    if desk.bus.uninterrupted() < HEARTBEAT {
        return Ok("waits until every host had the time to report".into());
    }
    let mut count = 0;
    for mut host in hosts.into_iter().filter(|host| lost(host, desk.host)) {
        host.record.status = HostStatus::Offline;
        let message = format!("The host {} does not report any more and is taken for lost.", host.record.name);
        let log = Log { id: Id::new(), timestamp: (desk.now / 1000) as i64, message };
        match desk.bus.write(vec![update(&host.record, host.unchanged()), insert(&log)]).await {
            Ok(_) => count += 1,
            // It is being changed, so somebody else cares for it.
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(format!("{} lost", counted(count, "host")))
}

/// This host is there: it is looking.
fn lost(host: &Stored<Host>, here: HostId) -> bool {
    host.record.status == HostStatus::Online && host.held_for() == 0 && host.record.id != here
}
