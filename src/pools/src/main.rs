//! Keeps certificates, CAs and Diffie-Hellman parameters ready, so that nobody waits for a key.
//!
//! Security: it has no network, no files but its own sockets, no capabilities, and cannot start programs. It reads
//! organisations, counts certificates and sees jobs; it never sees a key. Who owns it can have keys made that nobody needs.

use std::process::ExitCode;

use culvert_daemon::Role;

fn main() -> ExitCode {
    culvert_daemon::main(Role::Pools, culvert_pools::serve)
}
