//! What has those who attend to a task look at it.

use std::sync::{Mutex, PoisonError};

use culvert_model::Millis;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Of one task.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Notify,
    /// When it was last heard that something was changed which the task looks at, unless a run that began later is known.
    /// When it was heard, and not when it was written: a run that began in between may not have seen it.
    heard: Mutex<Option<Instant>>,
}

impl Bell {
    /// The task's record was changed.
    pub fn ring(&self) {
        self.rung.notify_one();
    }

    /// Something that the task looks at was changed, or may have been.
    pub fn changed(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever knows of an earlier change knows that there is something to do.
        if heard.replace(Instant::now()).is_none() {
            self.ring();
        }
    }

    /// Waits until it is rung.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// When it was heard of a change that no run has seen, by the store's clock, which is at `now`; the last run began at
    /// that time.
    pub fn unseen(&self, began: Option<Millis>, now: Millis) -> Option<Millis> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let at = heard.map(|heard| now.saturating_sub(heard.elapsed().as_millis() as Millis));
        let unseen = at.filter(|at| began.is_none_or(|began| *at >= began));
        *heard = heard.filter(|_| unseen.is_some());
        unseen
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_changed_stays_unseen_until_a_run_begins_after_it_was_heard_of() {
        let bell = Bell::default();
        assert_eq!(bell.unseen(None, 1_000), None);
        bell.changed();
        advance(Duration::from_millis(100)).await;
        assert_eq!(bell.unseen(None, 1_100), Some(1_000));
        assert_eq!(bell.unseen(Some(990), 1_100), Some(1_000), "however long ago it was written");
        assert_eq!(bell.unseen(Some(1_000), 1_100), Some(1_000), "it may have looked just before");
        bell.changed();
        assert_eq!(bell.unseen(Some(1_001), 1_100), Some(1_100), "and again");
        advance(Duration::from_millis(100)).await;
        assert_eq!(bell.unseen(Some(1_101), 1_200), None);
        assert_eq!(bell.unseen(None, 1_200), None, "and is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn rings_once_for_what_nobody_has_seen() {
        let bell = Bell::default();
        bell.changed();
        bell.changed();
        bell.rung().await;
        assert!(timeout(Duration::from_secs(9), bell.rung()).await.is_err());
    }
}
