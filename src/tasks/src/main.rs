//! Decides, together with the other hosts, who runs what is due.
//!
//! Security: it has no network, no files but its own sockets, no capabilities, and cannot start programs. It deletes
//! what is expired or orphaned, revokes certificates that were replaced, and declares hosts lost; it reads no key and no
//! secret. Who owns it can do that wrongly:
//! delete records, and stop servers.

use std::process::ExitCode;

use culvert_daemon::Role;

fn main() -> ExitCode {
    culvert_daemon::main(Role::Tasks, culvert_tasks::serve)
}
