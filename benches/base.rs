//! What an appliance costs that does nothing, and how soon it serves: budgets of the design, section 10.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::{Appliance, Setup};
use culvert_tests::console::Console;
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::Town;
use culvert_tests::story::{Story, id};
use http::Method;
use serde_json::json;

use crate::figures::{cpu, cpu_of_children, memory, quantile};
use crate::report::Report;

/// The supervisor and all that it starts.
const PROCESSES: usize = 9;

/// Users that are made one after the other, so that a median means something.
const USERS: u64 = 40;

pub fn measure() -> Result<Report> {
    let mut report = Report::default();
    cold_start(&mut report)?;
    let story = Story::begin(Town::new()?, setup("embedded"))?;
    idle(&mut report, &story.appliance, "all processes, idle, embedded", PROCESSES, 48.0)?;
    drop(story);
    users_from_the_pool(&mut report)?;

    let server = Arc::new(Town::new()?.server);
    let member = Appliance::start(&server, Setup { headless: true, ..setup("embedded") })?;
    idle(&mut report, &member, "a headless member, idle, embedded", PROCESSES - 1, 40.0)?;
    Ok(report)
}

/// On both stores.
pub fn users_from_the_pool(report: &mut Report) -> Result<()> {
    let story = Story::begin(Town::new()?, setup("embedded"))?;
    users(report, &story, "embedded", 10.0)?;
    drop(story);
    let town = Town::new()?;
    let database = ReplicaSet::start_in(town.server.name(), std::net::Ipv4Addr::LOCALHOST.into(), 1)?;
    let story = Story::begin(town, setup(&database.uri("culvert")))?;
    users(report, &story, "MongoDB", 25.0)
}

/// As a user starts it, who asks for no more of the log than there is by itself.
pub fn setup(store: &str) -> Setup {
    Setup { log: "info".into(), ..Setup::new(store, Town::SERVER) }
}

/// From the command to the first HTTPS answer with a new state folder, the median of five.
fn cold_start(report: &mut Report) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let town = Town::new()?;
        let (server, client) = (Arc::new(town.server), Arc::new(town.client));
        let console = Console::new(&client, Town::SERVER);
        let begun = Instant::now();
        let answered = std::thread::scope(|scope| -> Result<Duration> {
            let asking = scope.spawn(|| {
                until("the first answer", Duration::from_secs(30), || {
                    let answer = console.ask(Method::GET, "/ping", None)?;
                    Ok((answer.status == 200).then(|| begun.elapsed()))
                })
            });
            let appliance = Appliance::start(&server, setup("embedded"))?;
            let answered = asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?;
            drop(appliance);
            answered
        })?;
        times.push(answered.as_secs_f64() * 1000.0);
    }
    report.at_most("cold start to the first HTTPS answer, embedded (p50 of 5)", quantile(&mut times, 0.5), "ms", 500.0);
    Ok(())
}

fn idle(report: &mut Report, appliance: &Appliance, what: &str, processes: usize, budget: f64) -> Result<()> {
    let all = everybody(appliance);
    ensure!(all.len() == processes, "{} of {processes} processes run: {all:?}", all.len());
    report.at_most(format!("memory of {what} (PSS)"), settled(appliance)?, "MiB", budget);
    for (name, pid) in &all {
        report.told(format!("  of which {name}"), memory(*pid)?, "MiB");
    }
    let (before, begun) = (used(&all)?, Instant::now());
    std::thread::sleep(Duration::from_secs(60));
    let (after, seconds) = (used(&all)?, begun.elapsed().as_secs_f64());
    let shares: Vec<f64> = before.iter().zip(after).map(|(before, after)| (after - before) / seconds * 100.0).collect();
    report.at_most(format!("CPU of {what}, over a minute"), shares.iter().sum(), "%", 0.5);
    for ((name, _), share) in all.iter().zip(shares) {
        report.told(format!("  of which {name}"), share, "%");
    }
    // Who was replaced meanwhile would not have been idle.
    ensure!(everybody(appliance) == all, "a process was replaced during the minute");
    Ok(())
}

/// The whole request, on a connection that stands.
fn users(report: &mut Report, story: &Story, store: &str, budget: f64) -> Result<()> {
    story.console.expect(Method::PUT, "/v1/settings", Some(&json!({ "client_pool": USERS })))?;
    let organization = story.organization("acme")?;
    let path = format!("/user/{organization}");
    let mut kept = story.console.keep()?;
    let mut make = |number: u64| -> Result<f64> {
        let begun = Instant::now();
        let answer = kept.ask(Method::POST, &path, Some(&json!({ "name": format!("user{number}") })))?;
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        ensure!(answer.status == 200, "{}", answer.text());
        id(&answer.json()?[0])?;
        Ok(took)
    };
    let mut empty = (0..5).map(&mut make).collect::<Result<Vec<_>>>()?;
    until("a full pool", Duration::from_secs(180), || {
        let pools = story.console.get("/v1/pools")?;
        let full = |pool: &serde_json::Value| pool["pool"] == "client" && pool["ready"] == USERS;
        Ok(pools.as_array().context("a list")?.iter().any(full).then_some(()))
    })?;
    let mut pooled = (5..5 + USERS / 2).map(&mut make).collect::<Result<Vec<_>>>()?;
    report.at_most(format!("a user from the pool, {store} (p50)"), quantile(&mut pooled, 0.5), "ms", budget);
    report.told(format!("a user from the pool, {store} (p90)"), quantile(&mut pooled, 0.9), "ms");
    report.told(format!("a user from an empty pool, {store} (p50 of 5)"), quantile(&mut empty, 0.5), "ms");
    Ok(())
}

fn everybody(appliance: &Appliance) -> Vec<(String, u32)> {
    let mut all = appliance.processes();
    all.push(("supervisor".into(), appliance.supervisor()));
    all
}

/// The memory of all processes together once it has stopped growing: two looks ten seconds apart.
fn settled(appliance: &Appliance) -> Result<f64> {
    let total = || everybody(appliance).into_iter().map(|(_, pid)| memory(pid)).sum::<Result<f64>>();
    let mut last = 0.0;
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(10));
        let now = total()?;
        if now <= last {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}

/// Seconds of CPU that each process has used so far, and the programs that it ran and that ended.
fn used(all: &[(String, u32)]) -> Result<Vec<f64>> {
    all.iter().map(|(_, pid)| Ok(cpu(*pid)? + cpu_of_children(*pid)?)).collect()
}
