//! A request to start an instance, for tests.

use culvert_model::{Cipher, Digest, Id, Port, Protocol, Slot};
use culvert_wire::helper::{Route, Start};

/// A server with three routes, one of them with address translation.
pub fn start() -> Start {
    let route = |network: &str, nat| Route { network: network.parse().expect("a network"), nat };
    Start {
        slot: Slot::try_from(3).expect("a slot"),
        server: Id::from_bytes([0x5f; 12]),
        epoch: 7,
        protocol: Protocol::Udp,
        port: Port::try_from(1194).expect("a port"),
        bind: None,
        network: "10.8.0.0/16".parse().expect("a network"),
        cipher: Cipher::Aes256,
        digest: Digest::Sha1,
        multi_device: false,
        inter_client: false,
        restrict_routes: true,
        max_clients: 2000,
        ping: 10,
        ping_restart: 60,
        renegotiate: 2_592_000,
        mtu: 1500,
        debug: false,
        routes: vec![route("192.168.0.0/16", true), route("192.168.7.0/24", false), route("2001:db8::/32", true)],
        ca: vec![vec![1; 3], vec![2; 3]],
        certificate: vec![3; 50],
        key: vec![4; 6],
        tls_crypt: (0..=255).collect(),
        dh: None,
    }
}
