//! What an appliance costs that does nothing, and how soon it serves: budgets of the design, section 10.

use std::fs;
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

use crate::report::Report;

/// Users that are made one after the other, so that a median means something.
const USERS: u64 = 40;

pub fn measure() -> Result<Report> {
    let mut report = Report::default();
    cold_start(&mut report)?;
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    idle(&mut report, &story.appliance, "all processes, idle, embedded", 48.0)?;
    users(&mut report, &story, "embedded", 10.0)?;
    drop(story);

    let town = Town::new()?;
    let database = ReplicaSet::start_in(town.server.name(), std::net::Ipv4Addr::LOCALHOST.into(), 1)?;
    let story = Story::begin(town, Setup::new(&database.uri("culvert"), Town::SERVER))?;
    users(&mut report, &story, "MongoDB", 25.0)?;
    drop(story);

    let server = Arc::new(Town::new()?.server);
    let headless = Setup { headless: true, ..Setup::new("embedded", Town::SERVER) };
    let member = Appliance::start(&server, headless)?;
    report.at_most("memory of a headless member, idle, embedded (PSS)", settled(&member)?, "MiB", 40.0);
    Ok(report)
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
            let appliance = Appliance::start(&server, Setup::new("embedded", Town::SERVER))?;
            let answered = asking.join().map_err(|_| anyhow::anyhow!("the asking thread panicked"))?;
            drop(appliance);
            answered
        })?;
        times.push(answered.as_secs_f64() * 1000.0);
    }
    report.at_most("cold start to the first HTTPS answer, embedded (p50 of 5)", quantile(&mut times, 0.5), "ms", 500.0);
    Ok(())
}

fn idle(report: &mut Report, appliance: &Appliance, what: &str, budget: f64) -> Result<()> {
    report.at_most(format!("memory of {what} (PSS)"), settled(appliance)?, "MiB", budget);
    for (name, pid) in everybody(appliance) {
        report.told(format!("  of which {name}"), memory(pid)?, "MiB");
    }
    let (before, begun) = (used(appliance)?, Instant::now());
    std::thread::sleep(Duration::from_secs(60));
    let share = (used(appliance)? - before) / begun.elapsed().as_secs_f64() * 100.0;
    report.at_most(format!("CPU of {what}, over a minute"), share, "%", 0.5);
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
        let full = |pool: &serde_json::Value| pool["purpose"] == "client" && pool["ready"] == USERS;
        Ok(pools.as_array().context("a list")?.iter().any(full).then_some(()))
    })?;
    let mut pooled = (5..5 + USERS / 2).map(&mut make).collect::<Result<Vec<_>>>()?;
    report.at_most(format!("a user from the pool, {store} (p50)"), quantile(&mut pooled, 0.5), "ms", budget);
    report.told(format!("a user from the pool, {store} (p90)"), quantile(&mut pooled, 0.9), "ms");
    report.told(format!("a user from an empty pool, {store} (p50 of 5)"), quantile(&mut empty, 0.5), "ms");
    Ok(())
}

fn quantile(figures: &mut [f64], part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[((figures.len() - 1) as f64 * part).round() as usize]
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

/// The proportional set size in MiB.
fn memory(pid: u32) -> Result<f64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("a Pss line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// Seconds of CPU that all processes have used so far.
fn used(appliance: &Appliance) -> Result<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("ticks")? as f64;
    let mut total = 0.0;
    for (_, pid) in everybody(appliance) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
        total += fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    }
    Ok(total / ticks)
}
