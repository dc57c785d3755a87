//! Claims of records by their ids, one and several at a time.

use std::cell::Cell;
use std::time::Instant;

use anyhow::{Result, bail};
use culvert_model::record::Job;
use culvert_records::{Bus, Kept, insert};
use futures_util::future::try_join_all;
use tokio::runtime::Runtime;

use super::bare::{Bare, LEASE};
use super::{COUNTED, Pair};
use crate::daemon::Daemon;
use crate::figures::cpu;
use crate::report::Report;
use crate::samples::job;

/// So many records that a lease is over before its record has its turn again.
const JOBS: usize = 4000;

/// In one transaction.
const BATCH: usize = 100;

/// Each claimer claims one record after the other, none that another has claimed.
pub fn measure(report: &mut Report, runtime: &Runtime, bus: &Daemon, queue: &Bus, bare: &Bare) -> Result<()> {
    let jobs: Vec<Job> = (0..JOBS).map(job).collect();
    runtime.block_on(async {
        for some in jobs.chunks(BATCH) {
            bare.insert(some).await?;
            queue.write(some.iter().map(insert).collect()).await?;
        }
        anyhow::Ok(())
    })?;
    for claimers in [1, 8] {
        let (mut used, mut claims, next) = (0.0, 0.0, Cell::new(0));
        let pair = Pair::turns(|ours| {
            let before = cpu(bus.pid())?;
            let begun = Instant::now();
            let step = async || {
                let number = next.replace(next.get() + 1) % JOBS;
                if ours { claim(queue, &jobs[number]).await } else { bare.claim::<Job>(&jobs[number].id).await }
            };
            let rate = runtime.block_on(rate(claimers, step))?;
            if ours {
                used += cpu(bus.pid())? - before;
                claims += rate * begun.elapsed().as_secs_f64();
            }
            Ok(vec![rate])
        })?;
        let (by_bus, by_bare) = pair.quantiles(0.5);
        let what = format!("claims per second, 3 members, {claimers} at a time, to the bare program");
        report.at_least(what, by_bus / by_bare, "x", 0.8);
        pair.tell(report, 0.5, "/s");
        report.told("  CPU of the bus for a claim", used / claims * 1e6, "us");
    }
    Ok(())
}

async fn claim(queue: &Bus, job: &Job) -> Result<()> {
    match queue.claim::<Job>(&job.id, None, "bench", LEASE.as_millis() as u64).await? {
        Kept::Held(_) => Ok(()),
        Kept::Lost => bail!("the lease of {} is not free", job.id),
    }
}

/// So many at a time do one step after the other: steps per second.
pub async fn rate(workers: usize, step: impl AsyncFn() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    let each = (0..workers).map(async |_| {
        let mut done = 0_u32;
        while begun.elapsed() < COUNTED {
            step().await?;
            done += 1;
        }
        anyhow::Ok(done)
    });
    let done: u32 = try_join_all(each).await?.into_iter().sum();
    Ok(f64::from(done) / begun.elapsed().as_secs_f64())
}
