//! What a profile looks like, and that OpenVPN takes it.

#[path = "../../../../tests/kit/samples.rs"]
#[allow(dead_code, reason = "these tests use a part")]
mod samples;

use std::process::{Command, Stdio};

use culvert_contract::body::ServerChange;
use culvert_model::{HostId, Id};

use super::*;

fn organization() -> Organization {
    Organization { id: Id::new(), name: "Acme".into(), auth_api: false, ca: None, ca_expires: None }
}

fn user(organization: Id) -> User {
    User { name: "Zoë".into(), dns_servers: None, dns_suffix: None, ..samples::user(organization) }
}

fn server() -> Server {
    let change = ServerChange {
        name: "office".into(),
        protocol: "udp".into(),
        port: 1194,
        cipher: "aes256".into(),
        hash: "sha256".into(),
        block_outside_dns: true,
        tun_mtu: 1400,
        ..ServerChange::default()
    };
    crate::server::planned(&change, HostId::new()).expect("a server may be so")
}

fn profile(ca: &[u8], certificate: &[u8], key: &[u8]) -> String {
    let organization = organization();
    let (user, server) = (user(organization.id), server());
    let remote = |address: &str| Remote { address: address.into(), priority: 0 };
    write(Parts {
        user: &user,
        organization: &organization,
        server: &server,
        remotes: &[remote("127.0.0.1"), remote("2001:db8::1")],
        ca,
        certificate,
        key,
        tls_crypt: &(0..=255).collect::<Vec<u8>>(),
        renegotiate: 2_592_000,
        device: ("0123456789abcdef0123456789abcdef", "0042"),
    })
}

#[test]
fn the_comment_is_json_and_the_rest_directives() {
    let text = profile(b"ca", b"cert", b"key");
    assert!(text.starts_with("#{\n# \"version\": 1,\n"), "{text}");
    let json: String = text.lines().take_while(|line| line.starts_with('#')).map(|line| &line[1..]).collect();
    let comment: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(comment["user"], "Zoë");
    assert_eq!(comment["password_mode"], "pin");
    assert_eq!(comment["remotes_data"]["127.0.0.1"]["priority"], 0);
    let lines: Vec<&str> = text.lines().collect();
    let place = |line: &str| lines.iter().position(|known| *known == line).unwrap_or_else(|| panic!("{line}: {text}"));
    let order = [
        "#}",
        "ignore-unknown-option data-ciphers",
        "setenv UV_ID 0123456789abcdef0123456789abcdef",
        "setenv UV_NAME element-0042",
        "client",
        "dev tun",
        "remote 2001:db8::1 1194 udp6",
        "remote 127.0.0.1 1194 udp",
        "remote-random",
        "nobind",
        "cipher AES-256-CBC",
        "data-ciphers AES-256-GCM:AES-256-CBC",
        "auth SHA256",
        "reneg-sec 2592000",
        "tun-mtu 1400",
        "block-outside-dns",
        "auth-user-pass",
        "<ca>",
        "<tls-crypt>",
        "000102030405060708090a0b0c0d0e0f",
        "<cert>",
        "<key>",
        "-----BEGIN PRIVATE KEY-----",
    ];
    let places: Vec<usize> = order.iter().map(|line| place(line)).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn long_keys_are_broken_into_lines() {
    let pem = pem("CERTIFICATE", &[7; 100]);
    assert!(pem.lines().all(|line| line.len() <= 64) && pem.ends_with("-----END CERTIFICATE-----\n"));
}

/// OpenVPN reads the profile up to the point where it would make its tunnel, which it may not as nobody.
#[test]
fn openvpn_takes_it() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    let text = profile(certificate.der(), certificate.der(), key.serialized_der());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("profile.ovpn");
    // A PIN would be asked for on a terminal.
    std::fs::write(&path, text.replace("auth-user-pass\n", "")).expect("written");
    let output = Command::new("openvpn")
        .args(["--config", &path.to_string_lossy(), "--dev", "null", "--connect-retry-max", "1", "--remote-random"])
        .args(["--server-poll-timeout", "1", "--hand-window", "1", "--verb", "3"])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else { panic!("openvpn is not installed: install the package openvpn") };
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains("Options error"), "{printed}");
    assert!(printed.contains("TLS Error") || printed.contains("link remote"), "{printed}");
}
