//! Records for tests.

#[path = "../../src/sample.rs"]
mod sample;

use culvert_model::record::{
    Bytes, Certificate, CertificateKey, CertificateState, Organization, Purpose, Reason, Revocation, ServerKey,
};
pub use sample::*;

/// The organisation 100.
pub fn organization() -> Organization {
    Organization { id: id(100), name: "org".into(), auth_api: false, ca: Some(Bytes(vec![1])), ca_expires: None }
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
