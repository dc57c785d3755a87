//! `culvert-proxy`: TLS in front of the api.
//!
//! Security: runs as culvert-proxy without capabilities, in a network namespace that it shares with the api alone; its
//! sandbox lets it connect to the api's port and to `<run>/proxy.sock`, open no file and start no program. It parses what
//! strangers send, so it is the process that is expected to fall first. Who owns it has the console's TLS key and sees
//! what passes through it (passwords and cookies of administrators who log in meanwhile), and can send requests to the
//! api as any client could. It has no other key, no database, no socket of another process and no way to the network
//! beyond the connections that clients open.

use std::process::ExitCode;

use culvert_daemon::Role;

fn main() -> ExitCode {
    culvert_daemon::main(Role::Proxy, culvert_proxy::serve)
}
