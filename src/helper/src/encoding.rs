//! Key material as the text that OpenVPN reads inline. The bytes are not looked at, and whatever they are, the text has
//! none but the alphabet's characters: nobody can write a directive with them. It is written to where it stays, so that no
//! copy of a key is left behind.

use std::fmt::Write as _;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes per line of PEM: 48 of them are 64 characters.
const LINE: usize = 48;

/// Writes bytes as PEM (RFC 7468) under a label.
pub fn pem(text: &mut String, label: &str, bytes: &[u8]) {
    let _ = writeln!(text, "-----BEGIN {label}-----");
    for line in bytes.chunks(LINE) {
        text.extend(base64(line));
        text.push('\n');
    }
    let _ = writeln!(text, "-----END {label}-----");
}

/// Writes 256 bytes as a static key of OpenVPN, 16 in a line.
pub fn static_key(text: &mut String, bytes: &[u8]) {
    text.push_str("-----BEGIN OpenVPN Static key V1-----\n");
    for line in bytes.chunks(16) {
        for byte in line {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text.push_str("-----END OpenVPN Static key V1-----\n");
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> impl Iterator<Item = char> {
    bytes.chunks(3).flat_map(quartet)
}

/// The four characters for up to three bytes.
fn quartet(bytes: &[u8]) -> [char; 4] {
    let byte = |index: usize| u32::from(bytes.get(index).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    // The mask keeps the index below 64, the alphabet's length.
    let letter = |shift: u32| char::from(ALPHABET[(bits >> shift & 63) as usize]);
    let or_padding = |shift: u32, needed: usize| if bytes.len() >= needed { letter(shift) } else { '=' };
    [letter(18), letter(12), or_padding(6, 2), or_padding(0, 3)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_the_rfc_has_it() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()).collect::<String>(), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]).collect::<String>(), "+//+");
    }

    #[test]
    fn pem_has_lines_of_64() {
        let mut text = String::new();
        pem(&mut text, "CERTIFICATE", &[0; 49]);
        let expected = format!("-----BEGIN CERTIFICATE-----\n{}\nAA==\n-----END CERTIFICATE-----\n", "A".repeat(64));
        assert_eq!(text, expected);
    }

    #[test]
    fn a_static_key_has_sixteen_lines_of_hex() {
        let mut text = String::new();
        static_key(&mut text, &[0xa5; 256]);
        assert_eq!(text.lines().filter(|line| *line == "a5".repeat(16)).count(), 16);
        assert_eq!(text.lines().count(), 18);
    }
}
