//! OpenVPN's configuration, written from typed values: numbers, addresses, words of ours, and encoded bytes.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use culvert_model::{Cipher, Digest, Protocol, Role};
use culvert_wire::helper::Start;
use zeroize::Zeroizing;

use crate::{bounds, encoding};

/// The longest handshake in seconds; profiles say the same.
const HAND_WINDOW: u16 = 70;

/// Room for all that is no key material, in bytes.
const PLAIN: usize = 4096;

/// The configuration of an instance whose management socket is `management` (the helper's own path, checked when the
/// helper started: it has no character that means something here). It has room from the beginning, so that it never
/// moves and leaves a copy of the keys behind, and is wiped in the end.
pub fn render(start: &Start, management: &Path) -> Zeroizing<String> {
    let material = [&start.certificate, &start.key, &start.tls_crypt];
    let material: usize = start.ca.iter().chain(&start.dh).chain(material).map(|bytes| 2 * bytes.len() + 128).sum();
    let mut text = Zeroizing::new(String::with_capacity(PLAIN + management.as_os_str().len() + material));
    for line in tunnel(start).into_iter().chain(sessions(start)).chain(control(management)) {
        text.push_str(&line);
        text.push('\n');
    }
    block(&mut text, "ca", |text| start.ca.iter().for_each(|ca| encoding::pem(text, "CERTIFICATE", ca)));
    block(&mut text, "cert", |text| encoding::pem(text, "CERTIFICATE", &start.certificate));
    block(&mut text, "key", |text| encoding::pem(text, "PRIVATE KEY", &start.key));
    if let Some(dh) = &start.dh {
        block(&mut text, "dh", |text| encoding::pem(text, "DH PARAMETERS", dh));
    }
    block(&mut text, "tls-crypt", |text| encoding::static_key(text, &start.tls_crypt));
    text
}

/// What stands between two tags.
fn block(text: &mut String, name: &str, inside: impl FnOnce(&mut String)) {
    let _ = writeln!(text, "<{name}>");
    inside(text);
    let _ = writeln!(text, "</{name}>");
}

/// The device, the socket and the network.
fn tunnel(start: &Start) -> Vec<String> {
    let address = bounds::server_address(start.network);
    let mut lines = vec![
        format!("dev culvert{}", start.slot),
        "dev-type tun".to_owned(),
        format!("proto {}", protocol(start)),
        format!("port {}", start.port.get()),
    ];
    lines.extend(start.bind.map(|address| format!("local {address}")));
    lines.extend([
        // A part of what `server` stands for, which itself refuses networks larger than /16: `vpn` gives each client its
        // address and all that is pushed.
        "mode server".to_owned(),
        "tls-server".to_owned(),
        "topology subnet".to_owned(),
        format!("ifconfig {address} {}", start.network.netmask()),
        // The helper has done both: openvpn may not, and need not, touch the network's configuration.
        "ifconfig-noexec".to_owned(),
        "route-noexec".to_owned(),
        format!("tun-mtu {}", start.mtu),
        "persist-tun".to_owned(),
        "persist-key".to_owned(),
        format!("max-clients {}", start.max_clients),
        format!("ping {}", start.ping),
        format!("ping-restart {}", start.ping_restart),
    ]);
    if start.inter_client {
        lines.push("client-to-client".to_owned());
    }
    if start.multi_device {
        lines.push("duplicate-cn".to_owned());
    }
    if start.protocol == Protocol::Udp {
        lines.push("explicit-exit-notify 1".to_owned());
        if start.bind.is_none() {
            // A client that came to one address of the host takes no answer from another.
            lines.push("multihome".to_owned());
        }
    }
    lines
}

/// What protects a session.
fn sessions(start: &Start) -> Vec<String> {
    let (offered, fallback) = ciphers(start.cipher);
    let mut lines = vec![
        "tls-version-min 1.2".to_owned(),
        format!("data-ciphers {offered}"),
        format!("data-ciphers-fallback {fallback}"),
        format!("auth {}", digest(start.digest)),
        format!("reneg-sec {}", start.renegotiate),
        format!("hand-window {HAND_WINDOW}"),
        "verify-client-cert require".to_owned(),
        // Without it openvpn itself refuses clients that have no password, before `vpn` is asked.
        "auth-user-pass-optional".to_owned(),
        format!("verb {}", if start.debug { 6 } else { 3 }),
    ];
    if start.dh.is_none() {
        lines.push("dh none".to_owned());
    }
    lines
}

/// How `vpn` decides about clients.
fn control(management: &Path) -> [String; 4] {
    [
        format!("management {} unix", management.display()),
        format!("management-client-user {}", Role::Vpn.user()),
        "management-client-auth".to_owned(),
        "management-hold".to_owned(),
    ]
}

fn protocol(start: &Start) -> &'static str {
    let six = matches!(start.bind, Some(IpAddr::V6(_)));
    match (start.protocol, six) {
        (Protocol::Udp, false) => "udp4",
        (Protocol::Udp, true) => "udp6",
        (Protocol::Tcp, false) => "tcp4-server",
        (Protocol::Tcp, true) => "tcp6-server",
    }
}

/// The ciphers that clients may choose from, and the one for clients that can't choose: those that profiles of existing
/// servers name (`semantics.md` section c).
fn ciphers(cipher: Cipher) -> (&'static str, &'static str) {
    match cipher {
        Cipher::None => ("none", "none"),
        Cipher::Bf128 | Cipher::Aes128 => ("AES-128-GCM:AES-128-CBC", "AES-128-CBC"),
        Cipher::Bf256 | Cipher::Aes192 | Cipher::Aes256 => ("AES-256-GCM:AES-256-CBC", "AES-256-CBC"),
        Cipher::Chacha20Poly1305 => ("CHACHA20-POLY1305", "CHACHA20-POLY1305"),
    }
}

fn digest(digest: Digest) -> &'static str {
    match digest {
        Digest::None => "none",
        Digest::Md5 => "MD5",
        Digest::Sha1 => "SHA1",
        Digest::Sha256 => "SHA256",
        Digest::Sha512 => "SHA512",
    }
}

#[cfg(test)]
mod tests {
    use culvert_wire::helper::{BLOB, CAS, DH};

    use super::*;
    use crate::example;

    fn rendered(start: &Start) -> Zeroizing<String> {
        render(start, Path::new("/run/culvert/instances/3/management.sock"))
    }

    #[test]
    fn the_example_in_full() {
        let expected = include_str!("../snapshots/configuration.conf");
        assert_eq!(*rendered(&example::start()), expected);
    }

    #[test]
    fn what_the_settings_change() {
        let start = Start {
            protocol: Protocol::Tcp,
            bind: Some("2001:db8::1".parse().expect("an address")),
            inter_client: true,
            multi_device: true,
            debug: true,
            cipher: Cipher::Chacha20Poly1305,
            digest: Digest::None,
            ..example::start()
        };
        let text = rendered(&start);
        let lines: Vec<&str> = text.lines().collect();
        for line in
            ["proto tcp6-server", "local 2001:db8::1", "client-to-client", "duplicate-cn", "verb 6", "auth none"]
        {
            assert!(lines.contains(&line), "{line}");
        }
        assert!(lines.contains(&"data-ciphers CHACHA20-POLY1305"));
        assert!(!text.contains("explicit-exit-notify"));
    }

    #[test]
    fn diffie_hellman_parameters_are_there_or_not() {
        assert!(rendered(&example::start()).lines().any(|line| line == "dh none"));
        let text = rendered(&Start { dh: Some(vec![5; 3]), ..example::start() });
        assert!(!text.contains("dh none"));
        let block = "<dh>\n-----BEGIN DH PARAMETERS-----\nBQUF\n-----END DH PARAMETERS-----\n</dh>\n";
        assert!(text.contains(block), "{}", *text);
    }

    #[test]
    fn a_configuration_never_moves() {
        let start = Start {
            ca: vec![vec![7; BLOB]; CAS],
            certificate: vec![7; BLOB],
            key: vec![7; BLOB],
            dh: Some(vec![7; DH]),
            inter_client: true,
            multi_device: true,
            ..example::start()
        };
        let material = (2 + CAS) * (2 * BLOB + 128) + (2 * DH + 128) + (2 * 256 + 128);
        let text = rendered(&start);
        assert!(text.capacity() <= PLAIN + 100 + material, "it had room from the beginning: {}", text.capacity());
    }

    #[test]
    fn bytes_cannot_become_directives() {
        let attack = b"\n</key>\nscript-security 2\nup /bin/sh\n<key>\n".to_vec();
        let dh = Some(attack.clone());
        let start =
            Start { key: attack.clone(), certificate: attack.clone(), ca: vec![attack], dh, ..example::start() };
        let text = rendered(&start);
        assert!(!text.contains("script-security") && !text.contains("/bin/sh"));
        assert_eq!(text.lines().filter(|line| *line == "</key>").count(), 1);
    }
}
