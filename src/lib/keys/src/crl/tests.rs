//! Lists, looked at by OpenSSL's own eyes.

use culvert_model::KeyKind;
use culvert_model::record::Purpose;

use super::*;
use crate::recipe::tests::{DAY, NOW, all_kinds, authority, file, leaf, openssl, pem};

#[test]
fn of_every_ca() {
    for kind in all_kinds() {
        let (organization, ca) = authority(kind);
        let issuer = Issuer { certificate: ca.der.clone(), key: ca.key.clone() };
        let [good, bad] = [(); 2].map(|()| leaf(organization, &ca, Purpose::Client, KeyKind::P256, 100));
        let revoked = [(bad.serial.clone(), NOW - DAY), ("0a".into(), NOW - 2 * DAY)];
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
    for bad in ["", "12 34", "-1", "zz", "12\0"] {
        let refused = crl(&issuer, &[(bad.into(), NOW)], 1, NOW, NOW + DAY);
        assert!(matches!(refused, Err(Fault::Serial(_))), "{bad:?}");
    }
    let stranger = Issuer { key: authority(KeyKind::P256).1.key, ..issuer };
    assert!(matches!(crl(&stranger, &[], 1, NOW, NOW + DAY), Err(Fault::Mismatch)));
}
