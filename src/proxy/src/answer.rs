//! What is sent back: the api's answers, the console's files, and the proxy's own refusals.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use culvert_contract::{Allow, Fault};
use http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};

use crate::connection::Work;
use crate::inner::{Answering, Broken};

/// The body of an answer.
#[derive(Debug)]
pub struct Outward {
    content: Content,
    /// Counts as work of the connection until the body is sent.
    work: Option<Work>,
}

#[derive(Debug)]
enum Content {
    Whole(Option<Bytes>),
    Inner(Answering),
}

impl Outward {
    /// A body that is all here.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { content: Content::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())), work: None }
    }

    /// A body that comes from the api.
    pub fn inner(answering: Answering) -> Self {
        Self { content: Content::Inner(answering), work: None }
    }

    /// The same, which is work until it is sent.
    #[must_use]
    pub fn under(mut self, work: Work) -> Self {
        self.work = Some(work);
        self
    }
}

impl Body for Outward {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(work) = &self.work {
            work.progress();
        }
        match &mut self.content {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Inner(answering) => answering.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Inner(answering) => answering.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Inner(answering) => answering.size_hint(),
        }
    }
}

/// Why a request went no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// HTTP/1.0.
    Old,
    /// No route has the path.
    Unknown,
    /// The path has other methods.
    Method(String),
    /// The path has a slash too many; this is the right one.
    Moved(String, bool),
    /// The host is missing or none.
    Host,
    /// A listed header is too long.
    Header(HeaderName),
    /// The body is not JSON by its type.
    Type,
    /// The body is too large.
    Large,
    /// The body did not come in time, or broke off.
    Slow,
    /// A value in the body does not fit its type.
    Body(Fault),
    /// A query parameter does not fit its type.
    Query(Fault),
    /// The address made too many requests: when to come again.
    TooMany(Duration),
    /// The proxy has too much to do.
    Busy,
    /// The api is not there.
    Away,
    /// The api went away with the request in its hands.
    Lost,
    /// The api did not answer in time.
    Late,
}

impl Refusal {
    /// The status that goes with it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Old => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Moved(_, true) => StatusCode::MOVED_PERMANENTLY,
            Self::Moved(_, false) => StatusCode::TEMPORARY_REDIRECT,
            Self::Host | Self::Body(_) | Self::Query(_) => StatusCode::BAD_REQUEST,
            Self::Header(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Type => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Large => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy | Self::Away => StatusCode::SERVICE_UNAVAILABLE,
            Self::Lost => StatusCode::BAD_GATEWAY,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The word for programs and the text for people.
    fn told(&self) -> (&'static str, String) {
        match self {
            Self::Old => ("http_version", "HTTP/1.0 is not spoken here; use HTTP/1.1 or HTTP/2.".into()),
            Self::Unknown => ("not_found", "There is nothing at this path.".into()),
            Self::Method(allow) => ("method_not_allowed", format!("This path has other methods: {allow}.")),
            Self::Moved(path, _) => ("moved", format!("The path is {path}.")),
            Self::Host => ("host_invalid", "The Host header is missing or no host; send one.".into()),
            Self::Header(name) => ("header_too_long", format!("The header {name} is too long; nothing was done.")),
            Self::Type => ("content_type_invalid", "Send the body as application/json.".into()),
            Self::Large => ("body_too_large", format!("The body has more than {} bytes; nothing was done.", crate::exchange::LARGEST)),
            Self::Slow => ("body_late", "The body broke off or took too long; nothing was done.".into()),
            Self::Body(fault) => ("body_invalid", fault.to_string()),
            Self::Query(fault) => ("query_invalid", fault.to_string()),
            Self::TooMany(_) => ("too_many_requests", "Too many requests from this address; wait and try again.".into()),
            Self::Busy => ("busy", "Too much is being done at once; nothing was done, try again.".into()),
            Self::Away => ("api_unavailable", "The api is being started; nothing was done, try again.".into()),
            Self::Lost => ("api_lost", "The api went away while it worked on this: what was asked may have been done or not. Look before you repeat it.".into()),
            Self::Late => ("api_late", "The api did not answer in time: what was asked may have been done or not. Look before you repeat it.".into()),
        }
    }

    /// When to come again, in seconds.
    fn retry(&self) -> Option<u64> {
        match self {
            Self::TooMany(wait) => Some(wait.as_secs_f64().ceil().max(1.0) as u64),
            Self::Busy | Self::Away => Some(1),
            Self::Lost | Self::Late => Some(2),
            _ => None,
        }
    }

    /// The answer that says so.
    #[must_use]
    pub fn response(&self) -> Response<Outward> {
        let (error, error_msg) = self.told();
        let text = serde_json::json!({ "error": error, "error_msg": error_msg }).to_string();
        let mut response = Response::new(Outward::whole(text));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let extra = match self {
            Self::Method(allow) => Some((ALLOW, allow)),
            Self::Moved(path, _) => Some((LOCATION, path)),
            _ => None,
        };
        if let Some((name, value)) = extra.and_then(|(name, text)| Some((name, HeaderValue::from_str(text).ok()?))) {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Allow> for Refusal {
    fn from(allow: Allow) -> Self {
        Self::Method(allow.header())
    }
}
