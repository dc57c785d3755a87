//! What is made, looked at by OpenSSL's own eyes.

use std::io::Write as _;
use std::process::Command;

use openssl::pkey::Public;
use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::*;

pub const NOW: Millis = 1_790_000_000_000;
pub const DAY: Millis = super::DAY;

pub const fn all_kinds() -> [KeyKind; 6] {
    use KeyKind::{Ed25519, P256, P384, Rsa2048, Rsa3072, Rsa4096};
    [Rsa2048, Rsa3072, Rsa4096, P256, P384, Ed25519]
}

fn pair(recipe: Recipe) -> Result<Pair, Fault> {
    match recipe.make(&Control::default())? {
        Made::Pair(pair) => Ok(pair),
        Made::DhParams(_) => panic!("this is no pair"),
    }
}

fn made(recipe: Recipe) -> Pair {
    pair(recipe).expect("the recipe is good")
}

/// An organisation and its CA.
pub fn authority(key: KeyKind) -> (Id, Pair) {
    let organization = Id::new();
    (organization, made(Recipe::Ca { organization, key, days: 7300, now: NOW }))
}

fn recipe(organization: Id, ca: &Pair, purpose: Purpose, key: KeyKind, days: u32) -> Recipe {
    let issuer = Issuer { certificate: ca.der.clone(), key: ca.key.clone() };
    Recipe::Certificate { organization, subject: Id::new(), purpose, issuer, key, days, now: NOW }
}

/// A certificate under a CA.
pub fn leaf(organization: Id, ca: &Pair, purpose: Purpose, key: KeyKind, days: u32) -> Pair {
    made(recipe(organization, ca, purpose, key, days))
}

/// A file with something in it.
pub fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("room on the disk");
    file
}

/// Something as PEM.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = openssl::base64::encode_block(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Runs the program; what it prints, each blank one space, or what it complains of.
pub fn openssl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn text(der: &[u8]) -> String {
    let file = file(&pem("CERTIFICATE", der));
    openssl(&["x509", "-noout", "-text", "-in", file.path().to_str().expect("a path")])
        .expect("a certificate")
        .replace(" = ", "=")
}

/// Runs `openssl verify` as a peer would.
fn verify(ca: &Pair, leaf: &Pair, purpose: &str) -> bool {
    let (ca, leaf) = (file(&pem("CERTIFICATE", &ca.der)), file(&pem("CERTIFICATE", &leaf.der)));
    let [ca, leaf] = [&ca, &leaf].map(|file| file.path().to_str().expect("a path"));
    let time = (NOW / 1000).to_string();
    openssl(&["verify", "-x509_strict", "-attime", &time, "-purpose", purpose, "-CAfile", ca, leaf]).is_ok()
}

fn key_of(made: &Pair) -> (PKey<Private>, PKey<Public>) {
    let key = PKey::private_key_from_pkcs8(&made.key).expect("PKCS #8");
    (key, X509::from_der(&made.der).and_then(|certificate| certificate.public_key()).expect("a certificate"))
}

/// What certificates of keys of this kind say of the key, of what it signs, and of what it may be used for.
const fn says(kind: KeyKind) -> [&'static str; 3] {
    const ANY: &str = "Key Usage: critical Digital Signature X509v3";
    const RSA: &str = "Key Usage: critical Digital Signature, Key Encipherment X509v3";
    match kind {
        KeyKind::Rsa2048 => ["Public-Key: (2048 bit)", "Algorithm: sha256WithRSAEncryption", RSA],
        KeyKind::Rsa3072 => ["Public-Key: (3072 bit)", "Algorithm: sha256WithRSAEncryption", RSA],
        KeyKind::Rsa4096 => ["Public-Key: (4096 bit)", "Algorithm: sha256WithRSAEncryption", RSA],
        KeyKind::P256 => ["ASN1 OID: prime256v1", "Algorithm: ecdsa-with-SHA256", ANY],
        KeyKind::P384 => ["ASN1 OID: secp384r1", "Algorithm: ecdsa-with-SHA384", ANY],
        KeyKind::Ed25519 => ["ED25519 Public-Key:", "Algorithm: ED25519", ANY],
    }
}

#[test]
fn a_ca() {
    for kind in all_kinds() {
        let (organization, ca) = authority(kind);
        let text = text(&ca.der);
        let [public, signature, _] = says(kind);
        for part in [
            "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
            "X509v3 Key Usage: critical Certificate Sign, CRL Sign",
            "X509v3 Subject Key Identifier:",
            &format!("Subject: O={organization}, CN={organization}"),
            public,
            signature,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let (key, public) = key_of(&ca);
        assert!(key.public_eq(&public));
        assert_eq!((ca.expires, ca.fingerprint.len()), (NOW + 7300 * DAY, 64));
    }
}

#[test]
fn every_key_under_every_ca() {
    let (_, stranger) = authority(KeyKind::P256);
    for issuer in all_kinds() {
        let (organization, ca) = authority(issuer);
        for kind in all_kinds() {
            // Keys that take long are made once for each CA.
            let client = leaf(organization, &ca, Purpose::Client, kind, 1825);
            assert!(verify(&ca, &client, "sslclient") && !verify(&ca, &client, "sslserver"), "{kind:?} by {issuer:?}");
            assert!(!verify(&stranger, &client, "sslclient"));
            let (text, [_, signature, _], [public, _, usage]) = (text(&client.der), says(issuer), says(kind));
            for part in [
                public,
                signature,
                usage,
                "X509v3 Basic Constraints: critical CA:FALSE",
                "X509v3 Authority Key Identifier:",
            ] {
                assert!(text.contains(part), "{part} in {text}");
            }
            let (key, public) = key_of(&client);
            assert!(key.public_eq(&public));
        }
    }
}

#[test]
fn a_user_and_a_server() {
    let (organization, ca) = authority(KeyKind::P256);
    let [client, server] =
        [Purpose::Client, Purpose::Server].map(|purpose| leaf(organization, &ca, purpose, KeyKind::P256, 1825));
    assert!(verify(&ca, &server, "sslserver") && !verify(&ca, &server, "sslclient"));
    assert!(text(&client.der).contains("X509v3 Extended Key Usage: TLS Web Client Authentication X509v3"));
    assert!(text(&server.der).contains("X509v3 Extended Key Usage: TLS Web Server Authentication X509v3"));
    assert!(text(&client.der).contains(&format!("Subject: O={organization}, CN={}", client.subject)));
    assert!(client.fingerprint != server.fingerprint && client.serial != server.serial);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A certificate ends when the settings say, and never after its CA.
    #[test]
    fn ends_in_time(ca_days in 1_u32..10_000, days in 1_u32..20_000, late in 0_u64..10_000 * DAY) {
        let organization = Id::new();
        let ca = made(Recipe::Ca { organization, key: KeyKind::Ed25519, days: ca_days, now: NOW });
        let mut recipe = recipe(organization, &ca, Purpose::Client, KeyKind::Ed25519, days);
        if let Recipe::Certificate { now, .. } = &mut recipe {
            *now += late;
        }
        let wished = (NOW + late + Millis::from(days) * DAY) / 1000 * 1000;
        match pair(recipe) {
            Ok(leaf) => {
                prop_assert_eq!(leaf.expires, wished.min(ca.expires));
                let certificate = X509::from_der(&leaf.der).expect("a certificate");
                prop_assert_eq!(end(&certificate).ok(), Some(leaf.expires));
            }
            Err(Fault::Expired) => prop_assert!(NOW + late >= ca.expires),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    /// 128 random bits as in the record: what the certificate has, and what the list of revoked ones is made from.
    #[test]
    fn serials(_ in 0..1_u8) {
        let (_, ca) = authority(KeyKind::Ed25519);
        let serial = u128::from_str_radix(&ca.serial, 16).expect("hexadecimal digits");
        prop_assert!(serial >> 127 == 1, "never short, never zero");
        let certificate = X509::from_der(&ca.der).expect("a certificate");
        let theirs = certificate.serial_number().to_bn().expect("a number").to_vec();
        prop_assert_eq!(theirs, serial.to_be_bytes().to_vec());
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let (organization, mut ca) = authority(KeyKind::P256);
    let spare = pair(recipe(organization, &ca, Purpose::Authority, KeyKind::P256, 10));
    assert!(matches!(spare, Err(Fault::Authority)));
    ca.key = authority(KeyKind::P256).1.key;
    let server = pair(recipe(organization, &ca, Purpose::Server, KeyKind::P256, 10));
    assert!(matches!(server, Err(Fault::Mismatch)));
    for bits in [0, 1024, 2047, 8192] {
        assert!(matches!(Recipe::DhParams { bits }.make(&Control::default()), Err(Fault::Size(_))));
    }
    let cancelled = Control::default();
    cancelled.cancel();
    assert!(matches!(Recipe::Console { now: NOW }.make(&cancelled), Err(Fault::Cancelled)));
}

#[test]
fn the_console() {
    let console = made(Recipe::Console { now: NOW });
    let text = text(&console.der);
    for part in [
        "Subject: CN=culvert",
        "Issuer: CN=culvert",
        "DNS:culvert, DNS:localhost, IP Address:127.0.0.1",
        "TLS Web Server Authentication",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let certificate = X509::from_der(&console.der).expect("a certificate");
    assert!(certificate.verify(&key_of(&console).1).expect("it can be checked"));
}
