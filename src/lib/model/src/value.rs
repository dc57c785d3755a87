//! Values that cannot hold anything bad.

use std::fmt;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970 or between two instants, by the clock that the context names.
pub type Millis = u64;

/// A value outside its range, or text that names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadValue {
    /// What was expected.
    pub expected: &'static str,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)
    }
}

impl std::error::Error for BadValue {}

/// A kind of key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyKind {
    /// RSA, 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA, 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    /// ECDSA on NIST P-256.
    #[serde(rename = "p-256")]
    P256,
    /// ECDSA on NIST P-384.
    #[serde(rename = "p-384")]
    P384,
    /// Ed25519 (RFC 8410). OpenVPN takes it with TLS 1.3, and clients that leave signing to another program do not.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// A TCP or UDP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Port(NonZeroU16);

impl Port {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<i64> for Port {
    type Error = BadValue;

    fn try_from(number: i64) -> Result<Self, BadValue> {
        let expected = BadValue { expected: "a port from 1 to 65535" };
        u16::try_from(number).ok().and_then(NonZeroU16::new).map(Self).ok_or(expected)
    }
}

/// Which of a host's tunnels an instance uses: it gives the tun device, the user id and the directory their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Slot(u8);

impl Slot {
    /// How many instances one host can run.
    pub const COUNT: u8 = 100;

    /// All slots of a host.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Slot {
    type Error = BadValue;

    fn try_from(number: u8) -> Result<Self, BadValue> {
        (number < Self::COUNT).then_some(Self(number)).ok_or(BadValue { expected: "a slot from 0 to 99" })
    }
}

impl From<Slot> for u8 {
    fn from(slot: Slot) -> Self {
        slot.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Declares an enum whose values have one spelling on the wire and in the store.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal { $($(#[$item:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$item])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// The word that stands for this value.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = BadValue;

            fn from_str(text: &str) -> Result<Self, BadValue> {
                match text { $($word => Ok(Self::$variant),)+ _ => Err(BadValue { expected: $expected }) }
            }
        }
    };
}

words! {
    /// What an OpenVPN server speaks.
    Protocol, "udp or tcp" {
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
    }
}

words! {
    /// The cipher setting of a server. The spelling of the last is part of the contract.
    Cipher, "none, bf128, bf256, aes128, aes192, aes256 or chacha20poly1205" {
        /// No encryption.
        None = "none",
        /// Offered as AES-128.
        Bf128 = "bf128",
        /// Offered as AES-256.
        Bf256 = "bf256",
        /// AES-128.
        Aes128 = "aes128",
        /// Offered as AES-256.
        Aes192 = "aes192",
        /// AES-256.
        Aes256 = "aes256",
        /// ChaCha20-Poly1305.
        Chacha20Poly1305 = "chacha20poly1205",
    }
}

words! {
    /// The digest setting of a server, for packets of ciphers that do not authenticate themselves.
    Digest, "none, md5, sha1, sha256 or sha512" {
        /// No digest.
        None = "none",
        /// MD5.
        Md5 = "md5",
        /// SHA-1.
        Sha1 = "sha1",
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-512.
        Sha512 = "sha512",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert!(Port::try_from(0).is_err() && Port::try_from(65536).is_err());
        assert_eq!(Port::try_from(443).map(Port::get), Ok(443));
        assert!(Slot::try_from(100).is_err());
        assert_eq!("chacha20poly1205".parse(), Ok(Cipher::Chacha20Poly1305));
        assert!("rot13".parse::<Cipher>().is_err());
    }
}
