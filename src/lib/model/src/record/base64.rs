//! Base64 (RFC 4648 section 4) for the few bytes that records hold, so that the helper's tree has no crate for it.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Bytes;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Bytes {
    /// Base64 with padding.
    #[must_use]
    pub fn to_base64(&self) -> String {
        let mut text = String::with_capacity(self.0.len().div_ceil(3) * 4);
        for group in self.0.chunks(3) {
            let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
            for place in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * place)) as usize & 63] as char;
                text.push(if place <= group.len() { digit } else { '=' });
            }
        }
        text
    }

    /// The bytes that canonical, padded base64 stands for; nothing if it is not that.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        if !text.len().is_multiple_of(4) {
            return None;
        }
        let digits = text.trim_end_matches('=');
        if text.len() - digits.len() > 2 {
            return None;
        }
        let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
        for group in digits.as_bytes().chunks(4) {
            let mut bits = 0;
            for digit in group {
                bits = bits << 6 | ALPHABET.iter().position(|known| known == digit)? as u32;
            }
            bits <<= 6 * (4 - group.len());
            bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        }
        let bytes = Self(bytes);
        (bytes.to_base64() == text).then_some(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_base64())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_base64(&text).ok_or_else(|| D::Error::custom("expected base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let bytes = Bytes(plain.as_bytes().to_vec());
            assert_eq!(bytes.to_base64(), coded);
            assert_eq!(Bytes::from_base64(coded), Some(bytes));
        }
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for text in ["Zg", "Zg=", "Zh==", "Z===", "Zm9v\n", "Zm-v"] {
            assert_eq!(Bytes::from_base64(text), None, "{text}");
        }
    }
}
