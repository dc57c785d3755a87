//! Pools: how full they are.

use std::collections::BTreeMap;

use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::Settings;
use culvert_pool::{Owner, Pool, Stock, survey};

use crate::answer::Answer;
use crate::api::Api;
use crate::organization;
use crate::user::settings;

/// All pools: the cluster's, then those of each organisation by name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<Vec<reply::Pool>> {
    let (pools, names) = all(api, &settings(api).await?).await?;
    Ok(pools.into_iter().map(|pool| show(pool, &names)).collect())
}

/// The same, with the names of organisations.
///
/// # Errors
///
/// The store can't be reached.
pub async fn all(api: &Api, settings: &Settings) -> Answer<(Vec<Pool>, BTreeMap<Id, String>)> {
    let mut stocks = Stock::of(Owner::Cluster, settings);
    let mut names = BTreeMap::new();
    for organization in organization::list(api).await?.into_iter().filter(|organization| organization.ca.is_some()) {
        stocks.extend(Stock::of(Owner::Organization(organization.id), settings));
        names.insert(organization.id, organization.name);
    }
    Ok((survey(&api.bus, settings, &stocks).await?, names))
}

fn show(pool: Pool, names: &BTreeMap<Id, String>) -> reply::Pool {
    let (organization, bits) = match pool.stock {
        Stock::Client(organization) | Stock::Server(organization) => (Some(organization), None),
        Stock::DhParams(bits) => (None, Some(bits)),
        Stock::Authority => (None, None),
    };
    reply::Pool {
        pool: pool.stock.name(),
        organization,
        organization_name: organization.and_then(|organization| names.get(&organization).cloned()),
        bits,
        level: pool.level,
        ready: pool.ready,
        coming: pool.coming,
        dead: pool.dead,
    }
}
