//! Console logins: a random token in a cookie, kept as its hash, good for twelve hours from the login.

use std::net::IpAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use culvert_contract::body::Login;
use culvert_model::record::{Admin, AdminSecret, Session};
use culvert_model::{Id, Kind};
use culvert_records::{Guard, Query, Stored, Write, delete, insert};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::password::Cost;
use crate::{filter, limiter, random};

/// Seconds from the login to its end.
pub const AGE: u64 = 43_200;

/// Logins of one administrator at the same time. A further one ends the oldest.
const LOGINS: usize = 16;

/// The longest name and password, in characters.
const LONGEST: usize = 128;

/// The name of the cookie.
const COOKIE: &str = "session";

/// A login that succeeded.
#[derive(Debug)]
pub struct Begun {
    /// The cookie to set.
    pub cookie: String,
    /// Whether the generated password is still in use.
    pub default: bool,
}

/// Logs an administrator in.
///
/// # Errors
///
/// Name or password is wrong, there were too many attempts, too many others log in, the password was changed meanwhile,
/// or the store can't be reached.
pub async fn login(api: &Api, login: &Login, client: Option<IpAddr>) -> Answer<Begun> {
    let now = Instant::now();
    // First of all, so that one address can't use up an administrator's attempts beyond its own.
    if client.is_some_and(|client| !api.addresses.attempt(&limiter::counted(client), now)) {
        return Err(too_many());
    }
    let username: String = filter::name(&login.username).chars().take(LONGEST).collect::<String>().to_lowercase();
    let admin = by_name(api, &username).await?;
    // Names that nobody has are counted apart: however many are tried, no administrator's count is forgotten for them.
    let few = match &admin {
        Some(admin) => api.logins.attempt(&admin.record.id.to_string(), now),
        None => api.strangers.attempt(&username, now),
    };
    if !few {
        return Err(too_many());
    }
    let secret = match &admin {
        Some(admin) => api.bus.get::<AdminSecret>(admin.record.id).await?,
        None => None,
    };
    let hash = secret.as_ref().map(|secret| secret.record.password.clone());
    let password: String = login.password.reveal().chars().take(LONGEST).collect();
    let good = api.hasher.verify(&password, hash, Cost::Password).await?;
    match (admin, secret) {
        (Some(admin), Some(secret)) if good && !admin.record.disabled => begin(api, &admin.record, &secret).await,
        _ => Err(No::new(StatusCode::UNAUTHORIZED, "auth_invalid", "The name or the password is wrong.")),
    }
}

fn too_many() -> No {
    let text = "Too many attempts to log in. Wait ten minutes.";
    No::new(StatusCode::TOO_MANY_REQUESTS, "auth_too_many", text)
}

/// The administrator of this name.
///
/// # Errors
///
/// The store can't be reached.
pub async fn by_name(api: &Api, username: &str) -> Answer<Option<Stored<Admin>>> {
    let found = api.bus.find::<Admin>(Query::by("by_username").equal(username).limit(1)).await?;
    Ok(found.items.into_iter().next())
}

async fn begin(api: &Api, admin: &Admin, secret: &Stored<AdminSecret>) -> Answer<Begun> {
    let token = URL_SAFE_NO_PAD.encode(random::bytes::<32>());
    let now = api.now().await?;
    let session = Session { id: hash(&token), admin: admin.id, created: now, expires: now + AGE * 1000 };
    let mut others = of(api, admin.id).await?;
    others.sort_by_key(|other| other.record.created);
    let surplus = (others.len() + 1).saturating_sub(LOGINS);
    for other in &others[..surplus] {
        api.bus.delete::<Session>(&other.record.id).await?;
    }
    // A new password ends all logins: one that was begun with the old one is not to come behind that.
    let same = Write::Check { kind: Kind::AdminSecret, id: admin.id.to_string(), guard: secret.unchanged() };
    api.bus.write(vec![insert(&session), same]).await?;
    let cookie = format!("{COOKIE}={token}; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age={AGE}");
    Ok(Begun { cookie, default: admin.default })
}

async fn of(api: &Api, admin: Id) -> Answer<Vec<Stored<Session>>> {
    Ok(api.bus.find::<Session>(Query::by("by_admin").equal(admin).limit(100)).await?.items)
}

/// What ends a login in the browser: both of the contract's cookies.
pub fn cleared() -> [String; 2] {
    ["session", "token"].map(|name| format!("{name}=; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=0"))
}

/// Ends the login of this token.
///
/// # Errors
///
/// The store can't be reached.
pub async fn end(api: &Api, token: &str) -> Answer<()> {
    Ok(api.bus.delete::<Session>(hash(token)).await?)
}

/// Ends all logins of an administrator, but for one.
///
/// # Errors
///
/// The store can't be reached.
pub async fn end_all(api: &Api, admin: Id, but: Option<&str>) -> Answer<()> {
    let kept = but.map(hash);
    loop {
        let page = of(api, admin).await?;
        let ended: Vec<_> = page
            .iter()
            .filter(|session| Some(&session.record.id) != kept.as_ref())
            .map(|session| delete::<Session>(&session.record.id, Guard::default()))
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        match api.bus.write(ended).await {
            // Another has ended one of them: look again.
            Ok(_) | Err(culvert_records::Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
}

/// Whose login this token is, if it is one that has not ended and the administrator is not disabled.
///
/// # Errors
///
/// The store can't be reached.
pub async fn find(api: &Api, token: &str) -> Answer<Option<Admin>> {
    let Some(session) = api.bus.get::<Session>(hash(token)).await? else { return Ok(None) };
    if session.record.expires <= api.now().await? {
        return Ok(None);
    }
    let admin = api.bus.get::<Admin>(session.record.admin).await?;
    Ok(admin.map(|admin| admin.record).filter(|admin| !admin.disabled))
}

/// The token in the cookie header.
pub fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let token = pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned());
    token.filter(|token| (40..=64).contains(&token.len()))
}

/// The CSRF token of a login. It follows from the login's token, which no script can read, so nothing is written for it.
pub fn csrf(token: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"culvert csrf token");
    hex(&mac.finalize().into_bytes()[..16])
}

fn hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        let token = "x".repeat(43);
        headers.insert("cookie", format!("a=b; session={token}; token=c").parse().expect("ASCII"));
        assert_eq!(cookie(&headers), Some(token));
        headers.insert("cookie", "session=short; xsession=y".parse().expect("ASCII"));
        assert_eq!(cookie(&headers), None);
    }

    #[test]
    fn csrf_tokens_follow_from_the_login() {
        assert_eq!(csrf("a").len(), 32);
        assert_eq!(csrf("a"), csrf("a"));
        assert_ne!(csrf("a"), csrf("b"));
    }
}
