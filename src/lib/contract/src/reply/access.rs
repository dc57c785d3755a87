//! Logging in, the console's state, administrators and organisations.

use culvert_model::Id;
use serde::Serialize;

use super::json;

/// A login that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoggedIn {
    /// True.
    pub authenticated: bool,
    /// Whether the generated password is still in use.
    pub default: bool,
}

/// Whether there is a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Authenticated {
    /// False after logging out.
    pub authenticated: bool,
}

/// What the console needs to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Whether the administrator may manage administrators.
    pub super_user: bool,
    /// What changing requests of this session must carry in the header `Csrf-Token`.
    pub csrf_token: String,
    /// `dark` or `light`.
    pub theme: String,
    /// Null.
    pub user: Option<String>,
    /// Whether there is a subscription: false.
    pub active: bool,
    /// Null.
    pub plan: Option<String>,
    /// Four groups of four digits.
    pub version: u64,
    /// Null.
    pub sso: Option<String>,
}

/// An administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// The administrator's id.
    pub id: Id,
    /// The name.
    pub username: String,
    /// The first 12 characters of the YubiKey.
    pub yubikey_id: Option<String>,
    /// Whether logging in takes a one-time code.
    pub otp_auth: bool,
    /// The secret for one-time codes.
    pub otp_secret: Option<String>,
    /// Whether logging in takes a code made on the host.
    pub local_otp_auth: bool,
    /// Whether signed requests are let in.
    pub auth_api: bool,
    /// The token of signed requests.
    pub token: String,
    /// The secret of signed requests.
    pub secret: String,
    /// Whether the generated password is still in use.
    pub default: bool,
    /// Whether this one may not log in.
    pub disabled: bool,
    /// Whether this one may manage administrators.
    pub super_user: bool,
}

/// An administrator in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdminListItem {
    /// The administrator.
    #[serde(flatten)]
    pub admin: Admin,
    /// Whether what administrators do is recorded.
    pub audit: bool,
}

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Organization {
    /// The organisation's id.
    pub id: Id,
    /// The name.
    pub name: String,
    /// The end of the CA's validity: `YYYY-MM-DD HH:MM:SS`, UTC.
    pub expiration: Option<String>,
    /// Whether it has a token and a secret.
    pub auth_api: bool,
    /// The token.
    pub auth_token: Option<String>,
    /// The secret.
    pub auth_secret: Option<String>,
    /// How many users it has.
    pub user_count: u64,
}

/// A page of organisations: five.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OrganizationPage {
    /// Which page, from 0.
    pub page: u64,
    /// The last page's number.
    pub page_total: u64,
    /// Those on it.
    pub organizations: Vec<Organization>,
}

json!(LoggedIn, Authenticated, State, Admin, Organization);
