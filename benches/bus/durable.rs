//! The embedded store: from write to handler, and durable writes per second against bare SQLite.

use std::cell::Cell;
use std::time::Instant;

use anyhow::{Context, Result};
use culvert_model::Role;
use culvert_model::record::User;
use culvert_records::Stored;
use tempfile::TempDir;

use super::claims::rate;
use super::messages::subscribe;
use super::plain::Plain;
use super::{Pair, runtime};
use crate::daemon::{Daemon, connect};
use crate::figures::{cpu, millis, quantile};
use crate::report::Report;
use crate::samples::user;

/// Messages in all.
const MESSAGES: usize = 1000;

/// Requests that only go over the socket and back.
const TRIPS: usize = 2000;

pub fn measure(report: &mut Report) -> Result<()> {
    let bus = Daemon::embedded()?;
    let runtime = runtime()?;
    let api = runtime.block_on(connect(bus.socket(), Role::Api))?;
    let mut heard = subscribe(bus.socket())?;
    let mut samples = runtime.block_on(async {
        let record = user(0);
        api.insert(&record).await?;
        let mut stored: Stored<User> = api.get(record.id).await?.context("it was just made")?;
        let mut samples = Vec::with_capacity(MESSAGES);
        for _ in 0..MESSAGES {
            let begun = Instant::now();
            api.update(&mut stored).await?;
            let at = loop {
                let news = heard.recv().await.context("the handler ended")?;
                if news.revision == stored.revision {
                    break news.at;
                }
            };
            samples.push(millis(at.saturating_duration_since(begun)));
        }
        anyhow::Ok(samples)
    })?;
    report.at_most("publish to handler, embedded, p50", quantile(&mut samples, 0.5), "ms", 1.0);
    report.told("publish to handler, embedded, p99", quantile(&mut samples, 0.99), "ms");
    drop(heard);

    let folder = TempDir::with_prefix("culvert-bench-")?;
    let plain = Plain::like(&bus.file(), &folder.path().join("store.sqlite"))?;
    let mut trips = runtime.block_on(async {
        let mut samples = Vec::with_capacity(TRIPS);
        for _ in 0..TRIPS {
            let begun = Instant::now();
            api.here().await?;
            samples.push(millis(begun.elapsed()) * 1000.0);
        }
        anyhow::Ok(samples)
    })?;
    report.told("a request that takes nothing, over the socket and back, p50", quantile(&mut trips, 0.5), "us");
    for writers in [1, 8, 64] {
        let (mut used, mut writes, next) = (0.0, 0.0, Cell::new(writers as u64 * 10_000_000));
        let pair = Pair::turns(|ours| {
            let (before, begun) = (cpu(bus.pid())?, Instant::now());
            let step = async || {
                let number = next.replace(next.get() + 1);
                let user = user(number);
                if ours { Ok(api.insert(&user).await?) } else { plain.insert(number, &user).await }
            };
            let rate = runtime.block_on(rate(writers, step))?;
            if ours {
                used += cpu(bus.pid())? - before;
                writes += rate * begun.elapsed().as_secs_f64();
            }
            Ok(vec![rate])
        })?;
        let (by_bus, by_plain) = pair.quantiles(0.5);
        let what = format!("durable writes per second, embedded, {writers} at a time, to bare SQLite");
        match writers {
            // No two writes are in one batch: each has the way to another process on top of what SQLite takes, and that is
            // a matter of how fast the machine wakes a process.
            1 => report.told(what, by_bus / by_plain, "x"),
            _ => report.at_least(what, by_bus / by_plain, "x", 0.8),
        }
        pair.tell(report, 0.5, "/s");
        report.told("  CPU of the bus for a write", used / writes * 1e6, "us");
    }
    Ok(())
}
