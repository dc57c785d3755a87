//! RSA-4096 keys per second, against a bare loop over the library on as many threads, in turns.
//!
//! How long a key takes is chance: of `TURNS * KEYS` keys on each side, the ratio of two equals is off by 4 % in one run of
//! three. What is no chance is how much of the processors' time goes into the search.

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

/// Turns of each side, and the keys of each: so many that a core that has nothing left at the end counts for little.
const TURNS: usize = 2;
const KEYS: usize = 192;

/// What one side made.
#[derive(Default)]
struct Side {
    keys: usize,
    /// Seconds, and seconds of CPU.
    took: f64,
    cpu: f64,
}

impl Side {
    /// Counts a turn, with the seconds of CPU that whoever makes the keys has had so far.
    fn turn(&mut self, cpu: impl Fn() -> Result<f64>, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let (begun, before) = (Instant::now(), cpu()?);
        make()?;
        self.keys += KEYS;
        self.took += begun.elapsed().as_secs_f64();
        self.cpu += cpu()? - before;
        Ok(())
    }

    fn rate(&self) -> f64 {
        self.keys as f64 / self.took
    }
}

pub fn measure(report: &mut Report, story: &Story) -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    let organization = organization(story)?;
    let queue = story.appliance.process("queue").context("the queue runs")?;
    let (mut ours, mut bare) = (Side::default(), Side::default());
    for turn in 1..=TURNS {
        ours.turn(|| cpu(queue), || by_queue(story, &organization, turn))?;
        bare.turn(|| cpu(std::process::id()), || by_loop(cores))?;
    }
    let what = format!("RSA-4096 keys per second, on {cores} cores, to a bare loop");
    report.at_least(what, ours.rate() / bare.rate(), "x", 0.9);
    for (name, side) in [("the queue", ours), ("the bare loop", bare)] {
        report.told(format!("  {name}"), side.rate(), "/s");
        let share = side.cpu / side.took / cores as f64;
        report.told(format!("  of the processors' time, {name}"), share * 100.0, "%");
    }
    Ok(())
}

/// One whose users get such keys, with nothing to do for the pools.
fn organization(story: &Story) -> Result<String> {
    let settings = json!({ "user_key": "rsa-4096", "client_pool": 1, "server_pool": 1 });
    story.console.expect(Method::PUT, "/v1/settings", Some(&settings))?;
    let organization = story.organization("keys")?;
    until("a full pool", Duration::from_secs(120), || {
        let pools = story.console.get("/v1/pools")?;
        let full = |pool: &serde_json::Value| pool["pool"] != "client" || pool["ready"] == 1;
        Ok(pools.as_array().context("a list")?.iter().all(full).then_some(()))
    })?;
    Ok(organization)
}

/// Users made in one request.
fn by_queue(story: &Story, organization: &str, turn: usize) -> Result<()> {
    let users: Vec<_> = (0..KEYS).map(|number| json!({ "name": format!("user-{turn}-{number}") })).collect();
    story.console.ask(Method::POST, &format!("/user/{organization}/multi"), Some(&json!(users)))?;
    until("all users", Duration::from_secs(600), || {
        let shown = story.console.get(&format!("/organization/{organization}"))?;
        Ok((shown["user_count"] == KEYS * turn).then_some(()))
    })
}

fn by_loop(threads: usize) -> Result<()> {
    let made = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while made.fetch_add(1, Ordering::Relaxed) < KEYS {
                    Rsa::generate(4096).expect("a key");
                }
            });
        }
    });
    Ok(())
}
