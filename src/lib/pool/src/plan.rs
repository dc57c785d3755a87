//! What is missing in which pool.

use std::collections::BTreeSet;

use culvert_model::Millis;
use culvert_model::record::{Job, JobState, Priority};

use crate::stock::Stock;

/// A pool, with how full it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// What it holds.
    pub stock: Stock,
    /// How many are to be ready.
    pub level: u16,
    /// How many are.
    pub ready: u64,
    /// How many jobs are open whose result will be ready, and not somebody's who waits.
    pub coming: u64,
    /// How many jobs failed too often and wait for an administrator.
    pub dead: u64,
    /// The slots whose job is in the store, open or dead.
    pub occupied: BTreeSet<u16>,
}

/// A job that is to be enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order {
    /// What it makes.
    pub stock: Stock,
    /// Which of the pool's slots it fills.
    pub slot: u16,
}

impl Pool {
    /// The pool of this stock, of which so many are ready and which these jobs fill.
    #[must_use]
    pub fn of(stock: Stock, level: u16, ready: u64, jobs: &[Job]) -> Self {
        let count = |is: fn(&&Job) -> bool| jobs.iter().filter(is).count() as u64;
        Self {
            stock,
            level,
            ready,
            coming: count(|job| job.state == JobState::Open && job.reserved.is_none() && !job.cancelled),
            dead: count(|job| job.state == JobState::Dead),
            occupied: jobs.iter().filter_map(|job| stock.slot(&job.id)).collect(),
        }
    }

    fn missing(&self) -> u64 {
        u64::from(self.level).saturating_sub(self.ready).saturating_sub(self.coming)
    }

    fn free(&self) -> impl Iterator<Item = u16> {
        (0..self.level).filter(|slot| !self.occupied.contains(slot))
    }
}

/// What is to be enqueued, in this order: the pool that is filled least comes first, after each order anew.
#[must_use]
pub fn orders(pools: &[Pool]) -> Vec<Order> {
    let mut orders = Vec::new();
    for pool in pools {
        let there = pool.ready + pool.coming;
        for (slot, more) in pool.free().zip(0..pool.missing()) {
            // At most the level, which has 16 bits: no precision is lost.
            let filled = (there + more) as f64 / f64::from(pool.level);
            orders.push((filled, Order { stock: pool.stock, slot }));
        }
    }
    orders.sort_by(|(one, left), (other, right)| one.total_cmp(other).then(left.cmp(right)));
    orders.into_iter().map(|(_, order)| order).collect()
}

impl Order {
    /// The id of the job: whoever else enqueues for the same slot enqueues the same job.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}{}", self.stock.prefix(), self.slot)
    }

    /// The job.
    #[must_use]
    pub fn job(&self, created: Millis) -> Job {
        Job::new(self.id(), self.stock.work(), Priority::Low, created)
    }
}

#[cfg(test)]
mod tests;
