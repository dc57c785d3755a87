//! Links to a user's profiles that work without logging in. Each user has one; a new one replaces it.

use culvert_contract::reply::KeyLink;
use culvert_model::record::{ProfileLink, User};
use culvert_model::{Id, Millis};
use culvert_records::{Failure, Guard, Query, Refusal, delete, insert};
use http::StatusCode;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::{random, user};

/// How long a link lasts.
const AGE: Millis = 24 * 3600 * 1000;

/// Makes a link to a user's profiles.
///
/// # Errors
///
/// There is no such user, or the store can't be reached.
pub async fn create(api: &Api, organization: Id, id: Id) -> Answer<KeyLink> {
    let user = user::find(api, organization, id).await?.record;
    for _ in 0..5 {
        let expires = api.now().await? + AGE;
        let link =
            ProfileLink { id: random::word(32), short: random::readable(8), user: user.id, organization, expires };
        let old = api.bus.find::<ProfileLink>(Query::by("by_user").equal(id).limit(1)).await?.items;
        let mut writes: Vec<_> =
            old.iter().map(|old| delete::<ProfileLink>(&old.record.id, Guard::default())).collect();
        writes.push(insert(&link));
        match api.bus.write(writes).await {
            Ok(_) => {
                api.note(format!("A profile link of user {} was made.", user.name)).await;
                return Ok(show(&link));
            }
            // Another made one at the same time, or the short code is somebody's.
            Err(Failure::Refused { why: Refusal::Taken { .. } | Refusal::Missing | Refusal::Exists, .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(No::raced())
}

fn show(link: &ProfileLink) -> KeyLink {
    KeyLink {
        id: link.id.clone(),
        key_url: format!("/key/{}.tar", link.id),
        key_zip_url: format!("/key/{}.zip", link.id),
        key_onc_url: format!("/key/{}.onc", link.id),
        view_url: format!("/k/{}", link.short),
        uri_url: format!("/ku/{}", link.short),
    }
}

/// The link with this long code, and its user.
///
/// # Errors
///
/// There is none, files are not to be had by link, the user is disabled, or the store can't be reached.
pub async fn by_code(api: &Api, code: &str) -> Answer<(ProfileLink, User)> {
    if user::settings(api).await?.restrict_import {
        return Err(No::missing("link"));
    }
    let found = api.bus.get::<ProfileLink>(code).await?;
    open(api, found.map(|found| found.record)).await
}

/// The link with this short code, and its user.
///
/// # Errors
///
/// There is none, the user is disabled, or the store can't be reached.
pub async fn by_short(api: &Api, code: &str) -> Answer<(ProfileLink, User)> {
    let found = api.bus.find::<ProfileLink>(Query::by("by_short").equal(code).limit(1)).await?;
    open(api, found.items.into_iter().next().map(|found| found.record)).await
}

async fn open(api: &Api, link: Option<ProfileLink>) -> Answer<(ProfileLink, User)> {
    let now = api.now().await?;
    let link = link.filter(|link| link.expires > now).ok_or(No::missing("link"))?;
    let user = user::find(api, link.organization, link.user).await?.record;
    if user.disabled {
        return Err(No::new(StatusCode::FORBIDDEN, "user_disabled", "This user is disabled."));
    }
    Ok((link, user))
}

/// Removes the link with this short code. That there is none is no error.
///
/// # Errors
///
/// The store can't be reached.
pub async fn remove(api: &Api, code: &str) -> Answer<()> {
    for found in api.bus.find::<ProfileLink>(Query::by("by_short").equal(code).limit(1)).await?.items {
        api.bus.delete::<ProfileLink>(&found.record.id).await?;
    }
    Ok(())
}
