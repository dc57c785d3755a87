//! Keeping ready what takes long to make: what is missing, as a pure decision, and the jobs that make it.
//!
//! The process `pools` does this on every take; the task `pools` does it once in a while, in case a message was lost.
//! However many hosts do it at once, a pool is filled once: a job's id is its pool and slot.

mod plan;
mod refill;
mod stock;
mod survey;

pub use plan::{Order, Pool, orders};
pub use refill::{refill, refill_all};
pub use stock::{Owner, Stock};
pub use survey::{surplus, survey};
