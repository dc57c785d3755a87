//! `culvert-bus`: keeps the records and the messages for all processes of a host.
//!
//! # Security
//!
//! The only process that touches the database: it has the URI and a route there, or the embedded database's file, and
//! writes to no other folder. It runs as culvert-bus without capabilities, executes nothing, and listens on one unix
//! socket, where it tells its peers apart by the kernel's word and allows each role what `roles.rs` says. Whoever owns
//! it has all records, private keys among them, and can change them; but neither root, nor a way to run a program or to
//! make a tunnel: what it says ends as typed values in the helper.

use std::process::ExitCode;

fn main() -> ExitCode {
    culvert_daemon::main(culvert_daemon::Role::Bus, culvert_bus::process::run)
}
