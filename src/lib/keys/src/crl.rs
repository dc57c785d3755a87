//! Lists of revoked certificates (RFC 5280, section 5).

use culvert_model::Millis;
use openssl::bn::BigNum;
use openssl::x509::extension::{AuthorityKeyIdentifier, CrlNumber};
use openssl::x509::{X509, X509CrlBuilder, X509Revoked, X509RevokedBuilder};

use crate::x509::{digest, time};
use crate::{Fault, Issuer};

/// The signed list, DER, of the certificates with these serial numbers (hexadecimal), each since when it is revoked.
/// `number` rises with each list of an issuer. `now` and `next`, when there will be another list at the latest, are in
/// milliseconds since 1970, as are all times.
///
/// # Errors
///
/// The issuer's records don't fit together, or a serial number is none.
pub fn crl(
    issuer: &Issuer,
    revoked: &[(String, Millis)],
    number: u64,
    now: Millis,
    next: Millis,
) -> Result<Vec<u8>, Fault> {
    let (certificate, key) = issuer.open()?;
    let mut builder = X509CrlBuilder::new()?;
    builder.set_issuer_name(certificate.subject_name())?;
    let [now, next] = [time(now)?, time(next)?];
    builder.set_last_update(&now)?;
    builder.set_next_update(&next)?;
    for (serial, since) in revoked {
        builder.add_revoked(entry(serial, *since)?)?;
    }
    let context = X509::builder()?;
    let context = context.x509v3_context(Some(&certificate), None);
    builder.append_extension(AuthorityKeyIdentifier::new().keyid(true).build(&context)?)?;
    builder.append_extension(CrlNumber::new(BigNum::from_slice(&number.to_be_bytes())?)?.build()?)?;
    builder.sort()?;
    builder.sign(&key, digest(&key))?;
    Ok(builder.build()?.to_der()?)
}

fn entry(serial: &str, since: Millis) -> Result<X509Revoked, Fault> {
    // The library would take as much of it as is a number.
    if serial.is_empty() || !serial.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Fault::Serial(serial.into()));
    }
    let serial = BigNum::from_hex_str(serial)?.to_asn1_integer()?;
    let since = time(since)?;
    let mut entry = X509RevokedBuilder::new()?;
    entry.set_serial_number(&serial)?;
    entry.set_revocation_date(&since)?;
    Ok(entry.build())
}

#[cfg(test)]
mod tests;
