//! Jobs as they are done: by one queue, and by those of several hosts.

#[path = "../kit/mod.rs"]
mod kit;

mod filling;
mod hosts;
mod jobs;
mod material;
mod offered;
mod reins;
mod renewal;
