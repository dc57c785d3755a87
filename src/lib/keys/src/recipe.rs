//! What is made, of what it takes.

use culvert_model::record::Purpose;
use culvert_model::{Id, KeyKind, Millis};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use zeroize::Zeroizing;

use crate::x509::{self, Profile, Signer, Subject, generate};
use crate::{Control, Fault, dh};

const DAY: Millis = 24 * 3600 * 1000;

/// Certificates are valid from a day before they are made: clocks of clients may be slow.
const BACKDATED: Millis = DAY;

/// Days that the console's own certificate is valid: the most that browsers take.
const CONSOLE_DAYS: u32 = 825;

/// The sizes of Diffie-Hellman parameters, in bits.
const DH_BITS: [u16; 3] = [2048, 3072, 4096];

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
    /// Diffie-Hellman parameters that nobody else has.
    DhParams {
        /// Their size: 2048, 3072 or 4096.
        bits: u16,
    },
}

/// An organisation's CA.
#[derive(Clone)]
pub struct Issuer {
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Its key: PKCS #8, DER.
    pub key: Zeroizing<Vec<u8>>,
}

/// What came of a recipe.
pub enum Made {
    /// A key and its certificate.
    Pair(Pair),
    /// Diffie-Hellman parameters: PKCS #3, DER.
    DhParams(Vec<u8>),
}

/// A key and its certificate.
pub struct Pair {
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

impl Recipe {
    /// Takes a moment, a second or two for RSA keys, minutes for Diffie-Hellman parameters. Keys can be paused and
    /// cancelled before and after they are made, Diffie-Hellman parameters at any time.
    ///
    /// # Errors
    ///
    /// The recipe can't be followed, or it is cancelled.
    pub fn make(self, control: &Control) -> Result<Made, Fault> {
        control.check()?;
        let made = match self {
            Self::Console { now } => console(now).map(Made::Pair),
            Self::Ca { organization, key, days, now } => ca(organization, key, days, now).map(Made::Pair),
            Self::Certificate { organization, subject, purpose, issuer, key, days, now } => {
                let names = Subject::Member { organization, id: subject };
                certificate(subject, names, purpose, &issuer, key, days, now).map(Made::Pair)
            }
            Self::DhParams { bits } if DH_BITS.contains(&bits) => dh::search(bits, control).map(Made::DhParams),
            Self::DhParams { bits } => Err(Fault::Size(bits)),
        }?;
        control.check()?;
        Ok(made)
    }
}

fn console(now: Millis) -> Result<Pair, Fault> {
    let expires = now + Millis::from(CONSOLE_DAYS) * DAY - BACKDATED;
    finish(Id::new(), Subject::Console, Profile::Console, KeyKind::P256, None, now, expires)
}

fn ca(organization: Id, key: KeyKind, days: u32, now: Millis) -> Result<Pair, Fault> {
    let expires = now + Millis::from(days) * DAY;
    let names = Subject::Member { organization, id: organization };
    finish(organization, names, Profile::Ca, key, None, now, expires)
}

fn certificate(
    subject: Id,
    names: Subject,
    purpose: Purpose,
    issuer: &Issuer,
    key: KeyKind,
    days: u32,
    now: Millis,
) -> Result<Pair, Fault> {
    let profile = match purpose {
        Purpose::Client => Profile::Client,
        Purpose::Server => Profile::Server,
        Purpose::Authority => return Err(Fault::Authority),
    };
    let (certificate, signing) = issuer.open()?;
    let expires = (now + Millis::from(days) * DAY).min(end(&certificate)?);
    if expires <= now {
        return Err(Fault::Expired);
    }
    let issuer = Signer { certificate: &certificate, key: &signing };
    finish(subject, names, profile, key, Some(issuer), now, expires)
}

fn finish(
    subject: Id,
    names: Subject,
    profile: Profile,
    key: KeyKind,
    issuer: Option<Signer<'_>>,
    now: Millis,
    expires: Millis,
) -> Result<Pair, Fault> {
    let key = generate(key)?;
    // Certificates count in seconds.
    let expires = expires / 1000 * 1000;
    let certificate = x509::certificate(&names, profile, &key, issuer, now - BACKDATED, expires)?;
    let digest = certificate.digest(MessageDigest::sha256())?;
    let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = Zeroizing::new(key.private_key_to_pkcs8()?);
    let serial = certificate.serial_number().to_bn()?.to_hex_str()?.to_lowercase();
    Ok(Pair { subject, key, der: certificate.to_der()?, fingerprint, expires, serial })
}

impl Issuer {
    /// Its certificate and key, which belong together.
    pub(crate) fn open(&self) -> Result<(X509, PKey<Private>), Fault> {
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
pub mod tests;
