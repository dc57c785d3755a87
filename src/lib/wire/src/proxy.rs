//! From the api to the proxy, over a unix stream that the proxy opens: what it needs to serve. The proxy sends nothing
//! on it. It keeps what it heard last when the api goes away.

use serde::{Deserialize, Serialize};

/// The longest frame in bytes.
pub const FRAME: usize = 64 << 10;

/// What the proxy needs to serve. A new one replaces the one before.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The certificate chain, DER, the console's own first.
    pub chain: Vec<Vec<u8>>,
    /// The key, PKCS #8, DER.
    pub key: Vec<u8>,
    /// Requests per second that one address may make on average.
    pub rate: u32,
    /// Requests that one address may make at once beyond that.
    pub burst: u32,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms").field("rate", &self.rate).field("burst", &self.burst).finish_non_exhaustive()
    }
}
