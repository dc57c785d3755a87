//! The search, small enough to end at once; what it finds is judged by OpenSSL.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn found(bits: u16) -> Dh<openssl::pkey::Params> {
    let der = search(bits, &Control::default()).expect("nobody cancels");
    Dh::params_from_der(&der).expect("PKCS #3")
}

fn is_prime(number: &BigNum) -> bool {
    number.is_prime(64, &mut BigNumContext::new().expect("memory")).expect("memory")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn finds_safe_primes(bits in 64_u16..320) {
        let found = found(bits);
        let p = found.prime_p().to_owned().expect("memory");
        let mut q = BigNum::new().expect("memory");
        q.rshift1(&p).expect("memory");
        prop_assert_eq!(p.num_bits(), i32::from(bits));
        prop_assert!(is_prime(&p) && is_prime(&q));
        prop_assert_eq!(p.mod_word(24).ok(), Some(23));
        prop_assert_eq!(found.generator(), &*BigNum::from_u32(2).expect("memory"));
    }

    /// Every number from the lowest on is a candidate exactly if no small prime divides it or its half.
    #[test]
    fn the_sieve_is_exact(bits in 64_u16..512) {
        let small: Vec<u32> = small_primes().into_iter().filter(|prime| *prime < 2_000).collect();
        let lowest = draw(bits).expect("memory");
        prop_assert_eq!(lowest.mod_word(STEP).ok(), Some(u64::from(STEP - 1)));
        let sieved: Vec<u32> = sieve(&lowest, &small, &Control::default()).expect("memory").take_while(|number| *number < 500).collect();
        let rest = |number: u32, prime: u32| (lowest.mod_word(prime).expect("memory") + u64::from(number * STEP)) % u64::from(prime);
        let tried = (0..500).filter(|number| small.iter().all(|prime| rest(*number, *prime) > 1)).collect::<Vec<_>>();
        prop_assert_eq!(sieved, tried);
    }

    /// Rounds of one exponentiation tell primes from others, for a number that is 3 modulo 4.
    #[test]
    fn a_round_knows_primes(half in 500_u32..200_000) {
        let number = BigNum::from_u32(4 * half + 3).expect("memory");
        let mut context = BigNumContext::new().expect("memory");
        // Whoever isn't one passes a round by one chance in four at the most.
        let passed = (0..64).all(|_| passes(&number, &mut context).expect("memory"));
        prop_assert_eq!(passed, is_prime(&number));
    }
}

#[test]
fn both_have_to_be_primes() {
    let mut context = BigNumContext::new().expect("memory");
    let mut taken = |p: u32| {
        let p = BigNum::from_u32(p).expect("memory");
        is_safe(&p, &mut context, &Control::default()).expect("memory")
    };
    assert!([23, 47, 167, 263, 359].into_iter().all(&mut taken));
    // 87 = 3 * 29, whose half is the prime 43; 71 is a prime, whose half is 35; 2047 and its double plus one are none.
    assert!(![87, 71, 4_095, 2_047].into_iter().any(taken));
}

#[test]
fn openssl_accepts_them() {
    let pem = found(768).params_to_pem().expect("memory");
    let mut check = Command::new("openssl");
    check.args(["dhparam", "-check", "-noout"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("openssl is installed");
    check.stdin.take().expect("a pipe").write_all(&pem).expect("written");
    let output = check.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && text.contains("appear to be ok"), "{text}");
}

/// Waits until a search has tried this many.
fn tried(control: &Control, count: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while control.progress() < count {
        assert!(Instant::now() < deadline, "the search does not move");
        thread::yield_now();
    }
}

#[test]
fn rests_goes_on_and_is_given_up() {
    let control = Control::default();
    let theirs = control.clone();
    // Of 8192 bits nothing is found in a test's time.
    let search = thread::spawn(move || search(8192, &theirs));
    tried(&control, 2);
    control.pause();
    // What it was at when it was told, it ends.
    let resting = control.progress() + 1;
    thread::sleep(Duration::from_secs(1));
    assert!(control.progress() <= resting, "it rests");
    control.resume();
    tried(&control, resting + 2);
    control.pause();
    control.cancel();
    assert!(control.is_cancelled());
    assert!(matches!(search.join().expect("no panic"), Err(Fault::Cancelled)));
}

#[test]
fn nobody_can_wake_it() {
    let control = Control::default();
    control.pause();
    assert!(matches!(search(2048, &control), Err(Fault::Cancelled)), "this is the only handle");
    assert_eq!(control.progress(), 0);
}
