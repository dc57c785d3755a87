//! RSA-4096 keys per second, against a bare loop over the library on as many threads.
//!
//! How long a key takes is chance: of `KEYS` keys on each side, the ratio of two equals is off by 9 % in one run of three. What
//! is no chance is how much of the processors' time goes into the search.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use culvert_tests::lines::until;
use culvert_tests::story::Story;
use http::Method;
use openssl::rsa::Rsa;
use serde_json::json;

use crate::figures::cpu;
use crate::report::Report;

/// Keys on each side.
const KEYS: usize = 120;

pub fn measure(report: &mut Report, story: &Story) -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    let (rate, share) = by_queue(story)?;
    let (bare_rate, bare_share) = bare(cores);
    let what = format!("RSA-4096 keys per second, on {cores} cores, to a bare loop");
    report.at_least(what, rate / bare_rate, "x", 0.9);
    report.told("  the queue", rate, "/s");
    report.told("  the bare loop", bare_rate, "/s");
    report.told("  of the processors' time, the queue", share / cores as f64 * 100.0, "%");
    report.told("  of the processors' time, the bare loop", bare_share / cores as f64 * 100.0, "%");
    Ok(())
}

/// Keys per second, and seconds of CPU in each: users made in one request.
fn by_queue(story: &Story) -> Result<(f64, f64)> {
    let settings = json!({ "user_key": "rsa-4096", "client_pool": 1, "server_pool": 1 });
    story.console.expect(Method::PUT, "/v1/settings", Some(&settings))?;
    let organization = story.organization("keys")?;
    until("a full pool", Duration::from_secs(120), || {
        let pools = story.console.get("/v1/pools")?;
        let full = |pool: &serde_json::Value| pool["pool"] != "client" || pool["ready"] == 1;
        Ok(pools.as_array().context("a list")?.iter().all(full).then_some(()))
    })?;
    let queue = story.appliance.process("queue").context("the queue runs")?;
    let users: Vec<_> = (0..KEYS).map(|number| json!({ "name": format!("user{number}") })).collect();
    let (begun, before) = (Instant::now(), cpu(queue)?);
    story.console.ask(Method::POST, &format!("/user/{organization}/multi"), Some(&json!(users)))?;
    until("all users", Duration::from_secs(600), || {
        let shown = story.console.get(&format!("/organization/{organization}"))?;
        Ok((shown["user_count"] == KEYS).then_some(()))
    })?;
    let took = begun.elapsed().as_secs_f64();
    Ok((KEYS as f64 / took, (cpu(queue)? - before) / took))
}

fn bare(threads: usize) -> (f64, f64) {
    let (made, begun, before) = (AtomicUsize::new(0), Instant::now(), own_cpu());
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while made.fetch_add(1, Ordering::Relaxed) < KEYS {
                    Rsa::generate(4096).expect("a key");
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    (KEYS as f64 / took, (own_cpu() - before) / took)
}

fn own_cpu() -> f64 {
    cpu(std::process::id()).unwrap_or(f64::NAN)
}
