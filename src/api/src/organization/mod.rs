//! Organisations.

mod removal;

use culvert_contract::body::{OrganizationChange, OrganizationNew};
use culvert_model::Id;
use culvert_model::record::{Certificate, Organization, OrganizationSecret};
use culvert_pool::Stock;
use culvert_records::{Failure, Query, Refusal, insert};
use culvert_revocation::first_listing;

pub use removal::remove;

use crate::answer::Answer;
use crate::api::Api;
use crate::take::take;
use crate::{filter, random, recall};

/// All organisations by name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<Vec<Organization>> {
    let all = api.bus.list::<Organization>(Query::by("by_name")).await?;
    Ok(all.into_iter().map(|stored| stored.record).collect())
}

/// How many users an organisation has.
///
/// # Errors
///
/// The store can't be reached.
pub async fn users(api: &Api, organization: Id) -> Answer<u64> {
    Ok(api.recall.users(&api.bus, organization).await?)
}

/// Makes an organisation of a CA out of the pool, whose id becomes its own.
///
/// # Errors
///
/// No CA was made in time, or the store can't be reached. Nothing was changed.
pub async fn create(api: &Api, new: &OrganizationNew) -> Answer<Organization> {
    let now = api.now().await?;
    let organization = |ca: &Certificate| Organization {
        id: ca.subject,
        name: filter::name(&new.name),
        auth_api: new.auth_api,
        ca: Some(ca.der.clone()),
        ca_expires: Some(ca.expires),
    };
    let with = |ca: &Certificate| {
        let secret = new.auth_api.then(|| insert(&fresh(ca.subject)));
        // Nobody is on the first list; who asks for one gets it.
        [insert(&organization(ca)), first_listing(ca.subject, now)].into_iter().chain(secret).collect()
    };
    let ca = take(api, Stock::Authority, with).await?;
    let organization = organization(&ca);
    api.note(format!("Organization {} was created.", organization.name)).await;
    Ok(organization)
}

/// Changes an organisation.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn update(api: &Api, id: Id, change: &OrganizationChange) -> Answer<Organization> {
    let (organization, ()) = api
        .change::<Organization, ()>(id, "organization", |organization| {
            organization.name = filter::name(&change.name);
            organization.auth_api = change.auth_api;
            Ok(())
        })
        .await?;
    if change.auth_api {
        renew(api, id, change).await?;
    } else {
        api.bus.delete::<OrganizationSecret>(id).await?;
    }
    api.note(format!("Organization {} was changed.", organization.name)).await;
    Ok(organization)
}

/// The organisation's credentials, if it has any.
///
/// # Errors
///
/// The store can't be reached.
pub async fn secret(api: &Api, organization: &Organization) -> Answer<Option<OrganizationSecret>> {
    if !organization.auth_api {
        return Ok(None);
    }
    Ok(recall::secret(&api.bus, organization.id).await?)
}

/// Makes what is missing or is to be another.
async fn renew(api: &Api, id: Id, change: &OrganizationChange) -> Answer<()> {
    match api.bus.insert(&fresh(id)).await {
        Ok(()) => return Ok(()),
        Err(Failure::Refused { why: Refusal::Exists, .. }) => {}
        Err(failure) => return Err(failure.into()),
    }
    if !change.auth_token && !change.auth_secret {
        return Ok(());
    }
    let edit = |secret: &mut OrganizationSecret| {
        let new = fresh(id);
        if change.auth_token {
            secret.auth_token = new.auth_token;
        }
        if change.auth_secret {
            secret.auth_secret = new.auth_secret;
        }
        Ok(())
    };
    api.change::<OrganizationSecret, ()>(id, "organization", edit).await.map(drop)
}

fn fresh(id: Id) -> OrganizationSecret {
    OrganizationSecret { id, auth_token: random::word(32), auth_secret: random::word(32) }
}
