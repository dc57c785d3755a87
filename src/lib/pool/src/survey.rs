//! Reading how full pools are.

use std::collections::BTreeMap;

use culvert_model::record::{Certificate, DhParams, Job, Settings};
use culvert_records::{Bus, Failure, Query};

use crate::plan::Pool;
use crate::stock::Stock;

/// Of more pools than this, all jobs are read in one go.
const FEW: usize = 8;

/// How full the pools of these stocks are.
///
/// The jobs are read first: what is done between the two readings counts twice, and the change that announces it makes
/// `pools` look again. The other way round it would count nowhere and be made once more.
///
/// # Errors
///
/// The store can't be reached.
pub async fn survey(bus: &Bus, settings: &Settings, stocks: &[Stock]) -> Result<Vec<Pool>, Failure> {
    let jobs = jobs(bus, stocks).await?;
    let mut pools = Vec::with_capacity(stocks.len());
    for stock in stocks {
        let mine = jobs.get(stock).map_or(&[][..], Vec::as_slice);
        pools.push(Pool::of(*stock, stock.level(settings), ready(bus, *stock).await?, mine));
    }
    Ok(pools)
}

/// Whether this job is for a slot of a pool that is full by now.
///
/// A slot's job is made once at a time. A host that looked before it was done, and enqueues after, enqueues it again: that
/// one is not to be done. Nor is it after the level was lowered.
///
/// # Errors
///
/// The store can't be reached.
pub async fn surplus(bus: &Bus, job: &Job) -> Result<bool, Failure> {
    let Some(stock) = Stock::made_by(&job.work).filter(|stock| stock.slot(&job.id).is_some()) else {
        return Ok(false);
    };
    let settings = bus.get::<Settings>(Settings::ID).await?.map_or_else(Settings::default, |stored| stored.record);
    Ok(job.reserved.is_none() && ready(bus, stock).await? >= u64::from(stock.level(&settings)))
}

async fn ready(bus: &Bus, stock: Stock) -> Result<u64, Failure> {
    match stock {
        Stock::DhParams(_) => bus.count::<DhParams>(stock.ready()).await,
        _ => bus.count::<Certificate>(stock.ready()).await,
    }
}

/// The jobs that fill these pools.
async fn jobs(bus: &Bus, stocks: &[Stock]) -> Result<BTreeMap<Stock, Vec<Job>>, Failure> {
    let prefixes = match stocks.len() {
        0..=FEW => stocks.iter().map(|stock| stock.prefix()).collect(),
        _ => Stock::FAMILIES.map(str::to_owned).to_vec(),
    };
    let mut jobs: BTreeMap<Stock, Vec<Job>> = BTreeMap::new();
    for prefix in prefixes {
        for found in bus.list::<Job>(Query::under(&prefix)).await? {
            if let Some(stock) = Stock::made_by(&found.record.work) {
                jobs.entry(stock).or_default().push(found.record);
            }
        }
    }
    Ok(jobs)
}
