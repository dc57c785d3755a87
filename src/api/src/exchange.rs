//! One request: which route it is for, who asks, what is asked, and the answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use culvert_contract::reply::TRUNCATED;
use culvert_contract::{Access, Body as _, Endpoint, Fault, Method, Missed, Query, Reply, find};
use culvert_records::remembered;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::time::{sleep, timeout};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::{self, Asking, Caller};
use crate::routes;

/// The longest body, in bytes. The proxy is stricter.
const BODY: usize = 1 << 20;

/// Says that the database is away and the answer is what the bus remembers.
const CACHED: HeaderName = HeaderName::from_static("culvert-cached");

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);

/// How long an answer may take: a little less than the proxy waits.
const DEADLINE: Duration = Duration::from_secs(58);

/// How long who guesses codes waits for each answer.
const GUESS: Duration = Duration::from_millis(500);

/// What was asked of a route.
#[derive(Debug)]
pub struct Asked<E: Endpoint> {
    /// The administrator, where the route wants one.
    caller: Option<Caller>,
    /// The parameters in the path.
    pub path: E::Path,
    /// The query parameters.
    pub query: E::Query,
    /// The body.
    pub body: E::Body,
    /// The headers.
    pub headers: HeaderMap,
}

impl<E: Endpoint> Asked<E> {
    /// The administrator who asks.
    ///
    /// # Errors
    ///
    /// The route is declared to be for anybody: a fault of the program, answered as if nobody had logged in.
    pub fn caller(&self) -> Answer<&Caller> {
        self.caller.as_ref().ok_or(No::nobody("Log in first."))
    }

    /// The client's address, if the proxy says so.
    pub fn client(&self) -> Option<IpAddr> {
        self.headers.get("culvert-client").and_then(|value| value.to_str().ok()?.parse().ok())
    }

    /// The host that the client asked for, if the proxy says so.
    pub fn host(&self) -> Option<&str> {
        self.headers.get("culvert-host").and_then(|value| value.to_str().ok())
    }
}

/// A request, taken apart as far as this can be done without knowing its route's types.
#[derive(Debug)]
pub struct Raw {
    caller: Option<Caller>,
    path: String,
    query: String,
    body: Vec<u8>,
    headers: HeaderMap,
}

impl Raw {
    /// The request in the route's own types.
    ///
    /// # Errors
    ///
    /// A value does not fit its type.
    pub fn read<E: Endpoint>(self) -> Answer<Asked<E>> {
        Ok(Asked {
            caller: self.caller,
            path: E::parse_path(&self.path).ok_or(No::missing("page"))?,
            query: E::Query::parse(&self.query).map_err(unfit)?,
            body: E::Body::decode(&self.body).map_err(unfit)?,
            headers: self.headers,
        })
    }
}

fn unfit(fault: Fault) -> No {
    let text = format!("{fault}. Nothing was changed.");
    let field = if fault.field.is_empty() { "body".into() } else { fault.field };
    No { field: Some(field.into()), ..No::bad("body_invalid", text) }
}

/// What a handler answers: the reply and the cookies to set.
#[derive(Debug)]
pub struct Outcome<R> {
    reply: R,
    cookies: Vec<String>,
}

impl<R> From<R> for Outcome<R> {
    fn from(reply: R) -> Self {
        Self { reply, cookies: Vec::new() }
    }
}

impl<R> Outcome<R> {
    /// The reply, with cookies.
    pub fn with(reply: R, cookies: impl IntoIterator<Item = String>) -> Self {
        Self { reply, cookies: cookies.into_iter().collect() }
    }
}

impl<R: Reply> Outcome<R> {
    /// The whole answer.
    pub fn respond(self) -> Response {
        let status = self.reply.status();
        let tag = self.reply.tag().and_then(|tag| HeaderValue::from_str(&tag).ok());
        let truncated = self.reply.truncated();
        let disposition = self.reply.file_name().map(|name| format!("attachment; filename=\"{name}\""));
        let mut response = Response::new(Body::from(self.reply.into_bytes()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(R::CONTENT_TYPE));
        if let Some(value) = disposition.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(CONTENT_DISPOSITION, value);
        }
        if let Some(tag) = tag {
            headers.insert(ETAG, tag);
            // To be kept, and asked for again.
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if truncated {
            headers.insert(TRUNCATED, HeaderValue::from_static("true"));
        }
        for cookie in self.cookies.iter().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
            headers.append(SET_COOKIE, cookie);
        }
        response
    }
}

/// Answers a request of the REST contract.
pub async fn answer(State(api): State<Api>, request: Request) -> Response {
    let (answered, remembered) = remembered(exchange(&api, request)).await;
    let mut response = match answered {
        Ok(response) | Err(response) => response,
    };
    if remembered {
        response.headers_mut().insert(CACHED, HeaderValue::from_static("true"));
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    api.counters.count(response.status());
    response
}

async fn exchange(api: &Api, request: Request) -> Result<Response, Response> {
    let refuse = |no: No| no.into_response();
    let (head, body) = request.into_parts();
    let found = Method::of(&head.method)
        .map_or_else(|| Err(culvert_contract::methods(head.uri.path())), |method| find(method, head.uri.path()))
        .map_err(missed)?;
    // Who waits for events has places of its own.
    let place = match found.route.pattern.starts_with("/event") {
        true => None,
        false => Some(Arc::clone(&api.places).try_acquire_owned().map_err(|_| refuse(No::busy()))?),
    };
    let work = async {
        let asking = Asking {
            access: found.route.access,
            method: found.route.method.name(),
            path: &found.path,
            headers: &head.headers,
        };
        let caller = caller::identify(api, asking).await?;
        let body = if found.route.takes_body { read(body).await? } else { Vec::new() };
        let query = head.uri.query().unwrap_or_default().to_owned();
        let raw = Raw { caller, path: found.path.clone(), query, body, headers: head.headers.clone() };
        if found.route.method == Method::Get {
            return routes::answer(api.clone(), found.route.name, raw).await;
        }
        // A change that was begun is finished, though who asked for it may be gone.
        let change = routes::answer(api.clone(), found.route.name, raw);
        let change = async move {
            let _place = place;
            change.await
        };
        tokio::spawn(change).await.unwrap_or_else(|_| Err(No::late("The api is ending. Look before you try again.")))
    };
    match timeout(DEADLINE, work).await {
        Ok(Err(no)) if found.route.access == Access::Capability && no.status == StatusCode::NOT_FOUND => {
            Err(refuse(guessed(api, no).await))
        }
        Ok(answer) => answer.map(|response| unless_known(response, &head.headers)).map_err(refuse),
        Err(_) => {
            let text = "This takes longer than expected and may still be done. Look before you try again.";
            Err(refuse(No::new(StatusCode::GATEWAY_TIMEOUT, "timeout", text)))
        }
    }
}

/// Nothing but that, if who asks has this very answer.
fn unless_known(mut response: Response, asked: &HeaderMap) -> Response {
    let known = asked.get_all(IF_NONE_MATCH).iter().any(|tag| Some(tag) == response.headers().get(ETAG));
    if known && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
    }
    response
}

/// Makes whoever guesses codes wait. The place of the request is free again, so that guessing crowds nobody out; what is
/// over the bound is turned away at once, and the proxy's rates slow it down.
async fn guessed(api: &Api, no: No) -> No {
    let Ok(_turn) = api.guesses.try_acquire() else {
        let text = "Too many unknown links are asked for. Try again in a moment.";
        return No { later: true, ..No::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", text) };
    };
    sleep(GUESS).await;
    no
}

fn missed(missed: Missed) -> Response {
    match missed {
        Missed::Unknown => No::missing("page").into_response(),
        Missed::WrongMethod(allow) => {
            let text = format!("This page knows {} only.", allow.header());
            let mut response = No::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text).into_response();
            if let Ok(value) = HeaderValue::from_str(&allow.header()) {
                response.headers_mut().insert(ALLOW, value);
            }
            response
        }
    }
}

async fn read(body: Body) -> Answer<Vec<u8>> {
    let too_large = || {
        let text = format!("The body is longer than {BODY} bytes.");
        No::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", text)
    };
    match timeout(ARRIVAL, Limited::new(body, BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().to_vec()),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(No::new(StatusCode::REQUEST_TIMEOUT, "body_late", "The body did not arrive in time.")),
    }
}
