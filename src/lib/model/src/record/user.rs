//! Organisations, their users, and the certificates of both.

use serde::{Deserialize, Serialize};

use super::{Bytes, record, serial};
use crate::{Id, Millis};

/// An organisation: users under one CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// The record's id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Whether it has an [`OrganizationSecret`].
    pub auth_api: bool,
    /// The CA's certificate, DER. Empty until the queue has made it.
    pub ca: Option<Bytes>,
    /// The end of the CA's validity, milliseconds since 1970.
    pub ca_expires: Option<Millis>,
}
record!(Organization);

/// An organisation's API credentials, under its id. Kept for the contract's sake: nothing lets anybody in with them yet.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrganizationSecret {
    /// The organisation's id.
    pub id: Id,
    /// Their public half: 32 alphanumeric characters.
    pub auth_token: String,
    /// Their secret half, likewise.
    pub auth_secret: String,
}
record!(OrganizationSecret);

/// An organisation's CA key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaKey {
    /// The organisation's id.
    pub id: Id,
    /// PKCS #8, DER.
    pub key: Bytes,
}
record!(CaKey);

/// A port that a server forwards to a user's machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortForward {
    /// `tcp`, `udp` or both.
    pub protocol: Option<String>,
    /// The port at the server.
    pub port: Option<String>,
    /// The port at the client, if it is another one.
    pub dport: Option<String>,
}

/// Somebody who may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The record's id, and the common name in the user's certificate.
    pub id: Id,
    /// The user's organisation.
    pub organization: Id,
    /// The user's name.
    pub name: String,
    /// Where mail reaches the user.
    pub email: Option<String>,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// Whether the user may not connect.
    pub disabled: bool,
    /// How the user proves to be the user, besides the certificate.
    pub auth_type: String,
    /// The first 12 characters of the user's YubiKey.
    pub yubico_id: Option<String>,
    /// Whether a PIN is set; its hash is in the user's secrets.
    pub pin: bool,
    /// Whether second factors are waived.
    pub bypass_secondary: bool,
    /// Whether the user's machine may only be reached by other clients.
    pub client_to_client: bool,
    /// The only hardware addresses that the user may connect with.
    pub mac_addresses: Option<Vec<String>>,
    /// Name servers for this user instead of the server's.
    pub dns_servers: Option<Vec<String>>,
    /// The search domain for this user.
    pub dns_suffix: Option<String>,
    /// Ports forwarded to the user's machine.
    pub port_forwarding: Option<Vec<PortForward>>,
    /// Networks behind the user's machine.
    pub network_links: Vec<String>,
    /// The user's certificate.
    pub certificate: Id,
    /// When the user last connected, seconds since 1970.
    pub last_active: Option<i64>,
}
record!(User);

/// A user's secrets, under the user's id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSecret {
    /// The user's id.
    pub id: Id,
    /// An argon2id hash of the PIN in PHC form.
    pub pin: Option<String>,
    /// The TOTP secret: 16 base32 characters.
    pub otp_secret: Option<String>,
    /// The public half of the credentials by which profiles are synchronised.
    pub sync_token: Option<String>,
    /// Their secret half.
    pub sync_secret: Option<String>,
}
record!(UserSecret);

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A user's.
    Client,
    /// A server's.
    Server,
    /// To sign others: the CA of an organisation that is still to be made, whose id is the subject. The key is a
    /// [`CaKey`] under that id.
    Authority,
}

/// Whether a certificate waits for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateState {
    /// It is in the pool.
    Ready,
    /// It was made, or was being made, for somebody who waits for it: see [`Certificate::reserved`].
    Reserved,
    /// It is somebody's.
    Taken,
}

/// A certificate of a user or a server, or one that is kept ready for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The record's id, and that of its key.
    pub id: Id,
    /// Whose CA signed it.
    pub organization: Id,
    /// What it is good for.
    pub purpose: Purpose,
    /// Whether it waits for somebody.
    pub state: CertificateState,
    /// Who waits for it, while it is [`CertificateState::Reserved`].
    pub reserved: Option<String>,
    /// The common name, which becomes the id of the user or stays the certificate's own.
    pub subject: Id,
    /// The certificate, DER.
    pub der: Bytes,
    /// The SHA-256 of the certificate in lower-case hex, without colons.
    pub fingerprint: String,
    /// The end of its validity, milliseconds since 1970.
    pub expires: Millis,
    /// Its serial number, lower-case hex. Empty in records of releases that did not note it: see
    /// [`Certificate::serial_number`].
    #[serde(default)]
    pub serial: String,
    /// Until when it is good beside the one that replaced it, milliseconds since 1970 by the store's clock. A task removes
    /// it then: until that is done it is good, so that nobody compares clocks.
    #[serde(default)]
    pub replaced: Option<Millis>,
}
record!(Certificate);

impl Certificate {
    /// How long one that was replaced stays good, milliseconds.
    pub const GRACE: Millis = 7 * 24 * 3600 * 1000;

    /// Its serial number, lower-case hex; nothing if it is no certificate.
    #[must_use]
    pub fn serial_number(&self) -> Option<String> {
        if self.serial.is_empty() { serial::of(&self.der.0) } else { Some(self.serial.clone()) }
    }
}

/// The private key to a certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateKey {
    /// The certificate's id.
    pub id: Id,
    /// PKCS #8, DER.
    pub key: Bytes,
}
record!(CertificateKey);

/// Why a certificate was revoked, with its number in lists (RFC 5280, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its key may be in wrong hands: an administrator says so.
    KeyCompromise = 1,
    /// Another one replaced it.
    Superseded = 4,
    /// Whoever had it is gone, or needs none any more.
    CessationOfOperation = 5,
}

/// A certificate that is not to be trusted any more, though it has not expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// `<organization>-<serial>`.
    pub id: String,
    /// Whose CA signed the certificate.
    pub organization: Id,
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// Since when, milliseconds since 1970 by the store's clock.
    pub since: Millis,
    /// The end of the certificate's validity: it need not be listed after that. Milliseconds since 1970.
    pub expires: Millis,
    /// Why, if it is known.
    #[serde(default)]
    pub reason: Option<Reason>,
}
record!(Revocation);

impl Revocation {
    /// The id of the one for this serial number.
    #[must_use]
    pub fn name(organization: Id, serial: &str) -> String {
        format!("{organization}-{serial}")
    }

    /// Of this certificate; nothing if it is none.
    #[must_use]
    pub fn of(certificate: &Certificate, since: Millis, reason: Reason) -> Option<Self> {
        let serial = certificate.serial_number()?;
        let Certificate { organization, expires, .. } = *certificate;
        let reason = Some(reason);
        Some(Self { id: Self::name(organization, &serial), organization, serial, since, expires, reason })
    }
}

/// The signed list of an organisation's revoked certificates (RFC 5280, section 5), under the organisation's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crl {
    /// The organisation's id.
    pub id: Id,
    /// Rises with each list.
    pub number: u64,
    /// The list, DER.
    pub der: Bytes,
    /// When it was signed, milliseconds since 1970 by the store's clock.
    pub signed: Millis,
    /// When the next one is due at the latest, likewise.
    pub next: Millis,
}
record!(Crl);

/// A link to a user's profiles that works without logging in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileLink {
    /// The long code: 32 alphanumeric characters.
    pub id: String,
    /// The short code.
    pub short: String,
    /// Whose profiles they are.
    pub user: Id,
    /// The user's organisation.
    pub organization: Id,
    /// When it ends, milliseconds since 1970 by the store's clock.
    pub expires: Millis,
}
record!(ProfileLink);
