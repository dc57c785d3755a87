//! Signatures of API clients (`semantics.md` section b): which string is signed, and when a signature is good.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

/// Seconds by which a client's clock may be off, either way.
pub const WINDOW: i64 = 43_200;

/// The longest string that is signed.
const LONGEST: usize = 10_240;

/// The fewest characters of a nonce and of a secret.
const SHORTEST: usize = 8;

/// The headers of a signed request, each cut to its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Who signed.
    pub token: &'a str,
    /// When, as the client wrote it.
    timestamp: &'a str,
    /// Used once.
    pub nonce: &'a str,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    /// The signature headers, if all four are there.
    pub fn read(headers: &'a HeaderMap) -> Option<Self> {
        let header = |name: &str, length| {
            let text = headers.get(name)?.to_str().ok().filter(|text| !text.is_empty())?;
            // Header text is ASCII here, so every index is a boundary.
            Some(&text[..text.len().min(length)])
        };
        Some(Self {
            token: header("auth-token", 256)?,
            timestamp: header("auth-timestamp", 64)?,
            nonce: header("auth-nonce", 32)?,
            signature: header("auth-signature", 512)?,
        })
    }

    /// Whether the time is within the window around now, in seconds.
    pub fn timely(&self, now: i64) -> bool {
        self.timestamp.parse::<i64>().is_ok_and(|at| at.abs_diff(now) <= WINDOW.unsigned_abs())
    }

    /// Whether this request was signed with this secret. In constant time.
    pub fn good(&self, secret: &str, method: &str, path: &str) -> bool {
        let text = [self.token, self.timestamp, self.nonce, method, path].join("&");
        if text.len() > LONGEST || self.nonce.len() < SHORTEST || secret.len() < SHORTEST {
            return false;
        }
        let Ok(signature) = STANDARD.decode(self.signature) else { return false };
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        mac.verify_slice(&signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("auth-token", "tfacctest_token"),
            ("auth-timestamp", "1700000000"),
            ("auth-nonce", "0123456789abcdef0123456789abcdef"),
            ("auth-signature", signature),
        ] {
            headers.insert(name, value.parse().expect("ASCII"));
        }
        headers
    }

    #[test]
    fn the_contracts_vector() {
        let headers = headers("hNeTDsbJ5smOgfUEkKnzHdM2Qny8BZ8ZlEXTXpcepcY=");
        let signed = Signed::read(&headers).expect("four headers");
        assert!(signed.good("tfacctest_secret", "GET", "/state"));
        assert!(!signed.good("tfacctest_secret", "GET", "/state/"));
        assert!(!signed.good("tfacctest_secreT", "GET", "/state"));
        assert!(!signed.good("tfacctest_secret", "PUT", "/state"));
        assert!(signed.timely(1_700_000_000 + WINDOW) && signed.timely(1_700_000_000 - WINDOW));
        assert!(!signed.timely(1_700_000_001 + WINDOW) && !signed.timely(i64::MIN));
    }

    #[test]
    fn a_header_is_missing() {
        let mut headers = headers("x");
        headers.remove("auth-nonce");
        assert_eq!(Signed::read(&headers), None);
    }
}
