//! What the api answers when it cannot do what was asked.

use std::borrow::Cow;

use axum::Json;
use axum::response::{IntoResponse, Response};
use culvert_records::{Failure, Refusal};
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde::Serialize;

/// Seconds after which who was turned away may try again.
const LATER: HeaderValue = HeaderValue::from_static("2");

/// A request that was turned down. Nothing was changed, unless the text says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// The status.
    pub status: StatusCode,
    /// For programs.
    pub id: Cow<'static, str>,
    /// For people: what happened, and what to do.
    pub text: Cow<'static, str>,
    /// The field that was wrong.
    pub field: Option<Cow<'static, str>>,
    /// Whether it is worth trying again in a moment.
    pub later: bool,
}

/// What a handler answers.
pub type Answer<T> = Result<T, No>;

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_msg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

impl No {
    /// A refusal with this status.
    pub fn new(status: StatusCode, id: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, id: id.into(), text: text.into(), field: None, later: false }
    }

    /// The request makes no sense, or can't be done as things are.
    pub fn bad(id: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, id, text)
    }

    /// This field of the request is wrong.
    pub fn field(field: &'static str, id: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::bad(id, text) }
    }

    /// We know what this field asks for, but do not do it.
    pub fn unsupported(field: &'static str, why: &'static str) -> Self {
        Self::field(field, "not_supported", why)
    }

    /// There is no such thing.
    pub fn missing(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}. It may have been deleted."))
    }

    /// Nobody is logged in, or the signature is wrong.
    pub fn nobody(text: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", text)
    }

    /// Too much is under way.
    pub fn busy() -> Self {
        let text = "Too many requests are under way. Try again in a moment.";
        Self { later: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text) }
    }

    /// What was waited for did not come in time.
    pub fn late(text: impl Into<Cow<'static, str>>) -> Self {
        Self { later: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", text) }
    }

    /// Somebody else changed the same thing at the same time.
    pub fn raced() -> Self {
        let text = "Somebody else changed this at the same time. Look at it again, then repeat your change.";
        Self::new(StatusCode::CONFLICT, "conflict", text)
    }
}

impl From<Failure> for No {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable => Self {
                later: true,
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "store_unavailable",
                    "The database cannot be reached. Nothing was changed. Try again in a moment.",
                )
            },
            Failure::Busy => Self::busy(),
            Failure::Unknown => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome_unknown",
                "The database went away during the change. Whether it was made is not known: look before you try again.",
            ),
            Failure::Refused { why: Refusal::Missing, .. } => Self::missing("thing"),
            Failure::Refused { .. } => Self::raced(),
            Failure::Denied | Failure::Invalid(_) => {
                tracing::error!(%failure, "a request to the bus failed");
                let text = "This is a fault of Culvert. The log of its api tells more.";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
            }
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let body = Body { error: &self.id, error_msg: &self.text, field: self.field.as_deref() };
        let mut response = (self.status, Json(body)).into_response();
        if self.later {
            response.headers_mut().insert(RETRY_AFTER, LATER);
        }
        response
    }
}
