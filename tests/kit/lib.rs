//! What the suites share: the appliance in a network namespace, clients of its API and of its tunnels, a real mongod.
//!
//! Everything runs for real, as root: the built binaries, openvpn, mongod, Chromium.

#![allow(missing_docs, reason = "the kit's errors are all of one kind: the test has failed")]
#![allow(clippy::missing_errors_doc, clippy::missing_panics_doc, reason = "likewise")]

pub mod appliance;
pub mod bus;
pub mod console;
pub mod estate;
pub mod events;
pub mod history;
pub mod lines;
pub mod mongod;
pub mod namespace;
pub mod network;
pub mod openvpn;
pub mod secure;
pub mod story;
pub mod work;
pub mod workload;
