//! What filling a pool costs those who are being served: requests while nothing is made, and while a pool is filled.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::lines::until;
use culvert_tests::story::Story;
use http::Method;
use serde_json::json;

use crate::figures::{millis, quantile};
use crate::report::Report;

/// Requests of each kind, and how far apart they are: the proxy lets an address make 100 per second.
const REQUESTS: u32 = 1500;
const PACE: Duration = Duration::from_millis(12);

/// More than are made meanwhile.
const POOL: u32 = 1000;

pub fn measure(report: &mut Report, story: &Story) -> Result<()> {
    let organization = story.organization("served")?;
    until("full pools", Duration::from_secs(180), || Ok((making(story)? == 0).then_some(())))?;
    let path = format!("/user/{organization}");
    requests(story, &path)?;
    let mut without = requests(story, &path)?;
    story.console.expect(Method::PUT, "/v1/settings", Some(&json!({ "client_pool": POOL })))?;
    until("jobs", Duration::from_secs(30), || Ok((making(story)? > 0).then_some(())))?;
    let mut with = requests(story, &path)?;
    ensure!(making(story)? > 0, "the pool was full before the requests were over");
    let ratio = quantile(&mut with, 0.99) / quantile(&mut without, 0.99);
    report.at_most("a request while a pool is filled, to one without, p99", ratio, "x", 1.5);
    report.told("  while it is filled, p99", quantile(&mut with, 0.99), "ms");
    report.told("  without, p99", quantile(&mut without, 0.99), "ms");
    report.told("  while it is filled, p50", quantile(&mut with, 0.5), "ms");
    report.told("  without, p50", quantile(&mut without, 0.5), "ms");
    Ok(())
}

/// Certificates of users that are being made or wait to be.
fn making(story: &Story) -> Result<usize> {
    let jobs = story.console.get("/v1/jobs")?;
    let client = |job: &&serde_json::Value| job["what"] == "certificate";
    Ok(jobs.as_array().context("a list")?.iter().filter(client).count())
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
