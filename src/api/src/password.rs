//! Hashes of passwords and PINs: argon2id, a few at a time, off the thread that answers requests.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use http::StatusCode;
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::answer::{Answer, No};
use crate::random;

/// Hashes that are computed at the same time.
const AT_ONCE: usize = 2;

/// Hashes that wait for their turn besides.
const WAITING: usize = 16;

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Memory allocated per hash, in blocks of 1 KiB, of which only what the parameters say is touched: beyond 32 MiB, the C
/// library gives memory back to the system as soon as it is free.
const RESERVED: usize = 33 << 10;

/// How costly a hash is.
#[derive(Debug, Clone, Copy)]
pub enum Cost {
    /// An administrator's password: 19 MiB, two passes.
    Password,
    /// A user's PIN, which `vpn` verifies at every connect: 8 MiB, two passes.
    Pin,
}

impl Cost {
    fn parameters(self) -> Params {
        let memory = match self {
            Self::Password => 19 << 10,
            Self::Pin => 8 << 10,
        };
        Params::new(memory, 2, 1, Some(32)).expect("constants within argon2's limits")
    }
}

/// Computes hashes.
#[derive(Debug, Clone)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), queue: Arc::new(Semaphore::new(AT_ONCE + WAITING)) }
    }
}

impl Hasher {
    /// The hash of a secret, in PHC form.
    ///
    /// # Errors
    ///
    /// Too many others wait.
    pub async fn hash(&self, secret: &str, cost: Cost) -> Answer<String> {
        let secret = Zeroizing::new(secret.to_owned());
        self.compute(move || hash(&secret, cost)).await
    }

    /// The same for one of many, each of which is hashed after the one before: it waits for its turn, and takes nobody's
    /// place in the queue.
    ///
    /// # Errors
    ///
    /// The process is ending.
    pub async fn hash_in_turn(&self, secret: &str, cost: Cost) -> Answer<String> {
        let secret = Zeroizing::new(secret.to_owned());
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| crowded())?;
        Self::work(turn, move || hash(&secret, cost)).await
    }

    /// Whether a hash is that of this secret. Without a hash it takes as long, and is not.
    ///
    /// # Errors
    ///
    /// Too many others wait.
    pub async fn verify(&self, secret: &str, expected: Option<String>, cost: Cost) -> Answer<bool> {
        let secret = Zeroizing::new(secret.to_owned());
        self.compute(move || match expected {
            Some(expected) => verify(&secret, &expected),
            None => {
                hash(&secret, cost);
                false
            }
        })
        .await
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let _place = match self.queue.try_acquire() {
            Ok(place) => place,
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => return Err(crowded()),
        };
        let turn = match timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => turn,
            _ => return Err(crowded()),
        };
        Self::work(turn, work).await
    }

    /// The turn goes along: who gives up waiting does not let another in while the work is still going on.
    async fn work<T: Send + 'static>(
        turn: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Answer<T> {
        let work = move || {
            let result = work();
            drop(turn);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| crowded())
    }
}

fn crowded() -> No {
    let text = "Too many logins are under way. Try again in a moment.";
    No { later: true, ..No::new(StatusCode::TOO_MANY_REQUESTS, "auth_busy", text) }
}

fn digest(secret: &str, salt: &[u8], parameters: Params) -> Option<Zeroizing<[u8; 32]>> {
    let blocks = parameters.block_count();
    let mut memory: Vec<Block> = Vec::with_capacity(RESERVED.max(blocks));
    memory.resize(blocks, Block::default());
    let mut out = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters)
        .hash_password_into_with_memory(secret.as_bytes(), salt, &mut *out, &mut memory)
        .ok()?;
    Some(out)
}

fn hash(secret: &str, cost: Cost) -> String {
    let salt = random::bytes::<16>();
    let parameters = cost.parameters();
    let out = digest(secret, &salt, parameters.clone()).expect("constants within argon2's limits");
    PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&parameters).expect("argon2's parameters have a PHC form"),
        salt: Some(Salt::new(&salt).expect("16 bytes are a salt")),
        hash: Some(Output::new(&*out).expect("32 bytes are an output")),
    }
    .to_string()
}

fn verify(secret: &str, expected: &str) -> bool {
    let Ok(expected) = PasswordHash::new(expected) else { return false };
    let (Some(salt), Some(output)) = (&expected.salt, &expected.hash) else { return false };
    let Ok(parameters) = Params::try_from(&expected) else { return false };
    if expected.algorithm != Algorithm::Argon2id.ident() || parameters.m_cost() > 64 << 10 {
        return false;
    }
    digest(secret, salt.as_ref(), parameters).is_some_and(|out| out.as_slice().ct_eq(output.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    #[test]
    fn a_hash_verifies_here_and_with_the_crates_own_means() {
        for cost in [Cost::Password, Cost::Pin] {
            let hash = hash("123456", cost);
            assert!(verify("123456", &hash) && !verify("123457", &hash));
            let parsed = PasswordHash::new(&hash).expect("PHC form");
            assert!(Argon2::default().verify_password(b"123456", &parsed).is_ok(), "{hash}");
        }
        assert!(!verify("", "") && !verify("x", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ"));
    }
}
