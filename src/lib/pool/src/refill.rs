//! Reading what is there and enqueueing what is missing.

use culvert_model::record::{Certificate, Job, JobState, Organization, Priority, Purpose, Settings, Tls, Work};
use culvert_model::{Id, Millis};
use culvert_records::{Bus, Failure, Key, Query, Refusal, Stored, insert};

use crate::plan::{Order, Pool, level, orders};

/// How many jobs are enqueued in one batch.
const BATCH: usize = 50;

/// What a refill did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refilled {
    /// Jobs that were enqueued.
    pub enqueued: usize,
    /// Jobs that were missing, but somebody else had enqueued them by then.
    pub there: usize,
}

/// Everything that is missing anywhere: certificates in pools, CAs of organisations, the console's certificate.
///
/// # Errors
///
/// The store can't be reached.
pub async fn refill_all(bus: &Bus) -> Result<Refilled, Failure> {
    let organizations = bus.list::<Organization>(Query::all()).await?;
    let console = bus.get::<Tls>(Tls::ID).await?.is_none();
    fill(bus, organizations, console).await
}

/// What is missing of one organisation. Nothing, if it is gone.
///
/// # Errors
///
/// The store can't be reached.
pub async fn refill(bus: &Bus, organization: Id) -> Result<Refilled, Failure> {
    let organizations = bus.get::<Organization>(organization).await?.into_iter().collect();
    fill(bus, organizations, false).await
}

async fn fill(bus: &Bus, organizations: Vec<Stored<Organization>>, console: bool) -> Result<Refilled, Failure> {
    let settings = bus.get::<Settings>(Settings::ID).await?.map_or_else(Settings::default, |stored| stored.record);
    let (_, now) = bus.here().await?;
    let mut jobs = Vec::new();
    if console {
        jobs.push(Job::new("console-certificate".into(), Work::ConsoleCertificate, Priority::High, now));
    }
    let mut pools = Vec::new();
    for Stored { record: organization, .. } in organizations {
        let organization_id = organization.id;
        if organization.ca.is_none() {
            let work = Work::Ca { organization: organization_id };
            jobs.push(Job::new(format!("ca/{organization_id}"), work, Priority::High, now));
        } else {
            pools.extend(look(bus, organization_id, &settings).await?);
        }
    }
    // The queue does them by the time of their making: a millisecond apart, they stay in the order of need.
    jobs.extend(orders(&pools).iter().zip(now..).map(|(order, created): (_, Millis)| order.job(created)));
    enqueue(bus, &jobs).await
}

/// The pools of one organisation. The jobs are read first: what is done between the two readings counts twice, and the
/// change that announces it makes us look again. The other way round it would count nowhere and be made once more.
async fn look(bus: &Bus, organization: Id, settings: &Settings) -> Result<Vec<Pool>, Failure> {
    let begin = Key::Text(format!("certificate/{organization}/"));
    let end = Key::Text(format!("certificate/{organization}0"));
    let jobs = bus.list::<Job>(Query::all().from(begin).to(end)).await?;
    let mut pools = Vec::new();
    for (purpose, word) in [(Purpose::Client, "client"), (Purpose::Server, "server")] {
        let query = Query::by("by_pool").equal(organization).equal(word).equal("ready");
        let ready = bus.count::<Certificate>(query).await?;
        let work = Work::Certificate { organization, purpose };
        let mine = || jobs.iter().map(|job| &job.record).filter(|job| job.work == work);
        let coming = mine().filter(|job| job.state == JobState::Open && job.reserved.is_none()).count() as u64;
        let occupied = mine().filter_map(|job| Order::slot(&job.id, organization, purpose)).collect();
        pools.push(Pool { organization, purpose, level: level(settings, purpose), ready, coming, occupied });
    }
    Ok(pools)
}

async fn enqueue(bus: &Bus, jobs: &[Job]) -> Result<Refilled, Failure> {
    let mut done = Refilled::default();
    for batch in jobs.chunks(BATCH) {
        match bus.write(batch.iter().map(insert).collect()).await {
            Ok(_) => done.enqueued += batch.len(),
            Err(Failure::Refused { why: Refusal::Exists, .. }) => one_by_one(bus, batch, &mut done).await?,
            Err(failure) => return Err(failure),
        }
    }
    Ok(done)
}

/// Another host was quicker with one of them at least.
async fn one_by_one(bus: &Bus, jobs: &[Job], done: &mut Refilled) -> Result<(), Failure> {
    for job in jobs {
        match bus.insert(job).await {
            Ok(()) => done.enqueued += 1,
            Err(Failure::Refused { why: Refusal::Exists, .. }) => done.there += 1,
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
