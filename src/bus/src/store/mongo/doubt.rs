//! Changes that may have happened and were not announced: all are told to read again, so that no change is passed over in
//! silence.
//!
//! A write is in doubt from its beginning until its announcement stands among the messages. Whatever ends the doubt in
//! another way (its outcome stays unknown, whoever asked is gone in the middle of it, the announcement cannot be made)
//! leaves a gap to be told to everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::announce::{append, message};
use super::attempt::OPERATION;
use super::base::majority;

/// An attempt that nobody waits for any more may work so long at the server, and wait there a little before.
const UNDER_WAY: Duration = OPERATION.saturating_add(Duration::from_millis(500));

/// How long a majority may take, and how soon it is asked again.
const MAJORITY: Duration = Duration::from_secs(7);
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked whether nothing is in doubt any more.
const LOOK: Duration = Duration::from_millis(10);

/// What is in doubt.
#[derive(Debug, Clone, Default)]
pub struct Doubts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Writes whose announcement is not made yet, and gaps that are to be told.
    open: AtomicUsize,
    gaps: AtomicUsize,
    gap: Notify,
}

/// A write that is in doubt. Dropped, it leaves a gap.
#[derive(Debug)]
pub struct Doubt {
    counts: Arc<Counts>,
    ended: bool,
}

impl Doubts {
    /// A write begins, whose changes are announced or not.
    #[must_use]
    pub fn begin(&self, announced: bool) -> Doubt {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Doubt { counts: self.0.clone(), ended: !announced }
    }

    /// Something happened of which nobody may have heard.
    pub fn gap(&self) {
        self.0.owe();
    }

    /// Waits until nothing is in doubt; says whether that came in time.
    pub async fn settled(&self, deadline: Duration) -> bool {
        let ends = Instant::now() + deadline;
        let open = || self.0.open.load(Ordering::Relaxed) + self.0.gaps.load(Ordering::Relaxed);
        while open() > 0 {
            if Instant::now() > ends {
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    /// Tells the gaps, for ever.
    pub async fn tell(self, messages: Collection<Document>) {
        loop {
            self.0.gap.notified().await;
            // What is still under way at a server is done or over after this.
            sleep(UNDER_WAY).await;
            let told = self.0.gaps.load(Ordering::Relaxed);
            if told == 0 {
                continue;
            }
            // Whoever hears the gap reads what a majority has: that must be all that came before.
            while !settle(&messages).await || !append(&messages, &[message(doc! { "gap": true })]).await {
                sleep(AGAIN).await;
            }
            tracing::warn!("a change may not have been announced: all were told to read again");
            self.0.gaps.fetch_sub(told, Ordering::Relaxed);
        }
    }
}

/// Waits until a majority has all that the primary has now.
async fn settle(messages: &Collection<Document>) -> bool {
    let settled = messages.insert_one(message(doc! { "settled": true })).write_concern(majority());
    matches!(timeout(MAJORITY, async { settled.await }).await, Ok(Ok(_)))
}

impl Counts {
    fn owe(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.gap.notify_one();
    }
}

impl Doubt {
    /// Nothing was changed, or everybody will hear of it.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if !self.ended {
            self.counts.owe();
        }
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_ends_in_no_other_way_is_a_gap() {
        let doubts = Doubts::default();
        let open = |doubts: &Doubts| doubts.0.gaps.load(Ordering::Relaxed);
        doubts.begin(true).end();
        drop(doubts.begin(false));
        assert_eq!(open(&doubts), 0);
        let doubt = doubts.begin(true);
        assert!(!doubts.settled(Duration::ZERO).await, "a write is under way");
        drop(doubt);
        assert_eq!(open(&doubts), 1);
        assert!(!doubts.settled(Duration::ZERO).await, "a gap is to be told");
    }
}
