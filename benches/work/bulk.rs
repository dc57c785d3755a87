//! Users by the thousand with keys on P-256, on one host and on three of one database.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Appliance;
use culvert_tests::estate::Estate;
use culvert_tests::lines::until;
use culvert_tests::story::id;
use http::Method;
use serde_json::json;

use crate::figures::cpu;
use crate::report::Report;

/// Users in all, and in one request.
const USERS: usize = 10_000;
const TOGETHER: usize = 2_000;

/// What works at a user, on each host.
const PROCESSES: [&str; 2] = ["queue", "bus"];

pub fn measure(report: &mut Report) -> Result<()> {
    let (alone, used) = with(1)?;
    report.told(format!("{USERS} users in bulk, P-256, MongoDB, 1 host"), alone, "/s");
    report.told("  for each second of CPU of queue and bus", used, "users");
    let (three, used) = with(3)?;
    report.told(format!("{USERS} users in bulk, P-256, MongoDB, 3 hosts"), three, "/s");
    report.told("  for each second of CPU of queues and buses", used, "users");
    report.told("  speed-up, all hosts and the database on the cores of one machine", three / alone, "x");
    Ok(())
}

/// Users per second, and users per second of CPU.
fn with(hosts: u8) -> Result<(f64, f64)> {
    let estate = Estate::new()?;
    let appliances: Vec<Appliance> = (1..=hosts).map(|number| estate.start(number)).collect::<Result<_>>()?;
    let console = estate.console(1, &appliances[0].credentials()?)?;
    console.expect(Method::PUT, "/v1/settings", Some(&json!({ "user_key": "p-256" })))?;
    let organization = id(&console.expect(Method::POST, "/organization", Some(&json!({ "name": "many" })))?)?;
    let (begun, before) = (Instant::now(), used(&appliances)?);
    for part in 0..USERS / TOGETHER {
        let names = part * TOGETHER..(part + 1) * TOGETHER;
        let users: Vec<_> = names.map(|number| json!({ "name": format!("user{number}") })).collect();
        let answer = console.ask(Method::POST, &format!("/user/{organization}/multi"), Some(&json!(users)))?;
        ensure!(answer.status < 300, "{} {}", answer.status, answer.text());
    }
    until("all users", Duration::from_secs(900), || {
        let shown = console.get(&format!("/organization/{organization}"))?;
        Ok((shown["user_count"] == USERS).then_some(()))
    })?;
    let took = begun.elapsed().as_secs_f64();
    Ok((USERS as f64 / took, USERS as f64 / (used(&appliances)? - before)))
}

fn used(appliances: &[Appliance]) -> Result<f64> {
    let mut all = 0.0;
    for appliance in appliances {
        for name in PROCESSES {
            all += cpu(appliance.process(name).context("it runs")?)?;
        }
    }
    Ok(all)
}
