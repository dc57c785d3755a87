//! What filling a pool costs those who are being served: requests while nothing is made, and while a pool is filled, in turns.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::lines::until;
use culvert_tests::story::Story;
use http::Method;
use serde_json::json;

use crate::figures::{millis, quantile};
use crate::report::Report;

/// Turns of each kind, their requests, and how far apart these are: the proxy lets an address make 100 per second.
const TURNS: u32 = 5;
const REQUESTS: u32 = 400;
const PACE: Duration = Duration::from_millis(12);

/// A level at which every pool is full, and by how much a turn raises it: by more than is made meanwhile.
const FULL: u32 = 6;
const RAISE: u32 = 40;

pub fn measure(report: &mut Report, story: &Story) -> Result<()> {
    let organization = story.organization("served")?;
    let path = format!("/user/{organization}");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    pool(story, FULL, false)?;
    requests(story, &path)?;
    for turn in 1..=TURNS {
        pool(story, FULL, false)?;
        without.extend(requests(story, &path)?);
        pool(story, FULL + turn * RAISE, true)?;
        with.extend(requests(story, &path)?);
        ensure!(coming(story)? > 0, "the pool was full before the requests were over");
    }
    let ratio = quantile(&mut with, 0.99) / quantile(&mut without, 0.99);
    report.at_most("a request while a pool is filled, to one without, p99", ratio, "x", 1.5);
    report.told("  while it is filled, p99", quantile(&mut with, 0.99), "ms");
    report.told("  without, p99", quantile(&mut without, 0.99), "ms");
    report.told("  while it is filled, p50", quantile(&mut with, 0.5), "ms");
    report.told("  without, p50", quantile(&mut without, 0.5), "ms");
    Ok(())
}

/// Sets the pools' size and waits until they are full, or all that is missing is on its way.
fn pool(story: &Story, size: u32, filled: bool) -> Result<()> {
    story.console.expect(Method::PUT, "/v1/settings", Some(&json!({ "client_pool": size })))?;
    until("the pools", Duration::from_secs(180), || Ok(((coming(story)? > 0) == filled).then_some(())))
}

/// How many certificates of users are being made or wait to be; none, as long as some are missing that do not.
fn coming(story: &Story) -> Result<u64> {
    let pools = story.console.get("/v1/pools")?;
    let clients = pools.as_array().context("a list")?.iter().filter(|pool| pool["pool"] == "client");
    let number = |pool: &serde_json::Value, name: &str| pool[name].as_u64().unwrap_or_default();
    let on_their_way = |pool: &serde_json::Value| {
        let [level, ready, coming] = ["level", "ready", "coming"].map(|name| number(pool, name));
        if ready + coming >= level { coming } else { 0 }
    };
    Ok(clients.map(on_their_way).sum())
}

fn requests(story: &Story, path: &str) -> Result<Vec<f64>> {
    let mut kept = story.console.keep()?;
    let (mut samples, first) = (Vec::new(), Instant::now());
    for number in 0..REQUESTS {
        thread::sleep((first + number * PACE).saturating_duration_since(Instant::now()));
        let begun = Instant::now();
        let answer = kept.ask(Method::GET, path, None)?;
        samples.push(millis(begun.elapsed()));
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(samples)
}
