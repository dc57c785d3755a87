//! What every bus does for the format by itself, as long as it runs.

use std::time::Duration;

use culvert_model::record::{Log, Migration};
use culvert_model::{HostId, Kind, Record};
use culvert_wire::bus::Write;
use tokio::time::{Instant, sleep};

use super::survey::{Behind, behind};
use super::{Release, migrate, raise};
use crate::cluster::Unusable;
use crate::store::{Answer, Store, write_id};

/// How often it is looked whether there is something to do.
const LOOK: Duration = Duration::from_secs(30);

/// How often the log says how far a migration is.
const SAY: Duration = Duration::from_secs(10);

/// Raises the format as soon as all hosts know it, and brings the records to it. Never ends.
pub async fn upkeep<S: Store>(store: &S, release: Release, here: HostId) {
    let mut said = String::new();
    loop {
        match look(store, &release, here, &mut said).await {
            Ok(()) => {}
            Err(trouble) => tracing::debug!(%trouble, "the format could not be looked after"),
        }
        sleep(LOOK).await;
    }
}

async fn look<S: Store>(store: &S, release: &Release, here: HostId, said: &mut String) -> Result<(), Unusable> {
    if !raise(store, release, |host| !host.is(here)).await? {
        return Ok(complain(store, release, here, said).await?);
    }
    let mut since = Instant::now();
    migrate(store, release, here, |Migration { kind, looked, changed, .. }| {
        if since.elapsed() > SAY {
            since = Instant::now();
            tracing::info!(kind, looked, changed, "records are being brought to the database's format");
        }
    })
    .await
    .map(drop)
}

/// Tells which hosts keep the format back: each time that it is somebody else, and in the console those that are offline.
async fn complain<S: Store>(store: &S, release: &Release, here: HostId, said: &mut String) -> Answer<()> {
    let mut behind = behind(store, release.format).await?;
    behind.retain(|host| !host.is(here));
    let named = |hosts: &[Behind]| hosts.iter().map(Behind::to_string).collect::<Vec<_>>().join(", ");
    let text = named(&behind);
    if text == *said || text.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        format = release.format,
        hosts = text,
        "the database stays in its older format until these hosts run a version that knows the newer one, or are removed"
    );
    *said = text;
    let offline: Vec<Behind> = behind.into_iter().filter(|host| !host.online).collect();
    if !offline.is_empty() {
        let now = (store.now().await? / 1000) as i64;
        let log = Log::of_hosts_behind(release.format, &named(&offline), now);
        let body = serde_json::to_vec(&log).expect("a record has a form in JSON");
        let insert = Write::Insert { kind: Kind::Log, id: log.id(), body };
        // Another host has told the same.
        let _ = store.write(write_id(), vec![insert]).await;
    }
    Ok(())
}
