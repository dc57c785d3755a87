//! Users' PINs: checked a few at a time, since a check costs memory and time on purpose; wrong ones are counted.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use culvert_model::Id;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How many are checked at a time: each takes 19 MiB.
const AT_A_TIME: usize = 2;

/// How many may wait for that; more are turned away to come again.
const WAITING: usize = 64;

/// So many wrong PINs of one user...
const WRONG: u32 = 30;

/// ...within this time, and no further one is looked at until it is over.
const WITHIN: Duration = Duration::from_secs(600);

/// Checks PINs.
#[derive(Debug)]
pub struct Pins {
    slots: Semaphore,
    queue: Semaphore,
    wrong: Mutex<HashMap<Id, (u32, Instant)>>,
}

impl Default for Pins {
    fn default() -> Self {
        Self { slots: Semaphore::new(AT_A_TIME), queue: Semaphore::new(WAITING), wrong: Mutex::default() }
    }
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Right,
    Wrong,
    /// Not looked at: too many were wrong.
    TooMany,
    /// Not looked at: too many wait.
    Busy,
}

impl Pins {
    /// Checks a PIN against its argon2id hash in PHC form.
    pub(super) async fn check(&self, user: Id, pin: Zeroizing<String>, hash: String) -> Check {
        if self.blocked(user) {
            return Check::TooMany;
        }
        let Ok(_place) = self.queue.try_acquire() else { return Check::Busy };
        let Ok(_slot) = self.slots.acquire().await else { return Check::Busy };
        let right = tokio::task::spawn_blocking(move || verify(&pin, &hash)).await.unwrap_or(false);
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if right {
            wrong.remove(&user);
            return Check::Right;
        }
        let (count, _) = wrong.entry(user).or_insert((0, Instant::now()));
        *count += 1;
        Check::Wrong
    }

    fn blocked(&self, user: Id) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (_, first)| first.elapsed() < WITHIN);
        wrong.get(&user).is_some_and(|(count, _)| *count >= WRONG)
    }
}

fn verify(pin: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(pin.as_bytes(), &hash).is_ok())
}

/// That a client has shown the right PIN, so that its renegotiations need no check: a salted hash, in memory only.
#[derive(Clone)]
pub struct Proof {
    salt: [u8; 16],
    digest: [u8; 32],
}

impl Proof {
    /// For this PIN.
    ///
    /// Returns nothing if the kernel has no random bytes; then the PIN is checked each time.
    #[must_use]
    pub fn new(pin: &str) -> Option<Self> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).ok()?;
        Some(Self { salt, digest: digest(salt, pin) })
    }

    /// Whether it is the same PIN.
    #[must_use]
    pub fn matches(&self, pin: &str) -> bool {
        self.digest.ct_eq(&digest(self.salt, pin)).into()
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(proof)")
    }
}

fn digest(salt: [u8; 16], pin: &str) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(pin).finalize().into()
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;

    fn hash(pin: &str) -> String {
        Argon2::default().hash_password(pin.as_bytes()).expect("a hash").to_string()
    }

    #[tokio::test]
    async fn a_pin_is_checked_and_wrong_ones_are_counted() {
        let pins = Pins::default();
        let user = Id::new();
        let hash = hash("123456");
        let check = |pin: &str| pins.check(user, Zeroizing::new(pin.to_owned()), hash.clone());
        assert_eq!(check("123456").await, Check::Right);
        assert_eq!(check("123457").await, Check::Wrong);
        assert_eq!(check("123456").await, Check::Right);
        for _ in 0..WRONG {
            assert_eq!(check("0").await, Check::Wrong);
        }
        assert_eq!(check("123456").await, Check::TooMany);
        let other = pins.check(Id::new(), Zeroizing::new("123456".into()), hash.clone()).await;
        assert_eq!(other, Check::Right);
    }

    #[tokio::test]
    async fn a_damaged_hash_lets_nobody_in() {
        let pins = Pins::default();
        assert_eq!(pins.check(Id::new(), Zeroizing::new(String::new()), String::new()).await, Check::Wrong);
    }

    #[test]
    fn a_proof_is_for_one_pin() {
        let proof = Proof::new("123456").expect("random bytes");
        assert!(proof.matches("123456") && !proof.matches("123450"));
        assert_eq!(format!("{proof:?}"), "(proof)");
    }
}
