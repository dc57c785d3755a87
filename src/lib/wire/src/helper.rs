//! Between `vpn` and the helper: sequenced packets, one request and one reply at a time. A descriptor travels with some
//! replies.
//!
//! Nothing here is text that could end in a configuration, an argument or a rule: addresses, ports, numbers, enums, and
//! key material as bytes that the helper encodes without looking at them.

use std::net::{IpAddr, Ipv4Addr};

use culvert_model::{Cipher, Digest, Id, Port, Protocol, Slot};
use ipnet::IpNet;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The longest packet in bytes.
pub const PACKET: usize = 128 << 10;

/// The longest certificate or key in bytes.
pub const BLOB: usize = 8 << 10;

/// The longest Diffie-Hellman parameters in bytes.
pub const DH: usize = 1 << 10;

/// The most CA certificates of one server.
pub const CAS: usize = 100;

/// The most routes of one server.
pub const ROUTES: usize = 256;

/// The most clients whose rules change in one request.
pub const CLIENTS: usize = 1000;

/// What `vpn` can ask of the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Which instances there are. Answered by [`Reply::Instances`].
    List,
    /// Which addresses the host has. Answered by [`Reply::Addresses`].
    Addresses,
    /// Make a tunnel and start OpenVPN on it. Answered by [`Reply::Done`] as soon as the process runs, with the reading
    /// end of what it prints.
    Start(Box<Start>),
    /// End OpenVPN and remove everything that was made for it. Answered by [`Reply::Done`] when it is gone.
    Stop(Slot),
    /// Another reading end of what an instance prints. Answered by [`Reply::Done`] with the descriptor.
    Output(Slot),
    /// Which clients of an instance may send, all of them. Answered by [`Reply::Done`].
    Clients {
        /// The instance.
        slot: Slot,
        /// Their addresses in the tunnel.
        addresses: Vec<Ipv4Addr>,
    },
    /// Let these clients of an instance send, and those no longer. Answered by [`Reply::Done`].
    Change {
        /// The instance.
        slot: Slot,
        /// Addresses to let in.
        add: Vec<Ipv4Addr>,
        /// Addresses to shut out.
        remove: Vec<Ipv4Addr>,
    },
}

/// What the helper needs to know of an instance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which tunnel it uses.
    pub slot: Slot,
    /// The server.
    pub server: Id,
    /// The epoch of the claim under which it runs.
    pub epoch: u64,
    /// What it speaks.
    pub protocol: Protocol,
    /// The port that it listens on.
    pub port: Port,
    /// The only address that it listens on.
    pub bind: Option<IpAddr>,
    /// Its clients' network, at most 4,194,304 addresses (`/10`) and at least 8 (`/29`).
    pub network: Ipv4Net,
    /// The cipher for clients.
    pub cipher: Cipher,
    /// The digest for clients.
    pub digest: Digest,
    /// Whether a user may connect with several devices at once (`--duplicate-cn`).
    pub multi_device: bool,
    /// Whether clients reach each other.
    pub inter_client: bool,
    /// Whether clients reach nothing but the routes.
    pub restrict_routes: bool,
    /// The most clients at a time.
    pub max_clients: u16,
    /// Seconds between two keep-alive packets.
    pub ping: u16,
    /// Seconds without any after which a client is taken for gone.
    pub ping_restart: u16,
    /// Seconds after which session keys are renewed; 0 for never (`--reneg-sec`).
    pub renegotiate: u32,
    /// The largest packet inside the tunnel, in bytes, 576 to 9000.
    pub mtu: u16,
    /// Whether the log has every detail.
    pub debug: bool,
    /// What clients reach through it.
    pub routes: Vec<Route>,
    /// The certificates of the CAs whose clients may connect, DER.
    pub ca: Vec<Vec<u8>>,
    /// The server's certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key, PKCS #8, DER.
    pub key: Vec<u8>,
    /// The key that it shares with its clients: exactly 256 bytes.
    pub tls_crypt: Vec<u8>,
    /// Diffie-Hellman parameters for clients that know no elliptic curves, PKCS #3, DER.
    pub dh: Option<Vec<u8>>,
}

/// Which instance it is, and no more: there are keys in it.
impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { slot, server, epoch, .. } = self;
        let mut text = f.debug_struct("Start");
        text.field("slot", slot).field("server", server).field("epoch", epoch).finish_non_exhaustive()
    }
}

/// A network behind the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network, without host bits.
    pub network: IpNet,
    /// Whether clients appear with the host's address there.
    pub nat: bool,
}

/// What the helper answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// What runs.
    Instances(Vec<Instance>),
    /// The host's addresses, loopback and our tunnels left out.
    Addresses {
        /// The address on the interface of the default route.
        default: Option<IpAddr>,
        /// Each with the length of its network's prefix.
        all: Vec<IpNet>,
    },
    /// It is not done, and nothing of it is left.
    Refused(Refusal),
}

/// An instance that the helper started, this one or one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its tunnel.
    pub slot: Slot,
    /// The server.
    pub server: Id,
    /// The epoch under which it was started.
    pub epoch: u64,
    /// OpenVPN's process id, for people.
    pub pid: u32,
    /// Whether OpenVPN runs. If it does not, [`Request::Stop`] removes what is left.
    pub running: bool,
}

/// Why the helper did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// A value is outside its range.
    Value,
    /// The slot is in use.
    InUse,
    /// There is no instance in that slot.
    Missing,
    /// There is no tun device: the kernel has no tun driver, or `/dev/net/tun` is not there.
    NoTun,
    /// There is no `openvpn`.
    NoOpenvpn,
    /// There is no `nft`, or the kernel refused the rules.
    NoFirewall,
    /// The network is on one of the host's interfaces already.
    NetworkInUse,
    /// The kernel refused something else: the error's number.
    System(i32),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value => "the helper refused a value that is outside its range",
            Self::InUse => "the tunnel is in use",
            Self::Missing => "there is no such tunnel",
            Self::NoTun => "this machine has no tun device: load the kernel's tun module, or make /dev/net/tun",
            Self::NoOpenvpn => "openvpn is not installed: install the package openvpn",
            Self::NoFirewall => {
                "nft is not installed or the kernel refused its rules: install the package nftables, and see the log"
            }
            Self::NetworkInUse => "the server's network is in use on one of this machine's interfaces: choose another",
            Self::System(number) => return write!(f, "the kernel refused: error {number}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_logged_has_no_keys() {
        let start = Start {
            slot: Slot::try_from(3).expect("a slot"),
            server: Id::from_bytes([7; 12]),
            epoch: 1,
            protocol: Protocol::Udp,
            port: Port::try_from(1194).expect("a port"),
            bind: None,
            network: "10.8.0.0/24".parse().expect("a network"),
            cipher: Cipher::Aes256,
            digest: Digest::Sha1,
            multi_device: false,
            inter_client: false,
            restrict_routes: true,
            max_clients: 100,
            ping: 10,
            ping_restart: 60,
            renegotiate: 3600,
            mtu: 1500,
            debug: false,
            routes: Vec::new(),
            ca: vec![vec![201; 3]],
            certificate: vec![202; 3],
            key: vec![203; 3],
            tls_crypt: vec![204; 256],
            dh: None,
        };
        let text = format!("{:?}", Request::Start(Box::new(start)));
        assert!(text.contains("epoch: 1"), "{text}");
        assert!(!text.contains("203") && !text.contains("204"), "{text}");
    }
}
