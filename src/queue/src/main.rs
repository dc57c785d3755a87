//! Does the jobs: makes keys and certificates.
//!
//! Security: the only process that reads the keys of CAs, through the bus. It has no network, no files but its own
//! sockets, no capabilities, and cannot start programs; all it takes in are jobs and records. Who owns it can sign
//! certificates in the name of every organisation and read the keys of those that are made meanwhile.

use std::process::ExitCode;

use culvert_daemon::Role;

fn main() -> ExitCode {
    culvert_daemon::main(Role::Queue, culvert_queue::serve)
}
