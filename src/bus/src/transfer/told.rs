//! How far a move is, for whoever asks.

use culvert_wire::bus::{Keeper, Standing, Transfer};
use tokio::sync::watch;

/// Tells how it is with the store.
#[derive(Debug, Clone)]
pub struct Told(watch::Sender<Standing>);

impl Told {
    /// Of a store that is kept there and is not moved.
    #[must_use]
    pub fn of(keeper: Keeper) -> Self {
        Self(watch::Sender::new(Standing { keeper, transfer: None, binding: false }))
    }

    /// What is told now.
    #[must_use]
    pub fn now(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// It may be done already.
    pub fn bind(&self) {
        self.0.send_modify(|standing| standing.binding = true);
    }

    /// So many of so many records are through this step.
    pub fn underway(&self, step: &str, done: u64, total: u64) {
        self.tell(Transfer::Underway { step: step.into(), done, total });
    }

    /// It cannot go on now, and is tried again.
    pub fn waiting(&self, why: &str) {
        if self.tell(Transfer::Waiting(why.into())) {
            tracing::warn!("the records are not moved yet: {why}");
        }
    }

    /// It cannot be done.
    pub fn refused(&self, why: &str) {
        if self.tell(Transfer::Refused(why.into())) {
            tracing::error!("the records are not moved: {why}");
        }
    }

    /// Whether that is news.
    fn tell(&self, transfer: Transfer) -> bool {
        self.0.send_if_modified(|standing| {
            let news = standing.transfer.as_ref() != Some(&transfer);
            standing.transfer = Some(transfer);
            news
        })
    }
}
