//! How soon a job begins on a host that has nothing else to do, over MongoDB: from the write that enqueues it to the news that
//! its attempt is counted, which is the last thing before the work.

use std::time::Instant;

use anyhow::{Context, Result};
use culvert_model::record::{Job, Priority, Work};
use culvert_model::{Id, Kind, Record, Role};
use culvert_records::News;
use culvert_tests::estate::Estate;
use tokio::runtime::Builder;

use crate::daemon::{connect, run_folder};
use crate::figures::{millis, quantile};
use crate::report::Report;

/// Jobs, one after the other.
const JOBS: usize = 200;

pub fn measure(report: &mut Report) -> Result<()> {
    let estate = Estate::new()?;
    let appliance = estate.start(1)?;
    // The bus's own arguments are wiped: there is a URI among them.
    let queue = appliance.process("queue").context("the queue runs")?;
    let socket = run_folder(queue)?.join("bus.sock");
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut samples = runtime.block_on(async {
        let api = connect(socket, Role::Api).await?;
        let mut news = api.subscribe(&[Kind::Job]).await;
        let mut samples = Vec::with_capacity(JOBS);
        for _ in 0..JOBS {
            // Of an organisation that is not there: there is nothing to do but to find that out.
            let organization = Id::new();
            let job = Job::new(format!("crl/{organization}"), Work::Crl { organization }, Priority::High, 0);
            let begun = Instant::now();
            culvert_jobs::enqueue(&api, vec![job.clone()]).await?;
            loop {
                match news.next().await {
                    News::Changed(change) if change.record == job.id() && change.revision != 1 => break,
                    _ => {}
                }
            }
            samples.push(millis(begun.elapsed()));
        }
        anyhow::Ok(samples)
    })?;
    report.at_most(
        "from enqueueing to the beginning, idle host, MongoDB, p50",
        quantile(&mut samples, 0.5),
        "ms",
        20.0,
    );
    report.told("from enqueueing to the beginning, p99", quantile(&mut samples, 0.99), "ms");
    Ok(())
}
