//! Organisations.

mod removal;

use std::time::Duration;

use culvert_contract::body::{OrganizationChange, OrganizationNew};
use culvert_model::record::{Job, JobState, Organization, OrganizationSecret};
use culvert_model::{Id, Kind};
use culvert_records::{Failure, Query, Refusal, insert};

pub use removal::remove;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::{certificate, filter, random, recall};

/// How long the making of a CA is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// Makes an organisation and waits for its CA.
///
/// # Errors
///
/// The CA was not made in time, or the store can't be reached.
pub async fn create(api: &Api, new: &OrganizationNew) -> Answer<Organization> {
    let id = Id::new();
    let organization =
        Organization { id, name: filter::name(&new.name), auth_api: new.auth_api, ca: None, ca_expires: None };
    let mut watch = api.watch(&[Kind::Organization, Kind::Job], PATIENCE);
    let now = api.now().await?;
    let mut writes = vec![insert(&organization), certificate::ca_job(id, now)];
    writes.extend(new.auth_api.then(|| insert(&fresh(id))));
    api.bus.write(writes).await?;
    loop {
        let organization = api.have::<Organization>(id, "organization").await?.record;
        if organization.ca.is_some() {
            api.note(format!("Organization {} was created.", organization.name)).await;
            return Ok(organization);
        }
        let job = api.bus.get::<Job>(format!("ca/{id}")).await?;
        if let Some(dead) = job.filter(|job| job.record.state == JobState::Dead) {
            let why = dead.record.error.unwrap_or_default();
            let text =
                format!("The organization was created, but its CA could not be made: {why}. Delete it and try again.");
            return Err(No::new(http::StatusCode::INTERNAL_SERVER_ERROR, "ca_failed", text));
        }
        if !watch.next().await {
            let text = "The organization was created; its CA is still being made. Is a queue process running?";
            return Err(No::late(text));
        }
    }
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
