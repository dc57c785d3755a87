//! `culvert-api`: the REST API behind the proxy, and the local socket of `culvert`.
//!
//! Security: runs as culvert-api without capabilities, in a network namespace that it shares with the proxy alone. It
//! listens on that namespace's loopback, on a unix socket for root and on one for the proxy; it connects to the bus and
//! to nothing else, and can neither exec nor open files. Whoever owns it can do what administrators can: make users and
//! servers, read users' keys and the console's key. It cannot read a CA's key, reach the database or any network, or
//! become root: what it writes reaches the helper as typed values only.

use std::process::ExitCode;

use culvert_model::Role;

fn main() -> ExitCode {
    culvert_daemon::main(Role::Api, culvert_api::process::serve)
}
