//! Organisations.

mod removal;

use std::time::Duration;

use culvert_contract::body::{OrganizationChange, OrganizationNew};
use culvert_model::record::{Job, JobState, Organization, User};
use culvert_model::{Id, Kind};
use culvert_records::{Query, insert};

pub use removal::remove;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::{certificate, filter, random};

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
    Ok(api.bus.count::<User>(Query::by("by_organization").equal(organization)).await?)
}

/// Makes an organisation and waits for its CA.
///
/// # Errors
///
/// The CA was not made in time, or the store can't be reached.
pub async fn create(api: &Api, new: &OrganizationNew) -> Answer<Organization> {
    let id = Id::new();
    let organization = Organization {
        id,
        name: filter::name(&new.name),
        auth_api: new.auth_api,
        auth_token: new.auth_api.then(|| random::word(32)),
        auth_secret: new.auth_api.then(|| random::word(32)),
        ca: None,
        ca_expires: None,
    };
    let mut watch = api.watch(&[Kind::Organization, Kind::Job], PATIENCE);
    let now = api.now().await?;
    api.bus.write(vec![insert(&organization), certificate::ca_job(id, now)]).await?;
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
            renew(&mut organization.auth_token, change.auth_api, change.auth_token);
            renew(&mut organization.auth_secret, change.auth_api, change.auth_secret);
            Ok(())
        })
        .await?;
    api.note(format!("Organization {} was changed.", organization.name)).await;
    Ok(organization)
}

fn renew(word: &mut Option<String>, wanted: bool, anew: bool) {
    if !wanted {
        *word = None;
    } else if anew || word.is_none() {
        *word = Some(random::word(32));
    }
}
