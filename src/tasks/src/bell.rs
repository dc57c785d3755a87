//! What has those who attend to a task look at it.

use std::sync::{Mutex, PoisonError};

use culvert_model::Millis;
use tokio::sync::Notify;

/// Of one task.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Notify,
    /// When something was changed that the task looks at, by the store's clock, unless a run that began later is known.
    changed: Mutex<Option<Millis>>,
}

impl Bell {
    /// The task's record was changed.
    pub fn ring(&self) {
        self.rung.notify_one();
    }

    /// Something that the task looks at was changed at this time; at any time, if it is [`Millis::MAX`].
    pub fn changed(&self, at: Millis) {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever knows of an earlier change knows that there is something to do.
        if changed.is_none() {
            self.ring();
        }
        *changed = (*changed).max(Some(at));
    }

    /// Waits until it is rung.
    pub async fn rung(&self) {
        self.rung.notified().await;
    }

    /// When something was changed that no run has seen, at `now`, if the last one began at that time.
    pub fn unseen(&self, began: Option<Millis>, now: Millis) -> Option<Millis> {
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        *changed = changed.map(|at| at.min(now)).filter(|at| began.is_none_or(|began| *at >= began));
        *changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_stays_unseen_until_a_run_begins_after_it() {
        let bell = Bell::default();
        assert_eq!(bell.unseen(None, 10), None);
        bell.changed(5);
        bell.changed(3);
        assert_eq!(bell.unseen(None, 10), Some(5));
        assert_eq!(bell.unseen(Some(5), 10), Some(5), "it may have looked just before");
        assert_eq!(bell.unseen(Some(6), 10), None);
        assert_eq!(bell.unseen(None, 10), None, "and is forgotten");
    }

    #[test]
    fn what_was_changed_at_any_time_was_changed_by_now() {
        let bell = Bell::default();
        bell.changed(Millis::MAX);
        assert_eq!(bell.unseen(Some(9), 10), Some(10));
        assert_eq!(bell.unseen(Some(11), 12), None);
    }
}
