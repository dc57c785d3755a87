//! What routes answer when they succeed, in the contract's shapes; and [`Error`], when they do not.

mod access;
mod certificate;
mod cluster;
mod server;
mod user;
mod work;

use bytes::Bytes;
use serde::Serialize;

pub use access::{Admin, AdminListItem, Authenticated, LoggedIn, Organization, OrganizationPage, State};
pub use certificate::{Certificate, Renewal};
pub use cluster::{Event, Host, HostPage, LogEntry, Logs, Status, Usage};
pub use server::{Route, RouteListItem, Server, ServerHost, ServerOrg, ServerOutput, ServerPage, ServerStatus};
pub use user::{
    KeyLink, PortForward, Profiles, User, UserDetail, UserDevice, UserList, UserPage, UserSearch, UserServer,
};
pub use work::{Cluster, Job, JobState, Jobs, Pool, Task};

pub use crate::settings::Settings;

/// What a route answers.
pub trait Reply: Send + 'static {
    /// The media type.
    const CONTENT_TYPE: &'static str = "application/json";

    /// The name under which a browser saves it, if it is a file.
    fn file_name(&self) -> Option<&str> {
        None
    }

    /// The status, if it is not 200.
    fn status(&self) -> http::StatusCode {
        http::StatusCode::OK
    }

    /// What tells it from an earlier one (RFC 9110, section 8.8.3), for answers that are worth being kept: who has it
    /// already is told just that.
    fn tag(&self) -> Option<String> {
        None
    }

    /// Whether it ends before its end, because it would be too long.
    fn truncated(&self) -> bool {
        false
    }

    /// The bytes.
    fn into_bytes(self) -> Bytes;
}

/// The header that says of a list that it ends before its end: a list has no other place for it.
pub const TRUNCATED: http::HeaderName = http::HeaderName::from_static("culvert-truncated");

fn to_json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("keys are text and no value refuses to be written").into()
}

/// Answers that are JSON.
macro_rules! json {
    ($($type:ty),+ $(,)?) => {
        $(impl crate::Reply for $type {
            fn into_bytes(self) -> bytes::Bytes {
                crate::reply::to_json(&self)
            }
        })+
    };
}
use json;

/// Nothing to say: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Empty {}

/// Nothing to say: `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Null;

json!(Empty, Null, Settings, Cluster, Renewal, OrganizationPage, HostPage, ServerPage, Usage);

impl<T: Serialize + Send + 'static> Reply for Vec<T> {
    fn into_bytes(self) -> Bytes {
        to_json(&self)
    }
}

impl Reply for () {
    fn into_bytes(self) -> Bytes {
        Bytes::new()
    }
}

/// A whole list, or a page of it if a page was asked for.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Listed<T, P> {
    /// All.
    All(Vec<T>),
    /// A page.
    Page(P),
}

impl<T: Serialize + Send + 'static, P: Serialize + Send + 'static> Reply for Listed<T, P> {
    fn into_bytes(self) -> Bytes {
        to_json(&self)
    }
}

/// What was done, or goes on in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Done<T> {
    /// This is how it is now.
    Now(T),
    /// It takes longer: status 202.
    Later(Background),
}

/// What goes on in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Background {
    /// What it is, for programs.
    pub status: &'static str,
    /// What that means and where it can be looked at, for people.
    pub status_msg: String,
    /// The id of the job in `/v1/jobs`, if it is one job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

impl<T: Serialize + Send + 'static> Reply for Done<T> {
    fn status(&self) -> http::StatusCode {
        if matches!(self, Self::Now(_)) { http::StatusCode::OK } else { http::StatusCode::ACCEPTED }
    }

    fn into_bytes(self) -> Bytes {
        to_json(&self)
    }
}

macro_rules! file {
    ($(#[$doc:meta])* $name:ident, $media:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            /// The name under which it is saved.
            pub name: String,
            /// What is in it.
            pub bytes: Vec<u8>,
        }

        impl Reply for $name {
            const CONTENT_TYPE: &'static str = $media;

            fn file_name(&self) -> Option<&str> {
                Some(&self.name)
            }

            fn into_bytes(self) -> Bytes {
                self.bytes.into()
            }
        }
    };
}

file! {
    /// Profiles as a tar archive.
    Archive, "application/octet-stream"
}

file! {
    /// One profile as text.
    Profile, "application/ovpn"
}

/// A list of revoked certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// The name under which it is saved.
    pub name: String,
    /// Its number, which rises with each list.
    pub number: u64,
    /// The list, DER.
    pub der: Bytes,
}

impl Reply for Crl {
    const CONTENT_TYPE: &'static str = "application/pkix-crl";

    fn file_name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn tag(&self) -> Option<String> {
        Some(format!("\"{}\"", self.number))
    }

    fn into_bytes(self) -> Bytes {
        self.der
    }
}

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $media:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub String);

        impl Reply for $name {
            const CONTENT_TYPE: &'static str = $media;

            fn into_bytes(self) -> Bytes {
                self.0.into()
            }
        }
    };
}

text! {
    /// A page for a browser.
    Page, "text/html; charset=utf-8"
}

text! {
    /// Plain text.
    Text, "text/plain; charset=utf-8"
}

/// What is answered with a status of 400 and above.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// What went wrong, for programs.
    pub error: &'static str,
    /// What went wrong, what it means and what to do, for people.
    pub error_msg: String,
}
