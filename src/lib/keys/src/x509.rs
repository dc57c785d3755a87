//! The form of our certificates (RFC 5280).

use culvert_model::{Id, KeyKind, Millis};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id as Algorithm, PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509Ref};

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Signing the certificates of its organisation.
    Ca,
    /// A user's.
    Client,
    /// A VPN server's.
    Server,
    /// The console's.
    Console,
}

/// Whose certificate it is.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    /// Somebody of an organisation, or the organisation itself. Names change, so it is ids that are certified.
    Member {
        /// The organisation.
        organization: Id,
        /// The common name.
        id: Id,
    },
    /// The console.
    Console,
}

/// Who signs.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    /// The CA's certificate.
    pub certificate: &'a X509Ref,
    /// Its key.
    pub key: &'a PKeyRef<Private>,
}

/// A new key.
pub fn generate(kind: KeyKind) -> Result<PKey<Private>, ErrorStack> {
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits)?);
    let elliptic = |curve| PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(curve)?)?);
    match kind {
        KeyKind::Rsa2048 => rsa(2048),
        KeyKind::Rsa3072 => rsa(3072),
        KeyKind::Rsa4096 => rsa(4096),
        KeyKind::P256 => elliptic(Nid::X9_62_PRIME256V1),
        KeyKind::P384 => elliptic(Nid::SECP384R1),
        KeyKind::Ed25519 => PKey::generate_ed25519(),
    }
}

/// A certificate for this key, signed by the issuer or by itself. The validity is in milliseconds since 1970.
pub fn certificate(
    subject: &Subject,
    profile: Profile,
    key: &PKeyRef<Private>,
    issuer: Option<Signer<'_>>,
    begins: Millis,
    ends: Millis,
) -> Result<X509, ErrorStack> {
    let name = name(subject)?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let serial = serial()?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(issuer.map_or(&*name, |issuer| issuer.certificate.subject_name()))?;
    let [begins, ends] = [time(begins)?, time(ends)?];
    builder.set_not_before(&begins)?;
    builder.set_not_after(&ends)?;
    builder.set_pubkey(key)?;
    for extension in uses(profile, key.id() == Algorithm::RSA)? {
        builder.append_extension(extension)?;
    }
    let own = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(own)?;
    if let Some(issuer) = issuer {
        let context = builder.x509v3_context(Some(issuer.certificate), None);
        let authority = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        builder.append_extension(authority)?;
    }
    if profile == Profile::Console {
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().dns("culvert").dns("localhost").ip("127.0.0.1").build(&context)?;
        builder.append_extension(names)?;
    }
    let signing = issuer.map_or(key, |issuer| issuer.key);
    builder.sign(signing, digest(signing))?;
    Ok(builder.build())
}

/// What is signed with this key: as strong as the key.
pub fn digest(key: &PKeyRef<Private>) -> MessageDigest {
    match (key.id(), key.bits()) {
        // It has its own.
        (Algorithm::ED25519, _) => MessageDigest::null(),
        (Algorithm::EC, 384) => MessageDigest::sha384(),
        _ => MessageDigest::sha256(),
    }
}

/// 128 random bits that aren't all zero.
fn serial() -> Result<BigNum, ErrorStack> {
    let mut serial = BigNum::new()?;
    serial.rand(128, MsbOption::ONE, false)?;
    Ok(serial)
}

fn name(subject: &Subject) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    match subject {
        Subject::Member { organization, id } => {
            name.append_entry_by_nid(Nid::ORGANIZATIONNAME, &organization.to_string())?;
            name.append_entry_by_nid(Nid::COMMONNAME, &id.to_string())?;
        }
        Subject::Console => name.append_entry_by_nid(Nid::COMMONNAME, "culvert")?,
    }
    Ok(name.build())
}

/// As certificates have it, of milliseconds since 1970.
pub fn time(millis: Millis) -> Result<Asn1Time, ErrorStack> {
    Asn1Time::from_unix(i64::try_from(millis / 1000).unwrap_or(i64::MAX))
}

fn uses(profile: Profile, rsa: bool) -> Result<Vec<X509Extension>, ErrorStack> {
    if profile == Profile::Ca {
        return Ok(vec![
            BasicConstraints::new().critical().ca().pathlen(0).build()?,
            KeyUsage::new().critical().key_cert_sign().crl_sign().build()?,
        ]);
    }
    let mut usage = KeyUsage::new();
    usage.critical().digital_signature();
    if rsa {
        usage.key_encipherment();
    }
    let mut extended = ExtendedKeyUsage::new();
    match profile {
        Profile::Client => extended.client_auth(),
        _ => extended.server_auth(),
    };
    Ok(vec![BasicConstraints::new().critical().build()?, usage.build()?, extended.build()?])
}
