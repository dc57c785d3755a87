//! Administrators.

use culvert_contract::body::AdminChange;
use culvert_contract::reply;
use culvert_model::record::{Admin, AdminSecret};
use culvert_model::{Id, Kind};
use culvert_records::{Failure, Query, Refusal, Write, update as replace};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::Caller;
use crate::password::Cost;
use crate::{filter, random, recall, session};

/// The fewest characters of a password.
const PASSWORD: usize = 8;

/// Administrators that are read at most.
const MOST: u16 = 1000;

/// What is to become of an administrator's own record.
#[derive(Debug, Default)]
pub struct Wish<'a> {
    /// Another name.
    pub username: Option<String>,
    /// Another password.
    pub password: Option<&'a str>,
    /// What super users may change besides.
    pub rights: Option<&'a AdminChange>,
}

/// The administrator as it is shown.
pub fn show(admin: Admin, secret: String) -> reply::Admin {
    reply::Admin {
        id: admin.id,
        username: admin.username,
        yubikey_id: None,
        otp_auth: false,
        otp_secret: None,
        local_otp_auth: false,
        auth_api: admin.auth_api,
        token: admin.token,
        secret,
        default: admin.default,
        disabled: admin.disabled,
        super_user: admin.super_user,
    }
}

/// The administrator as it is shown.
///
/// # Errors
///
/// There is none, or the store can't be reached.
pub async fn read(api: &Api, id: Id) -> Answer<reply::Admin> {
    let admin = api.have::<Admin>(id, "administrator").await?.record;
    let secret = recall::secret::<AdminSecret>(&api.bus, id).await?;
    Ok(show(admin, secret.map(|secret| secret.api_secret).unwrap_or_default()))
}

/// All administrators by name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn list(api: &Api) -> Answer<Vec<reply::AdminListItem>> {
    let mut shown = Vec::new();
    for admin in api.bus.find::<Admin>(Query::by("by_username").limit(MOST)).await?.items {
        let secret = recall::secret::<AdminSecret>(&api.bus, admin.record.id).await?;
        let secret = secret.map(|secret| secret.api_secret).unwrap_or_default();
        shown.push(reply::AdminListItem { admin: show(admin.record, secret), audit: false });
    }
    Ok(shown)
}

/// Changes an administrator, as a super user may.
///
/// # Errors
///
/// It may not be so, there is none, or the store can't be reached.
pub async fn update(api: &Api, caller: &Caller, id: Id, wanted: &AdminChange) -> Answer<reply::Admin> {
    let refused = [
        ("yubikey_id", !wanted.yubikey_id.is_empty(), "YubiKeys are not asked for yet."),
        ("otp_auth", wanted.otp_auth, "One-time codes are not asked for yet."),
        ("otp_secret", wanted.otp_secret, "One-time codes are not asked for yet."),
    ];
    if let Some((field, _, why)) = refused.into_iter().find(|(_, asked, _)| *asked) {
        return Err(No::unsupported(field, why));
    }
    let username = name(&wanted.username)?;
    let username =
        username.ok_or_else(|| No::field("username", "name_missing", "An administrator must have a name."))?;
    let password = Some(wanted.password.reveal()).filter(|password| !password.is_empty());
    change(api, caller, id, Wish { username: Some(username), password, rights: Some(wanted) }).await?;
    read(api, id).await
}

/// A name in the form in which names are kept; nothing if it is empty.
///
/// # Errors
///
/// It is too long.
pub fn name(text: &str) -> Answer<Option<String>> {
    let name = filter::name(text).to_lowercase();
    if name.chars().count() > 128 {
        return Err(No::field("username", "name_too_long", "A name has at most 128 characters."));
    }
    Ok((!name.is_empty()).then_some(name))
}

/// Changes an administrator. A new password ends the generated one, and all logins but the caller's.
///
/// # Errors
///
/// It may not be so, there is none, or the store can't be reached.
pub async fn change(api: &Api, caller: &Caller, id: Id, wish: Wish<'_>) -> Answer<()> {
    let hash = match wish.password {
        Some(password) if password.chars().count() < PASSWORD => {
            let text = "A password has at least eight characters.";
            return Err(No::field("password", "password_too_short", text));
        }
        Some(password) => {
            let password: String = password.chars().take(128).collect();
            Some(api.hasher.hash(&password, Cost::Password).await?)
        }
        None => None,
    };
    for _ in 0..5 {
        let mut admin = api.have::<Admin>(id, "administrator").await?;
        let mut secret = api.have::<AdminSecret>(id, "administrator").await?;
        let before = (admin.record.clone(), secret.record.clone());
        let mut writes = Vec::new();
        if let Some(username) = &wish.username {
            admin.record.username.clone_from(username);
        }
        if let Some(hash) = &hash {
            secret.record.password.clone_from(hash);
            secret.record.default_password = None;
            admin.record.default = false;
        }
        if let Some(rights) = wish.rights {
            grant(&mut admin.record, &mut secret.record, rights);
            writes.extend(keep_one_super_user(api, &before.0, &admin.record).await?);
        }
        if admin.record != before.0 {
            writes.push(replace(&admin.record, admin.unchanged()));
        }
        if secret.record != before.1 {
            writes.push(replace(&secret.record, secret.unchanged()));
        }
        if writes.is_empty() {
            return Ok(());
        }
        match api.bus.write(writes).await {
            Ok(_) => {
                if hash.is_some() || admin.record.disabled {
                    session::end_all(api, id, caller.session.as_deref()).await?;
                }
                let (who, name) = (&caller.admin.username, &admin.record.username);
                api.note(format!("Administrator {name} was changed by {who}.")).await;
                return Ok(());
            }
            Err(Failure::Refused { why: Refusal::Taken { .. }, .. }) => {
                let text = "Another administrator has this name.";
                return Err(No::field("username", "admin_username_exists", text));
            }
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(No::raced())
}

/// As the contract has it: switching the API off makes new credentials, and so does any text in `token` or `secret`.
fn grant(admin: &mut Admin, secret: &mut AdminSecret, rights: &AdminChange) {
    let switched_off = admin.auth_api && !rights.auth_api;
    if switched_off || !rights.token.is_empty() {
        admin.token = random::word(32);
    }
    if switched_off || !rights.secret.is_empty() {
        secret.api_secret = random::word(32);
    }
    admin.auth_api = rights.auth_api;
    admin.super_user = rights.super_user;
    admin.disabled = rights.disabled;
}

/// There must stay somebody who may manage administrators. Answers what must still hold at the write: two super users
/// who dismiss each other at the same time would each count on the other.
async fn keep_one_super_user(api: &Api, before: &Admin, after: &Admin) -> Answer<Option<Write>> {
    let can = |admin: &Admin| admin.super_user && !admin.disabled;
    if !can(before) || can(after) {
        return Ok(None);
    }
    let all = api.bus.find::<Admin>(Query::by("by_username").limit(MOST)).await?.items;
    if let Some(other) = all.iter().find(|other| other.record.id != before.id && can(&other.record)) {
        let id = other.record.id.to_string();
        return Ok(Some(Write::Check { kind: Kind::Admin, id, guard: other.unchanged() }));
    }
    Err(if after.disabled {
        No::bad("no_admins_enabled", "This is the last super user that is enabled.")
    } else {
        No::bad("no_super_users", "This is the last super user.")
    })
}
