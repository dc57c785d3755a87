//! What is made, looked at by OpenSSL's own eyes.

use std::io::Write as _;
use std::process::Command;

use openssl::pkey::Public;

use super::*;

const NOW: Millis = 1_790_000_000_000;

fn made(recipe: Recipe) -> Made {
    recipe.make().expect("the recipe is good")
}

fn ca() -> (Id, Made) {
    let organization = Id::new();
    (organization, made(Recipe::Ca { organization, key: KeyKind::P256, days: 7300, now: NOW }))
}

fn leaf(organization: Id, ca: &Made, purpose: Purpose, days: u32) -> Recipe {
    let issuer = Issuer { certificate: ca.der.clone(), key: ca.key.clone() };
    Recipe::Certificate { organization, subject: Id::new(), purpose, issuer, key: KeyKind::Rsa2048, days, now: NOW }
}

fn file(name: &str, bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().prefix(name).tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room on the disk");
    file
}

fn text(der: &[u8]) -> String {
    let pem = X509::from_der(der).and_then(|certificate| certificate.to_text()).expect("a certificate");
    String::from_utf8(pem).expect("OpenSSL prints text").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs `openssl verify` as a peer would.
fn verify(ca: &Made, leaf: &Made, purpose: &str) -> bool {
    let pem = |der: &[u8]| X509::from_der(der).and_then(|certificate| certificate.to_pem()).expect("a certificate");
    let (ca, leaf) = (file("ca", &pem(&ca.der)), file("leaf", &pem(&leaf.der)));
    let output = Command::new("openssl")
        .args(["verify", "-x509_strict", "-attime", &(NOW / 1000).to_string(), "-purpose", purpose, "-CAfile"])
        .args([ca.path(), leaf.path()])
        .output()
        .expect("openssl is installed");
    output.status.success()
}

fn key_of(made: &Made) -> (PKey<Private>, PKey<Public>) {
    let key = PKey::private_key_from_pkcs8(&made.key).expect("PKCS #8");
    (key, X509::from_der(&made.der).and_then(|certificate| certificate.public_key()).expect("a certificate"))
}

#[test]
fn a_ca() {
    let (organization, ca) = ca();
    let text = text(&ca.der);
    for part in [
        "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
        "X509v3 Key Usage: critical Certificate Sign, CRL Sign",
        "X509v3 Subject Key Identifier:",
        "ASN1 OID: prime256v1",
        &format!("Subject: O={organization}, CN={organization}"),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (key, public) = key_of(&ca);
    assert!(key.public_eq(&public));
    assert_eq!(ca.expires, NOW + 7300 * DAY);
    assert_eq!(ca.fingerprint.len(), 64);
}

#[test]
fn a_user_and_a_server() {
    let (organization, ca) = ca();
    let client = made(leaf(organization, &ca, Purpose::Client, 1825));
    let server = made(leaf(organization, &ca, Purpose::Server, 1825));
    assert!(verify(&ca, &client, "sslclient") && !verify(&ca, &client, "sslserver"));
    assert!(verify(&ca, &server, "sslserver") && !verify(&ca, &server, "sslclient"));
    let (_, stranger) = self::ca();
    assert!(!verify(&stranger, &client, "sslclient"));
    let text = text(&client.der);
    for part in [
        "X509v3 Basic Constraints: critical CA:FALSE",
        "X509v3 Key Usage: critical Digital Signature, Key Encipherment",
        "X509v3 Extended Key Usage: TLS Web Client Authentication",
        "X509v3 Authority Key Identifier:",
        &format!("Subject: O={organization}, CN={}", client.subject),
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(self::text(&server.der).contains("X509v3 Key Usage: critical Digital Signature X509v3 Extended"));
    let (key, public) = key_of(&client);
    assert!(key.public_eq(&public) && key.bits() == 2048);
    assert_ne!(client.fingerprint, server.fingerprint);
}

#[test]
fn never_longer_than_the_ca() {
    let (organization, ca) = ca();
    let server = made(leaf(organization, &ca, Purpose::Server, 30_000));
    assert_eq!(server.expires, ca.expires);
    assert_eq!(end(&X509::from_der(&server.der).expect("a certificate")).ok(), Some(ca.expires));
    let mut late = leaf(organization, &ca, Purpose::Server, 10);
    if let Recipe::Certificate { now, .. } = &mut late {
        *now = ca.expires;
    }
    assert!(matches!(late.make(), Err(Fault::Expired)));
}

#[test]
fn refuses_what_does_not_fit() {
    let (organization, mut ca) = ca();
    ca.key = self::ca().1.key;
    assert!(matches!(leaf(organization, &ca, Purpose::Server, 10).make(), Err(Fault::Mismatch)));
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
