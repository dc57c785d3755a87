//! Enqueueing jobs: each once, spread evenly over the hosts.
//!
//! A job names the host that is to take it, which is decided here; any other may after a short while, which the queue
//! decides. So the policy needs no more than a glance: what it does not know costs evenness, and never leaves a job.

mod anew;
mod enqueue;
mod spread;

pub use anew::anew;
pub use enqueue::{Enqueued, demand, enqueue, glance, place};
pub use spread::{Given, Load, Spread};
