//! Certificates of users and servers. These are ours: times are milliseconds since 1970 by the store's clock.

use culvert_model::record::Purpose;
use culvert_model::{Id, Millis};
use serde::Serialize;

/// A certificate of a user or a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// The record's id.
    pub id: Id,
    /// What it is for.
    pub purpose: Purpose,
    /// Its serial number, lower-case hex.
    pub serial: Option<String>,
    /// The SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// The end of its validity.
    pub expires: Millis,
    /// Until when it is good beside the one that replaced it; nothing for the one that counts.
    pub replaced: Option<Millis>,
}

/// What came of the wish to renew certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Renewal {
    /// How many are being renewed: see `/v1/jobs`.
    pub renewing: u64,
}
