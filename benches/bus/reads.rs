//! One record, by its id.

use std::time::Instant;

use anyhow::{Context, Result};
use culvert_model::record::User;
use culvert_records::Bus;
use tokio::runtime::Runtime;

use super::Pair;
use super::bare::Bare;
use crate::daemon::Daemon;
use crate::figures::{cpu, millis};
use crate::report::Report;
use crate::samples::user;

/// Reads in a turn.
const READS: usize = 2000;

/// One after the other.
pub fn measure(report: &mut Report, runtime: &Runtime, bus: &Daemon, api: &Bus, bare: &Bare) -> Result<()> {
    let record = user(1);
    runtime.block_on(async {
        bare.insert(std::slice::from_ref(&record)).await?;
        api.insert(&record).await.context("a user")
    })?;
    let (id, mut used, mut read) = (record.id.to_string(), 0.0, 0);
    let pair = Pair::turns(|ours| {
        let before = cpu(bus.pid())?;
        let samples = runtime.block_on(async {
            let mut samples = Vec::with_capacity(READS);
            for _ in 0..READS {
                let begun = Instant::now();
                if ours {
                    api.get::<User>(record.id).await?.context("it is there")?;
                } else {
                    bare.read::<User>(&id).await?;
                }
                samples.push(millis(begun.elapsed()) * 1000.0);
            }
            anyhow::Ok(samples)
        })?;
        if ours {
            used += cpu(bus.pid())? - before;
            read += READS;
        }
        Ok(samples)
    })?;
    let (by_bus, by_bare) = pair.quantiles(0.5);
    report.at_most("a read over the bus, more than by the bare program, p50", by_bus - by_bare, "us", 100.0);
    pair.tell(report, 0.5, "us");
    report.told("  CPU of the bus for a read", used / read as f64 * 1e6, "us");
    Ok(())
}
