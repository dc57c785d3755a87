//! Lists, looked at by OpenSSL's own eyes.

use culvert_model::record::Purpose;
use culvert_model::{Id, KeyKind};

use super::*;
use crate::recipe::tests::{DAY, NOW, all_kinds, authority, file, leaf, openssl, pem};

fn revocation(serial: &str, since: Millis, reason: Option<Reason>) -> Revocation {
    let organization = Id::from_bytes([1; 12]);
    let id = Revocation::name(organization, serial);
    Revocation { id, organization, serial: serial.into(), since, expires: NOW + DAY, reason }
}

#[test]
fn of_every_ca() {
    for kind in all_kinds() {
        let (organization, ca) = authority(kind);
        let issuer = Issuer { certificate: ca.der.clone(), key: ca.key.clone() };
        let [good, bad] = [(); 2].map(|()| leaf(organization, &ca, Purpose::Client, KeyKind::P256, 100));
        let revoked = [revocation(&bad.serial, NOW - DAY, None), revocation("0a", NOW - 2 * DAY, None)];
        let list = crl(&issuer, &revoked, 1 << 40, NOW, NOW + 7 * DAY).expect("a list");
        let (ca, list) = (file(&pem("CERTIFICATE", &ca.der)), file(&pem("X509 CRL", &list)));
        let [ca, list] = [&ca, &list].map(|file| file.path().to_str().expect("a path"));

        let text = openssl(&["crl", "-in", list, "-noout", "-text", "-CAfile", ca]).expect("signed by its CA");
        let serial = bad.serial.to_uppercase();
        for part in [
            "X509v3 CRL Number: 1099511627776",
            "X509v3 Authority Key Identifier:",
            "Version 2",
            &format!("Serial Number: {serial}"),
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let time = (NOW / 1000).to_string();
        for (leaf, fine) in [(good, true), (bad, false)] {
            let leaf = file(&pem("CERTIFICATE", &leaf.der));
            let leaf = leaf.path().to_str().expect("a path");
            let verified = openssl(&["verify", "-attime", &time, "-crl_check", "-CRLfile", list, "-CAfile", ca, leaf]);
            assert_eq!(verified.is_ok(), fine, "{verified:?}");
        }
    }
}

/// What `openssl crl -text` says of each entry, by its serial number.
#[test]
fn reasons() {
    let (_, ca) = authority(KeyKind::P256);
    let issuer = Issuer { certificate: ca.der.clone(), key: ca.key };
    // The longest number there is, and a day of the next century, which takes two bytes more.
    let (longest, late) = ("f".repeat(2 * SERIAL), 2_600_000_000_000);
    let entries = [
        ("0A", NOW, Some(Reason::KeyCompromise), Some("Key Compromise")),
        ("0B", NOW, Some(Reason::Superseded), Some("Superseded")),
        (&longest.to_uppercase(), late, Some(Reason::CessationOfOperation), Some("Cessation Of Operation")),
        ("0C", NOW, None, None),
    ];
    let revoked: Vec<_> =
        entries.iter().map(|(serial, since, reason, _)| revocation(serial, *since, *reason)).collect();
    let (ca, list) = (
        file(&pem("CERTIFICATE", &ca.der)),
        file(&pem("X509 CRL", &crl(&issuer, &revoked, 1, NOW, NOW + DAY).expect("a list"))),
    );
    let [ca, list] = [&ca, &list].map(|file| file.path().to_str().expect("a path"));
    let text = openssl(&["crl", "-in", list, "-noout", "-text", "-CAfile", ca]).expect("signed by its CA");
    let said: Vec<&str> = text.split("Serial Number: ").skip(1).collect();
    assert_eq!(said.len(), entries.len(), "{text}");
    for (serial, _, _, reason) in entries {
        let said = said
            .iter()
            .find(|said| said.starts_with(&format!("{serial} ")))
            .unwrap_or_else(|| panic!("{serial} in {text}"));
        let told = said.contains("X509v3 CRL Reason Code:");
        assert_eq!(told, reason.is_some(), "{said}");
        assert!(reason.is_none_or(|reason| said.contains(reason)), "{reason:?} in {said}");
    }
}

#[test]
fn an_empty_one() {
    let (_, ca) = authority(KeyKind::P256);
    let issuer = Issuer { certificate: ca.der.clone(), key: ca.key };
    let list = file(&pem("X509 CRL", &crl(&issuer, &[], 0, NOW, NOW + DAY).expect("a list")));
    let text = openssl(&["crl", "-in", list.path().to_str().expect("a path"), "-noout", "-text"]).expect("a list");
    assert!(text.contains("No Revoked Certificates") && text.contains("X509v3 CRL Number: 0"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let (_, ca) = authority(KeyKind::P256);
    let issuer = Issuer { certificate: ca.der.clone(), key: ca.key };
    for bad in ["", "12 34", "-1", "zz", "12\0", &"f".repeat(2 * SERIAL + 1)] {
        let refused = crl(&issuer, &[revocation(bad, NOW, None)], 1, NOW, NOW + DAY);
        assert!(matches!(refused, Err(Fault::Serial(_))), "{bad:?}");
    }
    let stranger = Issuer { key: authority(KeyKind::P256).1.key, ..issuer };
    assert!(matches!(crl(&stranger, &[], 1, NOW, NOW + DAY), Err(Fault::Mismatch)));
}
