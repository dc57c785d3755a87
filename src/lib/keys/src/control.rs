//! How whoever waits for key material pauses its making, gives it up, and sees how far it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Fault;

/// How often a maker that rests looks whether there is still somebody who could wake it.
const LOOK: Duration = Duration::from_secs(1);

/// The reins of something that is being made. Its clones hold the same.
#[derive(Debug, Clone, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wish: Mutex<Wish>,
    changed: Condvar,
    tried: AtomicU64,
}

#[derive(Debug, Default)]
struct Wish {
    pause: bool,
    cancel: bool,
}

impl Control {
    /// Lets the maker rest as soon as it can. A key that is begun is made to its end first.
    pub fn pause(&self) {
        self.wish().pause = true;
    }

    /// Lets a maker that rests go on.
    pub fn resume(&self) {
        self.wish().pause = false;
        self.0.changed.notify_all();
    }

    /// Lets the maker end with [`Fault::Cancelled`], for good, also if it rests.
    pub fn cancel(&self) {
        self.wish().cancel = true;
        self.0.changed.notify_all();
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.wish().cancel
    }

    /// How many candidates a search has tried. Nobody knows how many it will take.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.0.tried.load(Ordering::Relaxed)
    }

    /// Counts a candidate.
    pub(crate) fn count(&self) {
        self.0.tried.fetch_add(1, Ordering::Relaxed);
    }

    /// Rests as long as it is to.
    ///
    /// # Errors
    ///
    /// It is cancelled, or nobody is left who could wake it.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let mut wish = self.wish();
        while wish.pause && !wish.cancel {
            if Arc::strong_count(&self.0) == 1 {
                return Err(Fault::Cancelled);
            }
            wish = self.0.changed.wait_timeout(wish, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        if wish.cancel { Err(Fault::Cancelled) } else { Ok(()) }
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.0.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
