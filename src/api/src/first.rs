//! What there must be from the start: an administrator and the settings. Whatever host is first makes them.

use std::time::Duration;

use culvert_model::Id;
use culvert_model::record::{Admin, AdminSecret, Settings};
use culvert_records::{Failure, Query, Refusal, insert, update};
use tokio::time::sleep;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::password::Cost;
use crate::{random, session};

/// The name of the first administrator.
const USERNAME: &str = "admin";

/// Characters of a generated password.
const PASSWORD: usize = 12;

/// A generated password, for the one who set the appliance up.
#[derive(serde::Serialize)]
pub struct Credentials {
    /// The administrator's name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Keeps it so: at the start, and whenever the store may have become another one.
pub async fn keep(api: Api) {
    let mut gaps = api.feed.gaps();
    loop {
        let mut pause = Duration::from_millis(50);
        while let Err(failure) = ensure(&api).await {
            tracing::debug!(?failure, "no administrator can be made yet");
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        api.first.send_replace(true);
        if gaps.changed().await.is_err() {
            return;
        }
    }
}

async fn ensure(api: &Api) -> Answer<()> {
    if api.bus.get::<Settings>(Settings::ID).await?.is_none() {
        unless_there(api.bus.insert(&Settings::default()).await)?;
    }
    if api.bus.find::<Admin>(Query::by("by_username").limit(1)).await?.items.is_empty() {
        make(api).await?;
    }
    Ok(())
}

/// Makes the first administrator. Of several hosts that do so at the same time, the unique index lets one.
async fn make(api: &Api) -> Answer<()> {
    let id = Id::new();
    let password = random::word(PASSWORD);
    let hash = api.hasher.hash(&password, Cost::Password).await?;
    let admin = Admin {
        id,
        username: USERNAME.into(),
        super_user: true,
        disabled: false,
        auth_api: false,
        token: random::word(32),
        default: true,
    };
    let secret = AdminSecret { id, password: hash, default_password: Some(password), api_secret: random::word(32) };
    unless_there(api.bus.write(vec![insert(&admin), insert(&secret)]).await.map(drop))
}

fn unless_there(done: Result<(), Failure>) -> Answer<()> {
    match done {
        Err(Failure::Refused { why: Refusal::Exists | Refusal::Taken { .. }, .. }) => Ok(()),
        done => Ok(done?),
    }
}

/// The generated password, while it is in use.
///
/// # Errors
///
/// It was changed, or the store can't be reached.
pub async fn password(api: &Api) -> Answer<Credentials> {
    for admin in oldest(api).await? {
        let secret = api.bus.get::<AdminSecret>(admin.id).await?;
        if let Some(password) = secret.and_then(|secret| secret.record.default_password) {
            return Ok(Credentials { username: admin.username, password });
        }
    }
    let text = "The generated password is no longer in use. `culvert reset-password` makes a new one.";
    Err(No::new(http::StatusCode::NOT_FOUND, "default_password_changed", text))
}

/// Gives the first super user a new generated password, lets that one in again, and ends all of that one's logins.
///
/// # Errors
///
/// The store can't be reached.
pub async fn reset(api: &Api) -> Answer<Credentials> {
    let admins = oldest(api).await?;
    let first = admins.iter().find(|admin| admin.super_user).or(admins.first()).ok_or(No::missing("administrator"))?;
    let password = random::word(PASSWORD);
    let hash = api.hasher.hash(&password, Cost::Password).await?;
    for _ in 0..5 {
        let mut admin = api.have::<Admin>(first.id, "administrator").await?;
        let mut secret = api.have::<AdminSecret>(first.id, "administrator").await?;
        admin.record.default = true;
        admin.record.disabled = false;
        admin.record.super_user = true;
        secret.record.password.clone_from(&hash);
        secret.record.default_password = Some(password.clone());
        let writes = vec![update(&admin.record, admin.unchanged()), update(&secret.record, secret.unchanged())];
        match api.bus.write(writes).await {
            Ok(_) => {
                session::end_all(api, first.id, None).await?;
                // Whoever locked this one out by guessing does not do so with the new password.
                api.logins.forgive(&first.id.to_string());
                api.note(format!("The password of {} was reset on the command line.", admin.record.username)).await;
                return Ok(Credentials { username: admin.record.username, password });
            }
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(No::raced())
}

/// Administrators by age: ids begin with the time of their making.
async fn oldest(api: &Api) -> Answer<Vec<Admin>> {
    let page = api.bus.find::<Admin>(Query::all().limit(100)).await?;
    Ok(page.items.into_iter().map(|admin| admin.record).collect())
}
