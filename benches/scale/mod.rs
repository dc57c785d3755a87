//! What a cluster costs as it grows: real buses, each with its heartbeat, its tail and a subscriber, on one replica set of
//! three members.
//!
//! Messages are published at the same rate whatever the number of hosts: what grows is what the hosts cost. How a rate that
//! grows with them comes out is a product, and stands in `docs/scale.md`.

mod cluster;
mod storage;

use std::time::Duration;

use anyhow::Result;
use culvert_tests::mongod::ReplicaSet;
use tokio::runtime::Builder;

use self::cluster::{Cluster, Step};
use crate::report::Report;

/// How many buses.
const SIZES: [usize; 4] = [1, 10, 50, 200];

/// Messages per second: as many as a cluster of some thousands of users makes in its rush hour.
const RATE: u32 = 20;

/// How long nothing is published, and then how long something is.
const QUIET: Duration = Duration::from_secs(10);
const BUSY: Duration = Duration::from_secs(15);

pub fn measure() -> Result<Report> {
    let mut report = Report::default();
    let set = ReplicaSet::start(3)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut cluster = Cluster::new(&set, runtime);
    let mut steps = Vec::new();
    for size in SIZES {
        cluster.grow(size)?;
        let step = cluster.measure(QUIET, BUSY, RATE)?;
        tell(&mut report, size, &step);
        steps.push(step);
    }
    if let [first, .., last] = steps.as_slice() {
        differences(&mut report, first, last);
    }
    drop(cluster);
    storage::measure(&mut report, &set)?;
    Ok(report)
}

fn tell(report: &mut Report, size: usize, step: &Step) {
    let mut line = |what: &str, figure: f64, unit| report.told(format!("{size} buses: {what}"), figure, unit);
    line("published", step.rate, "/s");
    line("publish to handler, p50", step.p50, "ms");
    line("publish to handler, p99", step.p99, "ms");
    line("CPU of the primary, nothing published", step.quiet.primary * 100.0, "%");
    line("CPU of the primary, publishing", step.busy.primary * 100.0, "%");
    line("CPU of a secondary, nothing published", step.quiet.secondary * 100.0, "%");
    line("CPU of a secondary, publishing", step.busy.secondary * 100.0, "%");
    line("memory of the primary (PSS)", step.database, "MiB");
    line("connections to the primary", step.connections, "");
    line("connections to a secondary", step.connections_of_secondary, "");
    line("CPU of a bus, nothing published", step.quiet.bus * 100.0, "%");
    line("CPU of a bus, publishing", step.busy.bus * 100.0, "%");
    line("memory of a bus (private)", step.bus, "MiB");
}

/// What one more bus and one more delivery cost.
fn differences(report: &mut Report, first: &Step, last: &Step) {
    let buses = (last.buses - first.buses) as f64;
    let per_bus = |more: f64| more / buses;
    let deliveries = last.buses as f64 * last.rate - first.buses as f64 * first.rate;
    let (idle, idle_secondary) =
        (last.quiet.primary - first.quiet.primary, last.quiet.secondary - first.quiet.secondary);
    let busy = (last.busy.primary - last.quiet.primary) - (first.busy.primary - first.quiet.primary);
    let of_bus = last.busy.bus - last.quiet.bus;
    report.told("one more bus: CPU of the primary", per_bus(idle) * 1e3, "ms/s");
    report.told("one more bus: CPU of a secondary", per_bus(idle_secondary) * 1e3, "ms/s");
    report.told("one more bus: connections to the primary", per_bus(last.connections - first.connections), "");
    report.told("one more bus: memory of the primary", per_bus(last.database - first.database), "MiB");
    report.told("one more delivery: CPU of the primary", busy / deliveries * 1e6, "us");
    report.told("one more delivery: CPU of the bus", of_bus / last.rate * 1e6, "us");
}
