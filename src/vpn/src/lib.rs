//! The VPN servers of a host: which of them run here, who may connect, and what a client gets.
//!
//! Decisions are pure and stand in `plan`, `authority::standing`, `grant`, `culvert_model::network` and `instance::session`;
//! the rest waits, reads and writes.

pub mod addresses;
pub mod authority;
pub mod directory;
pub mod fleet;
pub mod gate;
pub mod grant;
pub mod helper;
mod host;
pub mod instance;
pub mod management;
pub mod plan;
#[cfg(test)]
pub(crate) mod sample;
mod serve;

pub use serve::serve;
