//! Who asks: an administrator by session cookie or by signature (`semantics.md` section b).

use culvert_contract::Access;
use culvert_model::Millis;
use culvert_model::record::{Admin, AdminSecret, Nonce};
use culvert_records::{Failure, Query, Refusal};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::session;
use crate::signature::{Signed, WINDOW};

/// What every failed check says: which one failed is nobody's business.
const REFUSED: &str = "Log in, or sign the request with a valid token and secret.";

/// The administrator who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The administrator's record.
    pub admin: Admin,
    /// The token of the login, if there is one.
    pub session: Option<String>,
}

/// What was asked for, as far as it matters for who may.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Who may, by the route's declaration.
    pub access: Access,
    /// The method's name.
    pub method: &'a str,
    /// The decoded path, without the query.
    pub path: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// The administrator who asks, where the route wants one.
///
/// # Errors
///
/// 401 for nobody, 400 for one who may not, or the store can't be reached.
pub async fn identify(api: &Api, asking: Asking<'_>) -> Answer<Option<Caller>> {
    let csrf = match asking.access {
        Access::None | Access::Capability => return Ok(None),
        Access::Session => false,
        Access::Admin | Access::SuperUser => true,
    };
    let caller = if asking.headers.contains_key("auth-token") {
        signed(api, asking).await?
    } else {
        logged_in(api, asking.headers, csrf).await?
    };
    if asking.access == Access::SuperUser && !caller.admin.super_user {
        return Err(No::bad("requires_super_user", "Only a super user may do this."));
    }
    Ok(Some(caller))
}

async fn logged_in(api: &Api, headers: &HeaderMap, csrf: bool) -> Answer<Caller> {
    let token = session::cookie(headers).ok_or(No::nobody(REFUSED))?;
    let admin = session::find(api, &token).await?.ok_or(No::nobody(REFUSED))?;
    let sent = headers.get("csrf-token").map_or(&[][..], |value| value.as_bytes());
    if csrf && !bool::from(session::csrf(&token).as_bytes().ct_eq(sent)) {
        let text = "The header Csrf-Token is missing or not of this login. GET /state tells it.";
        return Err(No::nobody(text));
    }
    Ok(Caller { admin, session: Some(token) })
}

async fn signed(api: &Api, asking: Asking<'_>) -> Answer<Caller> {
    let refused = || No::nobody(REFUSED);
    let signed = Signed::read(asking.headers).ok_or_else(refused)?;
    let now = api.now().await?;
    if !signed.timely((now / 1000) as i64) {
        let text = "The time in Auth-Timestamp is more than twelve hours off, or it is no time.";
        return Err(No::nobody(text));
    }
    let found = api.bus.find::<Admin>(Query::by("by_token").equal(signed.token).limit(1)).await?;
    let admin = found.items.into_iter().next().ok_or_else(refused)?.record;
    let secret = api.bus.get::<AdminSecret>(admin.id).await?.ok_or_else(refused)?.record;
    let good = signed.good(&secret.api_secret, asking.method, asking.path);
    if !good || !admin.auth_api || admin.disabled {
        return Err(refused());
    }
    use_up(api, &signed, now).await?;
    Ok(Caller { admin, session: None })
}

/// Uses the nonce up. Only after the signature was found good, so that strangers fill no store.
async fn use_up(api: &Api, signed: &Signed<'_>, now: Millis) -> Answer<()> {
    let window = Millis::from(WINDOW.unsigned_abs() as u32) * 1000;
    let nonce = Nonce { id: format!("{}/{}", signed.token, signed.nonce), expires: now + 2 * window };
    match api.bus.insert(&nonce).await {
        Ok(()) => Ok(()),
        Err(Failure::Refused { why: Refusal::Exists, .. }) => {
            Err(No::nobody("This nonce was used before: sign each request with a new one."))
        }
        Err(failure) => Err(failure.into()),
    }
}
