//! Records for tests.

use culvert_model::record::{
    Bytes, Certificate, CertificateKey, CertificateState, Organization, Purpose, Reason, Revocation, Server, ServerKey,
    User,
};
use culvert_model::{Cipher, Digest, HostId, Id, Port, Protocol};

/// An id from a number.
pub fn id(number: u8) -> Id {
    let mut bytes = [0; 12];
    bytes[11] = number;
    Id::from_bytes(bytes)
}

/// The host of the tests.
pub fn host() -> HostId {
    "00000000000000000000000000000001".parse().expect("a host id")
}

/// The organisation 100.
pub fn organization() -> Organization {
    Organization { id: id(100), name: "org".into(), auth_api: false, ca: Some(Bytes(vec![1])), ca_expires: None }
}

/// The server 200 of organisation 100.
pub fn server() -> Server {
    Server {
        id: id(200),
        name: "server".into(),
        online: true,
        started: None,
        network: "10.201.0.0/24".parse().expect("a network"),
        bind_address: None,
        protocol: Protocol::Udp,
        port: Port::try_from(1194).expect("a port"),
        organizations: vec![id(100)],
        hosts: vec![host()],
        standby: Vec::new(),
        replica_count: 1,
        routes: Vec::new(),
        certificate: Some(id(201)),
        groups: Vec::new(),
        dns_servers: Vec::new(),
        search_domain: None,
        cipher: Cipher::Aes256,
        hash: Digest::Sha256,
        dh_param_bits: 2048,
        dh_params: None,
        network_lock: None,
        multi_device: false,
        inter_client: true,
        restrict_routes: true,
        otp_auth: false,
        ping_interval: 10,
        ping_timeout: 60,
        inactive_timeout: None,
        session_timeout: None,
        max_clients: 2000,
        max_devices: 0,
        tun_mtu: None,
        mss_fix: None,
        debug: false,
        block_outside_dns: false,
        pre_connect_msg: None,
    }
}

/// The keys of the server 200.
pub fn server_keys() -> (Certificate, CertificateKey, ServerKey) {
    let mut leaf = certificate(201);
    leaf.id = id(201);
    leaf.purpose = Purpose::Server;
    (
        leaf,
        CertificateKey { id: id(201), key: Bytes(vec![2]) },
        ServerKey { id: id(200), tls_crypt: Bytes(vec![3; 256]) },
    )
}

/// A user of organisation 100.
pub fn user(number: u8) -> User {
    User {
        id: id(number),
        organization: id(100),
        name: format!("user{number}"),
        email: None,
        groups: Vec::new(),
        disabled: false,
        auth_type: "local".into(),
        yubico_id: None,
        pin: false,
        bypass_secondary: false,
        client_to_client: false,
        mac_addresses: None,
        dns_servers: None,
        dns_suffix: None,
        port_forwarding: None,
        network_links: Vec::new(),
        certificate: id(number + 50),
        last_active: None,
    }
}

/// The fingerprint of a user's certificate.
pub fn fingerprint(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

/// The serial number of a user's certificate.
pub fn serial(number: u8) -> String {
    format!("5e{number:02x}")
}

/// The certificate of [`user`].
pub fn certificate(number: u8) -> Certificate {
    Certificate {
        id: id(number.wrapping_add(50)),
        organization: id(100),
        purpose: Purpose::Client,
        state: CertificateState::Taken,
        reserved: None,
        subject: id(number),
        der: Bytes(vec![number]),
        fingerprint: fingerprint(number),
        expires: 0,
        serial: serial(number),
        replaced: None,
    }
}

/// That the certificate of [`user`] is revoked.
pub fn revocation(number: u8) -> Revocation {
    Revocation::of(&certificate(number), 1, Reason::Superseded).expect("it has a serial number")
}
