//! The text of a profile, as a pure function of what is in it.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use culvert_model::record::{Organization, Server, User};
use culvert_model::{Cipher, Digest, Protocol};
use serde::Serialize;
use sha2::Digest as _;

/// Seconds after which the keys of a session are renewed by the client: the server decides.
const RENEGOTIATE: u32 = 2_592_000;

/// The longest that a handshake may take, in seconds.
const HAND_WINDOW: u32 = 70;

/// What is in a profile.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// Whose it is.
    pub user: &'a User,
    /// The user's organisation.
    pub organization: &'a Organization,
    /// The server it leads to.
    pub server: &'a Server,
    /// The addresses of the server's hosts.
    pub remotes: &'a [Remote],
    /// The certificate of the CA that signed the server's certificate, DER.
    pub ca: &'a [u8],
    /// The user's certificate, DER.
    pub certificate: &'a [u8],
    /// The user's key, PKCS #8, DER.
    pub key: &'a [u8],
    /// What the server shares with its clients: 256 bytes.
    pub tls_crypt: &'a [u8],
    /// Seconds after which the server renews session keys.
    pub renegotiate: u32,
    /// 32 hex digits and four digits, by which the device is known.
    pub device: (&'a str, &'a str),
}

/// An address that the server is reached at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remote {
    /// A name or an address, without brackets.
    pub address: String,
    /// Preference among hosts.
    pub priority: i64,
}

impl Remote {
    fn is_v6(&self) -> bool {
        self.address.parse::<std::net::Ipv6Addr>().is_ok()
    }
}

/// What existing clients read in the comment at the beginning.
#[derive(Serialize)]
struct Comment<'a> {
    version: u32,
    user: &'a str,
    organization: &'a str,
    server: &'a str,
    wg: bool,
    user_id: String,
    organization_id: String,
    server_id: String,
    server_public_key: [&'a str; 0],
    server_box_public_key: Option<&'a str>,
    sync_hosts: [&'a str; 0],
    sync_hash: Option<&'a str>,
    hide_ovpn: bool,
    ovpn_dco: bool,
    dynamic_firewall: bool,
    geo_sort: Option<&'a str>,
    force_connect: bool,
    device_auth: bool,
    sso_auth: bool,
    password_mode: Option<&'a str>,
    push_auth: bool,
    push_auth_ttl: Option<u32>,
    disable_reconnect: bool,
    restrict_client: bool,
    token_ttl: u32,
    remotes_data: std::collections::BTreeMap<&'a str, Priority>,
    token: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pre_connect_msg: Option<&'a str>,
}

#[derive(Serialize)]
struct Priority {
    priority: i64,
}

/// The profile.
pub fn write(parts: Parts<'_>) -> String {
    let directives = directives(parts);
    let bare = comment(parts, None);
    let digest = sha2::Sha256::digest([bare.as_bytes(), directives.as_bytes()].concat());
    let hash: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = comment(parts, Some(&hash));
    let (id, number) = parts.device;
    // Clients that do not know `data-ciphers` are to go on without it.
    let _ = writeln!(text, "ignore-unknown-option data-ciphers\nsetenv UV_ID {id}\nsetenv UV_NAME element-{number}");
    text.push_str(&directives);
    text.push_str(&blocks(parts));
    text
}

fn comment(parts: Parts<'_>, hash: Option<&str>) -> String {
    let comment = Comment {
        version: 1,
        user: &parts.user.name,
        organization: &parts.organization.name,
        server: &parts.server.name,
        wg: false,
        user_id: parts.user.id.to_string(),
        organization_id: parts.organization.id.to_string(),
        server_id: parts.server.id.to_string(),
        server_public_key: [],
        server_box_public_key: None,
        sync_hosts: [],
        sync_hash: hash,
        hide_ovpn: false,
        ovpn_dco: false,
        dynamic_firewall: false,
        geo_sort: None,
        force_connect: false,
        device_auth: false,
        sso_auth: false,
        password_mode: asks_pin(parts.user).then_some("pin"),
        push_auth: false,
        push_auth_ttl: None,
        disable_reconnect: false,
        restrict_client: false,
        token_ttl: RENEGOTIATE,
        remotes_data: parts
            .remotes
            .iter()
            .map(|remote| (remote.address.as_str(), Priority { priority: remote.priority }))
            .collect(),
        token: false,
        pre_connect_msg: parts.server.pre_connect_msg.as_deref(),
    };
    let json = serde_json::to_string_pretty(&comment).expect("keys are text and numbers are finite");
    json.lines().fold(String::new(), |mut text, line| {
        // The inner lines have one blank for each level, as existing clients write them.
        let inner = line.trim_start_matches(' ');
        let depth = (line.len() - inner.len()) / 2;
        let _ = writeln!(text, "#{}{inner}", " ".repeat(depth));
        text
    })
}

fn asks_pin(user: &User) -> bool {
    user.pin && !user.bypass_secondary
}

fn directives(parts: Parts<'_>) -> String {
    let server = parts.server;
    let mut lines: Vec<String> = vec!["client".into(), "dev tun".into(), "dev-type tun".into()];
    let (v6, v4): (Vec<_>, Vec<_>) = parts.remotes.iter().partition(|remote| remote.is_v6());
    for remote in v6.iter().chain(&v4) {
        let protocol = match (server.protocol, remote.is_v6()) {
            (Protocol::Udp, false) => "udp",
            (Protocol::Udp, true) => "udp6",
            (Protocol::Tcp, false) => "tcp-client",
            (Protocol::Tcp, true) => "tcp6-client",
        };
        lines.push(format!("remote {} {} {protocol}", remote.address, server.port.get()));
    }
    if parts.remotes.len() > 1 {
        lines.push("remote-random".into());
    }
    lines.extend(["nobind".into(), "persist-tun".into()]);
    lines.extend(ciphers(server.cipher).map(Into::into));
    lines.push(format!("auth {}", digest(server.hash)));
    lines.extend(["verb 4".into(), "mute 4".into(), "push-peer-info".into()]);
    lines.push(format!("ping {}", server.ping_interval));
    lines.push(format!("ping-restart {}", server.ping_timeout));
    lines.extend([format!("hand-window {}", hand_window(parts.renegotiate)), "server-poll-timeout 4".into()]);
    lines.push(format!("reneg-sec {RENEGOTIATE}"));
    lines.extend(["sndbuf 393216".into(), "rcvbuf 393216".into(), "remote-cert-tls server".into()]);
    lines.extend(server.tun_mtu.map(|mtu| format!("tun-mtu {mtu}")));
    lines.extend(server.mss_fix.map(|size| format!("mssfix {size}")));
    if server.block_outside_dns {
        lines.extend(["ignore-unknown-option block-outside-dns".into(), "block-outside-dns".into()]);
    }
    if asks_pin(parts.user) {
        lines.push("auth-user-pass".into());
    }
    lines.join("\n") + "\n"
}

/// How long a handshake may take, in seconds, and how long a client goes on with its old key after one (OpenVPN 2.6,
/// `ssl.c`: the lesser of this and half the client's own interval). With a window longer than the server's interval, the
/// server would drop a key that the client still uses, and with it the packets on their way.
fn hand_window(renegotiate: u32) -> u32 {
    if renegotiate == 0 { HAND_WINDOW } else { HAND_WINDOW.min(renegotiate / 2) }
}

fn ciphers(cipher: Cipher) -> [&'static str; 2] {
    match cipher {
        Cipher::None => ["cipher none", "data-ciphers none"],
        Cipher::Bf128 | Cipher::Aes128 => ["cipher AES-128-CBC", "data-ciphers AES-128-GCM:AES-128-CBC"],
        Cipher::Bf256 | Cipher::Aes192 | Cipher::Aes256 => {
            ["cipher AES-256-CBC", "data-ciphers AES-256-GCM:AES-256-CBC"]
        }
        Cipher::Chacha20Poly1305 => ["cipher CHACHA20-POLY1305", "data-ciphers CHACHA20-POLY1305"],
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

fn blocks(parts: Parts<'_>) -> String {
    let block = |name: &str, content: &str| format!("<{name}>\n{content}</{name}>\n");
    [
        block("ca", &pem("CERTIFICATE", parts.ca)),
        block("tls-crypt", &static_key(parts.tls_crypt)),
        block("cert", &pem("CERTIFICATE", parts.certificate)),
        block("key", &pem("PRIVATE KEY", parts.key)),
    ]
    .concat()
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| *byte as char));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// As `openvpn --genkey secret` writes it.
fn static_key(key: &[u8]) -> String {
    let mut text = String::from("-----BEGIN OpenVPN Static key V1-----\n");
    for line in key.chunks(16) {
        line.iter().for_each(|byte| {
            let _ = write!(text, "{byte:02x}");
        });
        text.push('\n');
    }
    text + "-----END OpenVPN Static key V1-----\n"
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
