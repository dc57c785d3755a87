//! The serial number in a certificate, read without a library: processes that hold no key need none for it.

/// The serial number of a certificate in DER (RFC 5280, section 4.1): lower-case hex, whole bytes, without leading zeros.
/// Nothing if it is no certificate.
pub fn of(der: &[u8]) -> Option<String> {
    let (SEQUENCE, certificate, _) = element(der)? else { return None };
    let (SEQUENCE, signed, _) = element(certificate)? else { return None };
    let numbered = match element(signed)? {
        (VERSION, _, rest) => rest,
        _ => signed,
    };
    let (INTEGER, number, _) = element(numbered)? else { return None };
    let digits: String = number.iter().skip_while(|byte| **byte == 0).map(|byte| format!("{byte:02x}")).collect();
    (!digits.is_empty()).then_some(digits)
}

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The first element: its tag, what is in it, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // In as many bytes; certificates have a few kilobytes.
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let head =
            if length < 0x80 { vec![tag, length as u8] } else { vec![tag, 0x82, (length >> 8) as u8, length as u8] };
        [head, content.to_vec()].concat()
    }

    fn certificate(version: bool, serial: &[u8], padding: usize) -> Vec<u8> {
        let version = if version { wrapped(VERSION, &[2, 1, 2]) } else { Vec::new() };
        let rest = wrapped(SEQUENCE, &vec![0; padding]);
        wrapped(SEQUENCE, &wrapped(SEQUENCE, &[version, wrapped(INTEGER, serial), rest].concat()))
    }

    #[test]
    fn it_is_found_in_every_form() {
        for padding in [3, 200, 3000] {
            assert_eq!(of(&certificate(true, &[0, 0x80, 1], padding)).as_deref(), Some("8001"));
            assert_eq!(of(&certificate(false, &[0x0a], padding)).as_deref(), Some("0a"));
        }
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let whole = certificate(true, &[1, 2], 200);
        assert!((0..whole.len()).all(|length| of(&whole[..length]).is_none()));
        for bad in [&[][..], &[1], &[SEQUENCE, 0x84, 0, 0, 0, 0], &[INTEGER, 1, 1]] {
            assert_eq!(of(bad), None);
        }
        assert_eq!(of(&certificate(true, &[0], 3)), None);
    }
}
