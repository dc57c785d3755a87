//! `culvert-vpn`: runs the VPN servers of this host and decides who may connect.
//!
//! Security: no privileges, no network. It reads what clients say through OpenVPN's management sockets, reads users and
//! servers from the bus, and asks the helper for tunnels and rules in typed requests. Who owns it can let anybody into
//! the tunnels of this host, end them, and read the keys of this host's servers; it can read no CA key and no user's
//! key, cannot exec, and cannot reach a network.

use std::process::ExitCode;

fn main() -> ExitCode {
    culvert_daemon::main(culvert_daemon::Role::Vpn, culvert_vpn::serve)
}
