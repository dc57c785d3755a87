//! The bus: the only process that touches the database. A library, so that the conformance suite and the benches can
//! use the stores directly.

pub mod choice;
pub mod cluster;
pub mod damaged;
pub mod errand;
pub mod format;
pub mod heartbeat;
pub mod identity;
pub mod process;
pub mod request;
pub mod roles;
pub mod server;
pub mod store;
pub mod transfer;
mod usage;
