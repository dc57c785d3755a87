//! Enqueueing what is missing.

use std::collections::BTreeSet;

use culvert_jobs::{Enqueued, enqueue};
use culvert_model::record::{Job, Organization, Priority, Settings, Tls, Work};
use culvert_model::{Id, Millis};
use culvert_records::{Bus, Failure, Query};

use crate::plan::{Order, orders};
use crate::stock::{Owner, Stock};
use crate::survey::survey;

/// Everything that is missing anywhere: in all pools, CAs of organisations that have none, the console's certificate.
///
/// # Errors
///
/// The store can't be reached.
pub async fn refill_all(bus: &Bus) -> Result<Enqueued, Failure> {
    let mut jobs = Vec::new();
    // One that is damaged is there.
    if bus.count::<Tls>(Query::all().equal(Tls::ID)).await? == 0 {
        jobs.push(urgent("console-certificate".into(), Work::ConsoleCertificate));
    }
    let organizations = bus.list::<Organization>(Query::all()).await?;
    let organizations = organizations.into_iter().map(|stored| stored.record).collect();
    fill(bus, true, organizations, jobs).await
}

/// What is missing of these owners. Nothing of organisations that are gone.
///
/// # Errors
///
/// The store can't be reached.
pub async fn refill(bus: &Bus, owners: &BTreeSet<Owner>) -> Result<Enqueued, Failure> {
    let mut organizations = Vec::new();
    for owner in owners {
        if let Owner::Organization(id) = owner {
            organizations.extend(bus.get_whole::<Organization>(*id).await?.map(|stored| stored.record));
        }
    }
    fill(bus, owners.contains(&Owner::Cluster), organizations, Vec::new()).await
}

async fn fill(
    bus: &Bus,
    cluster: bool,
    organizations: Vec<Organization>,
    mut jobs: Vec<Job>,
) -> Result<Enqueued, Failure> {
    let settings = bus.get::<Settings>(Settings::ID).await?.map_or_else(Settings::default, |stored| stored.record);
    let mut stocks = Vec::new();
    if cluster {
        stocks.extend(Stock::of(Owner::Cluster, &settings));
    }
    for organization in organizations {
        match organization.ca {
            Some(_) => stocks.extend(Stock::of(Owner::Organization(organization.id), &settings)),
            None => jobs.push(ca(organization.id)),
        }
    }
    let pools = survey(bus, &settings, &stocks).await?;
    let (_, now) = bus.here().await?;
    jobs.iter_mut().for_each(|job| job.created = now);
    // The queue does them by the time of their making: a millisecond apart, they stay in the order of need.
    jobs.extend(orders(&pools).iter().zip(now..).map(|(order, created): (&Order, Millis)| order.job(created)));
    enqueue(bus, jobs).await
}

/// Without its CA, nothing of an organisation can be made.
fn ca(organization: Id) -> Job {
    urgent(format!("ca/{organization}"), Work::Ca { organization })
}

fn urgent(id: String, work: Work) -> Job {
    Job::new(id, work, Priority::High, 0)
}
