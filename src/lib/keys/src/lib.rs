//! Key material: keys and certificates, lists of revoked certificates, Diffie-Hellman parameters. No I/O: everything
//! that is needed is in the recipe.

mod control;
mod crl;
mod dh;
mod recipe;
mod x509;

use openssl::error::ErrorStack;
use thiserror::Error;

pub use control::Control;
pub use crl::crl;
pub use recipe::{Issuer, Made, Pair, Recipe};

/// Why nothing could be made.
#[derive(Debug, Error)]
pub enum Fault {
    /// The CA's key and certificate are of different pairs.
    #[error(
        "The organisation's CA key does not belong to its CA certificate: the records are damaged. Restore them from a backup."
    )]
    Mismatch,
    /// The CA is at its end.
    #[error("The organisation's CA has expired, so nothing it signs would be valid.")]
    Expired,
    /// An organisation's CA would have to sign another.
    #[error("An organisation's CA signs certificates of users and servers, no other CA.")]
    Authority,
    /// A serial number isn't hexadecimal.
    #[error(
        "{0:?} is no serial number of a certificate: the record of a revocation is damaged. Restore it from a backup."
    )]
    Serial(String),
    /// There are no Diffie-Hellman parameters of this size.
    #[error("Diffie-Hellman parameters of {0} bits are not made: choose 2048, 3072 or 4096.")]
    Size(u16),
    /// It was cancelled.
    #[error("It was cancelled.")]
    Cancelled,
    /// The library failed.
    #[error("OpenSSL: {0}")]
    Library(#[from] ErrorStack),
}
