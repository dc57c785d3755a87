//! Key material: keys, certificates. No I/O: everything that is needed is in the recipe.

mod x509;

use culvert_model::record::Purpose;
use culvert_model::{Id, KeyKind, Millis};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use thiserror::Error;
use zeroize::Zeroizing;

use x509::{Profile, Signer, Subject, generate};

const DAY: Millis = 24 * 3600 * 1000;

/// Certificates are valid from a day before they are made: clocks of clients may be slow.
const BACKDATED: Millis = DAY;

/// Days that the console's own certificate is valid: the most that browsers take.
const CONSOLE_DAYS: u32 = 825;

/// What is to be made, with everything that it takes. `now` is in milliseconds since 1970.
pub enum Recipe {
    /// The console's certificate, signed by itself.
    Console {
        /// What time it is.
        now: Millis,
    },
    /// An organisation's CA.
    Ca {
        /// The organisation.
        organization: Id,
        /// Its key.
        key: KeyKind,
        /// How long it is valid.
        days: u32,
        /// What time it is.
        now: Millis,
    },
    /// The certificate of a user or a server.
    Certificate {
        /// The organisation.
        organization: Id,
        /// Its common name.
        subject: Id,
        /// What it is for.
        purpose: Purpose,
        /// Who signs it.
        issuer: Issuer,
        /// Its key.
        key: KeyKind,
        /// How long it is valid; never longer than the issuer.
        days: u32,
        /// What time it is.
        now: Millis,
    },
}

/// An organisation's CA.
pub struct Issuer {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key: PKCS #8, DER.
    pub key: Zeroizing<Vec<u8>>,
}

/// A key and its certificate.
pub struct Made {
    /// The common name; for a CA the organisation.
    pub subject: Id,
    /// PKCS #8, DER.
    pub key: Zeroizing<Vec<u8>>,
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// The SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    /// The end of its validity, milliseconds since 1970.
    pub expires: Millis,
    /// Its serial number, lower-case hex.
    pub serial: String,
}

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
    /// The library failed.
    #[error("OpenSSL: {0}")]
    Library(#[from] ErrorStack),
}

impl Recipe {
    /// Takes a moment; a second or two for RSA keys.
    ///
    /// # Errors
    ///
    /// The recipe can't be followed.
    pub fn make(self) -> Result<Made, Fault> {
        match self {
            Self::Console { now } => console(now),
            Self::Ca { organization, key, days, now } => ca(organization, key, days, now),
            Self::Certificate { organization, subject, purpose, issuer, key, days, now } => {
                let (certificate, signing) = issuer.open()?;
                let issuer = Signer { certificate: &certificate, key: &signing };
                let expires = (now + Millis::from(days) * DAY).min(end(&certificate)?);
                if expires <= now {
                    return Err(Fault::Expired);
                }
                let profile = match purpose {
                    Purpose::Client => Profile::Client,
                    Purpose::Server => Profile::Server,
                    Purpose::Authority => Profile::Ca,
                };
                let names = Subject::Member { organization, id: subject };
                finish(subject, names, profile, key, Some(issuer), now, expires)
            }
        }
    }
}

fn console(now: Millis) -> Result<Made, Fault> {
    let expires = now + Millis::from(CONSOLE_DAYS) * DAY - BACKDATED;
    finish(Id::new(), Subject::Console, Profile::Console, KeyKind::P256, None, now, expires)
}

fn ca(organization: Id, key: KeyKind, days: u32, now: Millis) -> Result<Made, Fault> {
    let expires = now + Millis::from(days) * DAY;
    let names = Subject::Member { organization, id: organization };
    finish(organization, names, Profile::Ca, key, None, now, expires)
}

fn finish(
    subject: Id,
    names: Subject,
    profile: Profile,
    key: KeyKind,
    issuer: Option<Signer<'_>>,
    now: Millis,
    expires: Millis,
) -> Result<Made, Fault> {
    let key = generate(key)?;
    // Certificates count in seconds.
    let expires = expires / 1000 * 1000;
    let certificate = x509::certificate(&names, profile, &key, issuer, now - BACKDATED, expires)?;
    let digest = certificate.digest(MessageDigest::sha256())?;
    let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = Zeroizing::new(key.private_key_to_pkcs8()?);
    let serial = certificate.serial_number().to_bn()?.to_hex_str()?.to_lowercase();
    Ok(Made { subject, key, der: certificate.to_der()?, fingerprint, expires, serial })
}

impl Issuer {
    fn open(&self) -> Result<(X509, PKey<Private>), Fault> {
        let certificate = X509::from_der(&self.certificate)?;
        let key = PKey::private_key_from_der(&self.key)?;
        if !certificate.public_key()?.public_eq(&key) {
            return Err(Fault::Mismatch);
        }
        Ok((certificate, key))
    }
}

/// The end of a certificate's validity, milliseconds since 1970.
fn end(certificate: &X509) -> Result<Millis, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(certificate.not_after())?;
    let seconds = i64::from(since.days) * 24 * 3600 + i64::from(since.secs);
    Ok(u64::try_from(seconds).unwrap_or(0) * 1000)
}

#[cfg(test)]
mod tests;
