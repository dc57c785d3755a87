//! From the bus to the ring and to everybody in this process who waits for a change.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use culvert_model::{Id, Kind};
use culvert_records::{Change, News};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::{Event, Ring, meaning};
use crate::api::Api;

/// Changes that somebody in this process may leave unread before it must look by itself.
const UNREAD: usize = 256;

/// Consoles that wait for events at the same time.
const WAITING: usize = 512;

/// How long changes that come in bursts are gathered before consoles hear of them.
const GATHERED: Duration = Duration::from_millis(500);

/// What consoles are told.
#[derive(Debug)]
pub struct Feed {
    ring: Mutex<Ring>,
    /// The number of events so far: changes whenever there is a new one.
    pub(super) news: watch::Sender<u64>,
    changes: broadcast::Sender<Kind>,
    gaps: watch::Sender<u64>,
    /// Places for those who wait.
    pub(super) places: Semaphore,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            ring: Mutex::default(),
            news: watch::Sender::new(0),
            changes: broadcast::Sender::new(UNREAD),
            gaps: watch::Sender::new(0),
            places: Semaphore::new(WAITING),
        }
    }
}

impl Feed {
    /// The kinds of all changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Kind> {
        self.changes.subscribe()
    }

    /// Changes whenever changes may have been missed.
    pub fn gaps(&self) -> watch::Receiver<u64> {
        self.gaps.subscribe()
    }

    /// Looks at the ring.
    pub(super) fn ring<T>(&self, look: impl FnOnce(&Ring) -> T) -> T {
        look(&self.ring.lock().expect("nobody panics while holding this"))
    }

    fn push(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        self.ring.lock().expect("nobody panics while holding this").push(events);
        self.news.send_modify(|count| *count += 1);
    }

    fn gap(&self, now: i64) {
        self.push(meaning::everything(Id::new(), now));
        self.gaps.send_modify(|count| *count += 1);
        for kind in meaning::HEARD {
            let _ = self.changes.send(*kind);
        }
    }
}

/// Fills the feed from the bus, as long as the process lives.
pub async fn follow(api: Api) {
    let mut news = api.bus.subscribe(meaning::HEARD).await;
    // Output and work come in bursts: the last change of each burst waits until its time has come.
    let mut gathered: BTreeMap<String, (Instant, Change)> = BTreeMap::new();
    loop {
        let due = gathered.values().map(|(due, _)| *due).min();
        tokio::select! {
            news = news.next() => match news {
                News::Gap => {
                    let now = api.now().await.map_or(0, |now| (now / 1000) as i64);
                    api.feed.gap(now);
                }
                News::Changed(change) => {
                    // Nobody may be waiting.
                    let _ = api.feed.changes.send(change.kind);
                    match meaning::gathered(&change) {
                        Some(burst) => {
                            let due = gathered.get(&burst).map_or(Instant::now() + GATHERED, |(due, _)| *due);
                            gathered.insert(burst, (due, change));
                        }
                        None => api.feed.push(meaning::events(&change)),
                    }
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let now = Instant::now();
                gathered.retain(|_, (due, change)| {
                    let ripe = *due <= now;
                    if ripe {
                        api.feed.push(meaning::events(change));
                    }
                    !ripe
                });
            }
        }
    }
}
