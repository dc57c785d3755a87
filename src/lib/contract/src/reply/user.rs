//! Users, their profiles and links to them.

use std::collections::BTreeMap;

use culvert_model::Id;
use serde::Serialize;

use super::json;
pub use culvert_model::record::PortForward;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user's id.
    pub id: Id,
    /// The organisation's id.
    pub organization: Id,
    /// The organisation's name.
    pub organization_name: String,
    /// The name.
    pub name: String,
    /// Where mail reaches the user.
    pub email: Option<String>,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// When the user last connected, seconds since 1970.
    pub last_active: Option<i64>,
    /// Whether a PIN is set.
    pub pin: bool,
    /// `client`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How the user proves to be the user.
    pub auth_type: String,
    /// The first 12 characters of the user's YubiKey.
    pub yubico_id: Option<String>,
    /// The secret for one-time codes.
    pub otp_secret: Option<String>,
    /// Whether the user may not connect.
    pub disabled: bool,
    /// Whether second factors are waived.
    pub bypass_secondary: bool,
    /// Whether the user's machine may only be reached by other clients.
    pub client_to_client: bool,
    /// The only hardware addresses that the user may connect with.
    pub mac_addresses: Option<Vec<String>>,
    /// Name servers for this user instead of the server's.
    pub dns_servers: Option<Vec<String>>,
    /// The search domain for this user.
    pub dns_suffix: Option<String>,
    /// Ports forwarded to the user's machine.
    pub port_forwarding: Option<Vec<PortForward>>,
    /// Registered devices.
    pub devices: Vec<UserDevice>,
}

/// A registered device of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserDevice {
    /// The device's id.
    pub id: Id,
    /// The user's id.
    pub user_id: Id,
    /// The organisation's id.
    pub org_id: Id,
    /// What the client calls it.
    pub name: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
    /// Whether it is registered.
    pub registered: Option<bool>,
    /// Since when: seconds since 1970, as text.
    pub timestamp: Option<String>,
    /// Whether registration is waived for now.
    #[serde(rename = "override")]
    pub waived: bool,
}

/// A user with what the user is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserDetail {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// False.
    pub gravatar: bool,
    /// Whether what users do is recorded.
    pub audit: bool,
    /// Whether the user is connected.
    pub status: bool,
    /// Null.
    pub sso: Option<String>,
    /// What the user proves to be the user with.
    pub auth_modes: Vec<String>,
    /// The name of the user's machine.
    pub dns_mapping: Option<String>,
    /// Networks behind the user's machine.
    pub network_links: Vec<String>,
    /// The servers that the user may connect to, by name.
    pub servers: Vec<UserServer>,
}

/// A server seen from a user, or a connection to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserServer {
    /// The connection's id, or else the server's.
    pub id: Id,
    /// The server's name.
    pub name: String,
    /// Whether the user is connected.
    pub status: bool,
    /// As `id`.
    pub server_id: Id,
    /// What the client calls its device.
    pub device_name: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
    /// Where it comes from.
    pub real_address: Option<String>,
    /// Its address in the tunnel.
    pub virt_address: Option<String>,
    /// Its IPv6 address in the tunnel.
    pub virt_address6: Option<String>,
    /// Since when, seconds since 1970.
    pub connected_since: Option<i64>,
}

/// A page of users: ten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserPage {
    /// Which page, from 0.
    pub page: u64,
    /// The last page's number.
    pub page_total: u64,
    /// How many servers the organisation is attached to.
    pub server_count: u64,
    /// Those on it.
    pub users: Vec<UserDetail>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UserSearch {
    /// What was looked for.
    pub search: String,
    /// Whether there are more.
    pub search_more: bool,
    /// The most that were to be answered.
    pub search_limit: u64,
    /// How many there are.
    pub search_count: u64,
    /// How long it took, seconds.
    pub search_time: f64,
    /// How many servers the organisation is attached to.
    pub server_count: u64,
    /// Those found.
    pub users: Vec<UserDetail>,
}

/// Users of an organisation, in the shape that the query asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum UserList {
    /// All.
    All(Vec<UserDetail>),
    /// A page.
    Page(UserPage),
    /// A search without a page.
    Search(UserSearch),
}

/// A link to a user's profiles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyLink {
    /// The long code.
    pub id: String,
    /// `/key/<id>.tar`.
    pub key_url: String,
    /// `/key/<id>.zip`.
    pub key_zip_url: String,
    /// `/key/<id>.onc`.
    pub key_onc_url: String,
    /// `/k/<short code>`.
    pub view_url: String,
    /// `/ku/<short code>`.
    pub uri_url: String,
}

/// Profiles by file name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Profiles(pub BTreeMap<String, String>);

json!(User, UserDetail, UserList, KeyLink, Profiles);
