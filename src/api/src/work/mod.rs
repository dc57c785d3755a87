//! Jobs, tasks and pools, as administrators see them, and what they can do about them.

pub mod job;
pub mod pool;
pub mod task;
