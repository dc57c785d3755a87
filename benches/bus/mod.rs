//! What the bus costs: two real buses on a replica set of three members against a bare program that does the same with
//! the driver alone, and one bus with the embedded store against bare SQLite. In one run, in turns.
//!
//! The bare program has nothing of what the bus is for: no roles, no second attempt, no deadline, no way to tell a write
//! that was done from one that was not. It is what could be had at best.

mod bare;
mod claims;
mod durable;
mod messages;
mod plain;
mod reads;

use std::time::Duration;

use anyhow::Result;
use culvert_model::Role;
use culvert_tests::mongod::ReplicaSet;
use tokio::runtime::{Builder, Runtime};

use self::bare::Bare;
use crate::daemon::{Daemon, connect};
use crate::figures::quantile;
use crate::report::Report;

/// How often each of two has its turn.
const TURNS: usize = 10;

/// How long a turn lasts in which operations are counted.
const COUNTED: Duration = Duration::from_millis(1200);

pub fn measure() -> Result<Report> {
    let mut report = Report::default();
    of_cluster(&mut report)?;
    durable::measure(&mut report)?;
    Ok(report)
}

fn of_cluster(report: &mut Report) -> Result<()> {
    let set = ReplicaSet::start(3)?;
    let buses = [Daemon::of_cluster(&set.uri("culvert"))?, Daemon::of_cluster(&set.uri("culvert"))?];
    let runtime = runtime()?;
    let (api, queue) = runtime.block_on(async {
        let api = connect(buses[0].socket(), Role::Api).await?;
        anyhow::Ok((api, connect(buses[0].socket(), Role::Queue).await?))
    })?;
    // Of the same shape, beside the other: neither hears what the other does.
    let bare = runtime.block_on(Bare::prepare(&set.uri("bare")))?;
    messages::measure(report, &runtime, &set, &buses, &api, &bare)?;
    reads::measure(report, &runtime, &buses[0], &api, &bare)?;
    claims::measure(report, &runtime, &buses[0], &queue, &bare)
}

/// As every process of ours has one.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// What came of the turns of two.
#[derive(Default)]
struct Pair {
    ours: Vec<Vec<f64>>,
    bare: Vec<Vec<f64>>,
}

impl Pair {
    /// Takes turns, each beginning every other time: a first round warms both up and does not count.
    fn turns(mut turn: impl FnMut(bool) -> Result<Vec<f64>>) -> Result<Self> {
        let mut pair = Self::default();
        for round in 0..=TURNS {
            for ours in [round % 2 == 0, round % 2 != 0] {
                let samples = turn(ours)?;
                if round > 0 {
                    if ours { &mut pair.ours } else { &mut pair.bare }.push(samples);
                }
            }
        }
        Ok(pair)
    }

    /// A quantile over all turns: ours and the bare one's.
    fn quantiles(&self, part: f64) -> (f64, f64) {
        let of = |turns: &[Vec<f64>]| quantile(&mut turns.concat(), part);
        (of(&self.ours), of(&self.bare))
    }

    /// Ours for one of the bare one's, in the pair of turns where that was least, and where it was most.
    fn spread(&self, part: f64) -> (f64, f64) {
        let mut ratios: Vec<f64> = self
            .ours
            .iter()
            .zip(&self.bare)
            .map(|(ours, bare)| quantile(&mut ours.clone(), part) / quantile(&mut bare.clone(), part))
            .collect();
        (quantile(&mut ratios, 0.0), quantile(&mut ratios, 1.0))
    }

    fn tell(&self, report: &mut Report, part: f64, unit: &'static str) {
        let ((ours, bare), (least, most)) = (self.quantiles(part), self.spread(part));
        report.told("  the bus", ours, unit);
        report.told("  the bare program", bare, unit);
        report.told("  the least ratio of a pair of turns", least, "x");
        report.told("  the greatest", most, "x");
    }
}
