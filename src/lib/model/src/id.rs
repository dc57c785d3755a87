//! Identifiers: 24 hex digits for records, 32 for hosts (`semantics.md` section f).

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadId {
    /// The number of lower-case hexadecimal digits that were expected.
    pub digits: usize,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an identifier has {} lower-case hexadecimal digits", self.digits)
    }
}

impl std::error::Error for BadId {}

/// A record's identifier: 12 bytes, of which the first four are the second of its making (so that ids sort by age, as
/// MongoDB's ObjectId) and the rest are random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 12]);

/// A host's identifier: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId([u8; 16]);

impl Id {
    /// A new identifier that nobody else has.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = [0; 12];
        fill(&mut bytes);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        bytes[..4].copy_from_slice(&(seconds as u32).to_be_bytes());
        Self(bytes)
    }

    /// The identifier that these bytes are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The bytes of this identifier.
    #[must_use]
    pub const fn bytes(self) -> [u8; 12] {
        self.0
    }
}

impl Default for Id {
    fn default() -> Self {
        Self::new()
    }
}

impl HostId {
    /// A new identifier that no other host has.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = [0; 16];
        fill(&mut bytes);
        Self(bytes)
    }
}

impl Default for HostId {
    fn default() -> Self {
        Self::new()
    }
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the kernel gives random bytes to every process");
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn read_hex<const N: usize>(text: &str) -> Result<[u8; N], BadId> {
    let bad = BadId { digits: 2 * N };
    let digits = text.as_bytes();
    if digits.len() != 2 * N || digits.iter().any(u8::is_ascii_uppercase) {
        return Err(bad);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| (digit as char).to_digit(16));
        *byte = (high.ok_or(bad)? * 16 + low.ok_or(bad)?) as u8;
    }
    Ok(bytes)
}

macro_rules! textual {
    ($id:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl FromStr for $id {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                read_hex(text).map(Self)
            }
        }

        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

textual!(Id);
textual!(HostId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = Id::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        let host = HostId::new();
        assert_eq!(host.to_string().parse(), Ok(host));
        assert_ne!(Id::new(), Id::new());
    }

    #[test]
    fn refuses_what_is_no_identifier() {
        for text in ["", "5f", "5F0000000000000000000001", "5g0000000000000000000001", "+f0000000000000000000001"] {
            assert_eq!(text.parse::<Id>(), Err(BadId { digits: 24 }), "{text}");
        }
    }
}
