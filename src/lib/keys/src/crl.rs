//! Lists of revoked certificates (RFC 5280, section 5).

use culvert_model::Millis;
use culvert_model::record::{Reason, Revocation};
use openssl::bn::BigNum;
use openssl::x509::extension::{AuthorityKeyIdentifier, CrlNumber};
use openssl::x509::{X509, X509CrlBuilder, X509Revoked, X509RevokedBuilder};

use crate::x509::{digest, time};
use crate::{Fault, Issuer};

/// What an entry has besides, if the reason is known: `Extensions` with a single `CRLReason`, whose value is the last byte
/// (RFC 5280, sections 5.1 and 5.3.1).
const REASON: [u8; 14] = [0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01, 0x00];

/// The longest serial number in bytes (RFC 5280, section 4.1.2.2).
const SERIAL: usize = 20;

/// The signed list, DER, of the certificates that are revoked. `number` rises with each list of an issuer. `now` and `next`, when there will be another list at the latest, are in
/// milliseconds since 1970, as are all times.
///
/// # Errors
///
/// The issuer's records don't fit together, or a serial number is none.
pub fn crl(issuer: &Issuer, revoked: &[Revocation], number: u64, now: Millis, next: Millis) -> Result<Vec<u8>, Fault> {
    let (certificate, key) = issuer.open()?;
    let mut builder = X509CrlBuilder::new()?;
    builder.set_issuer_name(certificate.subject_name())?;
    let [now, next] = [time(now)?, time(next)?];
    builder.set_last_update(&now)?;
    builder.set_next_update(&next)?;
    for revocation in revoked {
        builder.add_revoked(entry(revocation)?)?;
    }
    let context = X509::builder()?;
    let context = context.x509v3_context(Some(&certificate), None);
    builder.append_extension(AuthorityKeyIdentifier::new().keyid(true).build(&context)?)?;
    builder.append_extension(CrlNumber::new(BigNum::from_slice(&number.to_be_bytes())?)?.build()?)?;
    builder.sort()?;
    builder.sign(&key, digest(&key))?;
    Ok(builder.build()?.to_der()?)
}

fn entry(Revocation { serial, since, reason, .. }: &Revocation) -> Result<X509Revoked, Fault> {
    // The library would take as much of it as is a number.
    if !(1..=2 * SERIAL).contains(&serial.len()) || !serial.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Fault::Serial(serial.into()));
    }
    let serial = BigNum::from_hex_str(serial)?.to_asn1_integer()?;
    let since = time(*since)?;
    let mut entry = X509RevokedBuilder::new()?;
    entry.set_serial_number(&serial)?;
    entry.set_revocation_date(&since)?;
    let entry = entry.build();
    match reason {
        Some(reason) => Ok(X509Revoked::from_der(&with_reason(entry.to_der()?, *reason))?),
        None => Ok(entry),
    }
}

/// The entry, DER, with the reason at its end: the library has no way to add it. No entry is so long that its length would
/// take more than the second byte.
fn with_reason(mut entry: Vec<u8>, reason: Reason) -> Vec<u8> {
    entry[1] += REASON.len() as u8;
    entry.extend_from_slice(&REASON[..REASON.len() - 1]);
    entry.push(reason as u8);
    entry
}

#[cfg(test)]
mod tests;
