//! Who may use the console and the API.

use serde::{Deserialize, Serialize};

use super::{Bytes, record};
use crate::{Id, Millis};

/// Who may use the console and the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// The record's id.
    pub id: Id,
    /// Lower case, unique.
    pub username: String,
    /// Whether this one may manage administrators.
    pub super_user: bool,
    /// Whether this one may not log in.
    pub disabled: bool,
    /// Whether requests signed with the token and secret are let in.
    pub auth_api: bool,
    /// The public half of the API credentials: 32 alphanumeric characters.
    pub token: String,
    /// Whether the generated one-time password is still in use.
    pub default: bool,
}
record!(Admin);

/// An administrator's secrets, under the administrator's id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminSecret {
    /// The administrator's id.
    pub id: Id,
    /// An argon2id hash in PHC form.
    pub password: String,
    /// The generated one-time password, until it is changed.
    pub default_password: Option<String>,
    /// The secret half of the API credentials: 32 alphanumeric characters.
    pub api_secret: String,
}
record!(AdminSecret);

/// A console login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The SHA-256 of the token in the cookie, in hex: who reads the store can't log in with it.
    pub id: String,
    /// Whose login this is.
    pub admin: Id,
    /// When the login was, milliseconds since 1970 by the store's clock.
    pub created: Millis,
    /// When it ends, likewise.
    pub expires: Millis,
}
record!(Session);

/// A nonce that a signed request used: `<token>/<nonce>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce {
    /// `<token>/<nonce>`.
    pub id: String,
    /// Until when it must be remembered, milliseconds since 1970 by the store's clock.
    pub expires: Millis,
}
record!(Nonce);

/// The console's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// [`Tls::ID`].
    pub id: String,
    /// The certificate and those that lead to its root, DER, the console's own first.
    pub chain: Vec<Bytes>,
    /// The end of the certificate's validity, milliseconds since 1970.
    pub expires: Millis,
}
record!(Tls);

impl Tls {
    /// The id of the one record of this kind, and of its key.
    pub const ID: &'static str = "console";
}

/// The key to the console's certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsKey {
    /// [`Tls::ID`].
    pub id: String,
    /// PKCS #8, DER.
    pub key: Bytes,
}
record!(TlsKey);
