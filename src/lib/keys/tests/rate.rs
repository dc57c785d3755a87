//! How fast the search for Diffie-Hellman parameters is, beside `openssl dhparam` at the same time on the same machine.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use culvert_keys::{Control, Fault, Recipe};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};

/// How long both search.
const TIME: Duration = Duration::from_secs(4);

/// The largest number that our sieve divides by.
const SIEVED: f64 = 262_144.0;

/// The same of OpenSSL: its 384th or 1024th prime (`crypto/bn/bn_prime.c`).
const fn sieved_by_openssl(bits: u16) -> f64 {
    if bits <= 2048 { 2_657.0 } else { 8_161.0 }
}

/// Our candidates in a second of a processor.
fn ours(bits: u16) -> f64 {
    let control = Control::default();
    let theirs = control.clone();
    let search = thread::spawn(move || {
        let ended = Recipe::DhParams { bits }.make(&theirs);
        assert!(matches!(ended, Ok(_) | Err(Fault::Cancelled)));
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
        (Duration::from(used), Instant::now())
    });
    wait(|| search.is_finished());
    let told = Instant::now();
    control.cancel();
    let (used, ended) = search.join().expect("no panic");
    let late = ended.saturating_duration_since(told);
    println!("{bits} bits: given up after {late:?}");
    // Milliseconds, where there is a processor for it.
    assert!(late < Duration::from_secs(1));
    control.progress() as f64 / used.as_secs_f64()
}

/// Those of `openssl dhparam`, which prints a dot for each.
fn openssl(bits: u16) -> f64 {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
        (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6
    };
    let before = used();
    let mut command = Command::new("openssl");
    command.args(["dhparam", "-out", "/dev/null", &bits.to_string()]).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is installed");
    let mut printed = child.stderr.take().expect("a pipe");
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = printed.read_to_end(&mut bytes);
        bytes.into_iter().filter(|byte| *byte == b'.').count()
    });
    wait(|| child.try_wait().expect("a child").is_some());
    let _ = child.kill();
    let _ = child.wait();
    reader.join().expect("no panic") as f64 / (used() - before)
}

/// Until it is over, or it is time.
fn wait(mut over: impl FnMut() -> bool) {
    let end = Instant::now() + TIME;
    while Instant::now() < end && !over() {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn no_slower_than_openssl() {
    for bits in [2048, 3072, 4096] {
        let (openssl, ours) = thread::scope(|scope| {
            let ours = scope.spawn(move || ours(bits));
            (openssl(bits), ours.join().expect("no panic"))
        });
        // Of what the primes up to n leave, one in so many is good: in proportion to the square of the logarithm of n.
        let better = (SIEVED.ln() / sieved_by_openssl(bits).ln()).powi(2);
        let [candidates, parameters] = [ours / openssl, ours / openssl * better];
        println!(
            "{bits} bits: {ours:.0} candidates a second, {candidates:.2} times as many; {parameters:.2} times as many parameters"
        );
        assert!(candidates > 0.75 && parameters > 1.0, "{ours} and {openssl} candidates a second");
    }
}
