//! Which way requests went.

use std::sync::atomic::{AtomicU64, Ordering};

use culvert_pool::Stock;

/// How somebody gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It was ready.
    Ready,
    /// It was being made, or waited to be.
    Coming,
    /// It is made for whoever asked.
    Made,
}

impl Way {
    const ALL: [Self; 3] = [Self::Ready, Self::Coming, Self::Made];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Coming => "coming",
            Self::Made => "made",
        }
    }
}

/// How many requests went which way since the process began.
#[derive(Debug, Default)]
pub struct Takes([[AtomicU64; Way::ALL.len()]; Stock::NAMES.len()]);

impl Takes {
    /// Counts one.
    pub fn count(&self, stock: Stock, way: Way) {
        if let Some(pool) = Stock::NAMES.iter().position(|name| *name == stock.name()) {
            self.0[pool][way as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The name of each pool, each way, and how many went it.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        Stock::NAMES.iter().zip(&self.0).flat_map(|(pool, ways)| {
            Way::ALL.iter().zip(ways).map(|(way, count)| (*pool, way.name(), count.load(Ordering::Relaxed)))
        })
    }
}
