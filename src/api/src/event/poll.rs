//! The long poll.

use std::time::Duration;

use culvert_model::Id;
use culvert_records::is_remembered;
use tokio::time::{sleep, timeout};

use super::{Event, meaning};
use crate::answer::{Answer, No};
use crate::api::Api;

/// How long a poll is held.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same while the database is away: nothing happens that could be told, but the answer says so.
const AWAY: Duration = Duration::from_secs(2);

/// How long after the first event the others that follow it are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// What happened behind the cursor, or from now on; nothing if nothing happens in time. A cursor that this api does not
/// know means that events may have been missed, so that everything is to be read again.
///
/// # Errors
///
/// Too many consoles wait.
pub async fn poll(api: &Api, cursor: Option<Id>) -> Answer<Vec<Event>> {
    let _place = api.feed.places.try_acquire().map_err(|_| No::busy())?;
    let mut news = api.feed.news.subscribe();
    let (known, last) =
        api.feed.ring(|ring| (cursor.filter(|cursor| ring.behind(Some(*cursor)).is_some()), ring.last()));
    if let (Some(_), None, Some(last)) = (cursor, known, last) {
        let now = api.now().await.map_or(0, |now| (now / 1000) as i64);
        return Ok(meaning::everything(last, now));
    }
    let start = known.or(last);
    let behind = || api.feed.ring(|ring| ring.behind(start)).unwrap_or_default();
    let patience = if is_remembered() { AWAY } else { PATIENCE };
    let waited = timeout(patience, async {
        while behind().is_empty() {
            if news.changed().await.is_err() {
                return;
            }
        }
        sleep(GATHER).await;
    });
    match waited.await {
        Ok(()) => Ok(behind()),
        Err(_) => Ok(Vec::new()),
    }
}
