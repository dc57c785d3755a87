//! The helper: makes and removes what takes privileges for a VPN server: its tun device, its rules, its openvpn process.
//!
//! Security: runs as root, with the few capabilities that this takes. It answers `vpn` alone, by the peer credentials of
//! a unix socket; it understands nothing but a handful of typed requests, and nothing of them ends as text in a
//! configuration, an argument or a rule before it was a number, an address or a word of a fixed list. It opens no
//! network socket, reaches no database and executes two programs, openvpn and nft, by absolute path. Who owns `vpn` can
//! start and stop servers and let clients in; who owns the helper owns the host.

mod arguments;
mod bounds;
mod cgroup;
mod configuration;
mod encoding;
#[cfg(test)]
mod example;
mod failure;
mod firewall;
mod heart;
mod host;
mod instances;
mod network;
mod openvpn;
mod place;
mod record;
mod rules;
mod serve;
mod start;

use std::process::ExitCode;

fn main() -> ExitCode {
    match start::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
