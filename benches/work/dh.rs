//! How fast the search for Diffie-Hellman parameters is, beside `openssl dhparam` at the same time on the same machine.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use culvert_keys::{Control, Fault, Recipe};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};

use crate::report::Report;

/// How long both search: one that finds some is over.
const TIME: Duration = Duration::from_secs(4);

/// The largest number that our sieve divides by.
const SIEVED: f64 = 262_144.0;

/// The same of OpenSSL: its 384th or 1024th prime (`crypto/bn/bn_prime.c`).
const fn sieved_by_openssl(bits: u16) -> f64 {
    if bits <= 2048 { 2_657.0 } else { 8_161.0 }
}

pub fn measure(report: &mut Report) -> Result<()> {
    for bits in [2048, 3072, 4096] {
        let (openssl, ours) = thread::scope(|scope| {
            let ours = scope.spawn(move || ours(bits));
            (openssl(bits), ours.join().map_err(|_| anyhow!("the search panicked")))
        });
        let (openssl, ours) = (openssl?, ours??);
        // Of what the primes up to n leave, one in so many is good: in proportion to the square of the logarithm of n.
        let better = (SIEVED.ln() / sieved_by_openssl(bits).ln()).powi(2);
        let what = format!("DH parameters of {bits} bits for a second of CPU, to be expected, to `openssl dhparam`");
        report.at_least(what, ours / openssl * better, "x", 1.0);
        report.told("  candidates of ours", ours, "/s");
        report.told("  candidates of `openssl dhparam`", openssl, "/s");
    }
    Ok(())
}

/// Our candidates in a second of a processor.
fn ours(bits: u16) -> Result<f64> {
    let control = Control::default();
    let theirs = control.clone();
    let search = thread::spawn(move || {
        let ended = Recipe::DhParams { bits }.make(&theirs);
        ensure!(matches!(ended, Ok(_) | Err(Fault::Cancelled)), "the search failed");
        Ok(Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?))
    });
    wait(|| Ok(search.is_finished()))?;
    control.cancel();
    let used = search.join().map_err(|_| anyhow!("the search panicked"))??;
    Ok(control.progress() as f64 / used.as_secs_f64())
}

/// Those of `openssl dhparam`, which prints a dot for each.
fn openssl(bits: u16) -> Result<f64> {
    let used = || {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok::<_, anyhow::Error>((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
    };
    let before = used()?;
    let mut command = Command::new("openssl");
    command.args(["dhparam", "-out", "/dev/null", &bits.to_string()]).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting openssl")?;
    let mut printed = child.stderr.take().context("a pipe")?;
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        printed.read_to_end(&mut bytes).map(|_| bytes.into_iter().filter(|byte| *byte == b'.').count())
    });
    wait(|| Ok(child.try_wait()?.is_some()))?;
    // It may have ended by itself.
    let _ = child.kill();
    child.wait()?;
    let dots = reader.join().map_err(|_| anyhow!("the reader panicked"))??;
    Ok(dots as f64 / (used()? - before))
}

/// Until it is over, or it is time.
fn wait(mut over: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + TIME;
    while Instant::now() < end && !over()? {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
