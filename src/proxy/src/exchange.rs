//! One request: what route it is for, whether it fits the route's types, and what of it goes inward.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use culvert_contract::{self as contract, Found, Method, Missed, RouteName};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::answer::{Outward, Refusal};
use crate::assets;
use crate::connection::{Link, Work};
use crate::headers::{self, TooLong};
use crate::host;
use crate::inner::Inward;

/// The largest body in bytes. The contract asks for 50,000.
pub const LARGEST: usize = 64 << 10;
/// How long a body may take.
const BODY: Duration = Duration::from_secs(10);
/// How much of the body of a refused request is read, so that the client hears the refusal, and for how long.
const WASTE: (usize, Duration) = (1 << 20, Duration::from_secs(2));

/// Answers a request over TLS.
///
/// # Errors
///
/// None.
pub async fn answer(request: Request<Incoming>, link: Arc<Link>) -> Result<Response<Outward>, Infallible> {
    let begun = Instant::now();
    let mut work = link.work();
    let (parts, mut body) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let mut route = None;
    let handled = match admit(&request, &link, &mut work) {
        Ok(()) => handle(&request, &mut body, &link, &mut route).await,
        Err(refusal) => Err(refusal),
    };
    let mut response = match handled {
        Ok(response) => response,
        Err(refusal) => {
            if !matches!(refusal, Refusal::TooMany(_)) {
                waste(&mut body).await;
            }
            refusal.response()
        }
    };
    headers::secure(response.headers_mut());
    // The route's name, not the path: paths hold codes that open profiles.
    tracing::debug!(
        client = ?link.client,
        method = method(&request),
        ?route,
        status = response.status().as_u16(),
        micros = begun.elapsed().as_micros() as u64,
        "request"
    );
    Ok(response.map(|body| body.under(work)))
}

fn method(request: &Request<()>) -> &'static str {
    match Method::of(request.method()) {
        Some(method) => method.name(),
        None if request.method() == http::Method::HEAD => "HEAD",
        None => "other",
    }
}

/// Lets a request in before anything of it is looked at.
fn admit(request: &Request<()>, link: &Link, work: &mut Work) -> Result<(), Refusal> {
    if request.version() < Version::HTTP_11 {
        return Err(Refusal::Old);
    }
    work.admitted(link.admit()?);
    Ok(())
}

async fn handle(
    request: &Request<()>,
    body: &mut Incoming,
    link: &Link,
    route: &mut Option<RouteName>,
) -> Result<Response<Outward>, Refusal> {
    let asked = host::asked(request).and_then(|host| HeaderValue::from_str(host).ok()).ok_or(Refusal::Host)?;
    if let Some(asset) = assets::find(request.uri().path()) {
        return match *request.method() {
            http::Method::GET => Ok(asset.response(request.headers(), false)),
            http::Method::HEAD => Ok(asset.response(request.headers(), true)),
            _ => Err(Refusal::Method("GET, HEAD".into())),
        };
    }
    let found = find(request)?;
    *route = Some(found.route.name);
    let inward = inward(request, body, &found, link, asked).await?;
    let answered = link.shared.inner.ask(inward).await?;
    let (parts, answering) = answered.into_parts();
    let mut response = Response::new(Outward::inner(answering));
    *response.status_mut() = outward(parts.status);
    *response.headers_mut() = headers::outward(parts.headers);
    Ok(response)
}

/// The api never switches protocols or sends word in between.
fn outward(status: StatusCode) -> StatusCode {
    if status.is_informational() { StatusCode::BAD_GATEWAY } else { status }
}

fn find(request: &Request<()>) -> Result<Found, Refusal> {
    let path = request.uri().path();
    let missed = match Method::of(request.method()) {
        Some(method) => match contract::find(method, path) {
            Ok(found) => return Ok(found),
            Err(missed) => missed,
        },
        None => contract::methods(path),
    };
    Err(match missed {
        Missed::WrongMethod(allow) => allow.into(),
        Missed::Unknown => moved(request).unwrap_or(Refusal::Unknown),
    })
}

/// A path that would be known without the slash at its end.
fn moved(request: &Request<()>) -> Option<Refusal> {
    let shorter = request.uri().path().strip_suffix('/')?;
    let method = Method::of(request.method())?;
    let path = contract::find(method, shorter).ok()?.path;
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    Some(Refusal::Moved(path + &query, method == Method::Get))
}

async fn inward(
    request: &Request<()>,
    body: &mut Incoming,
    found: &Found,
    link: &Link,
    asked: HeaderValue,
) -> Result<Inward, Refusal> {
    let route = found.route;
    let query = route.query(request.uri().query().unwrap_or("")).map_err(Refusal::Query)?;
    let mut headers = headers::inward(request.headers()).map_err(|TooLong(name)| Refusal::Header(name))?;
    headers::about(&mut headers, &link.client, asked);
    if route.takes_body && !is_json(request.headers()) {
        return Err(Refusal::Type);
    }
    // A body that nobody asked for is read all the same: behind it stands the next request.
    let sent = read(body).await?;
    let body = match route.takes_body {
        true => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Bytes::from(route.reencode(&sent).map_err(Refusal::Body)?)
        }
        false => Bytes::new(),
    };
    if !body.is_empty() || !matches!(*request.method(), http::Method::GET | http::Method::DELETE) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let target = if query.is_empty() { found.path.clone() } else { format!("{}?{query}", found.path) };
    let target = PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Refusal::Unknown)?;
    Ok(Inward { method: request.method().clone(), target, headers, body })
}

/// Whether the media type is `application/json`, with whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let sent = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    sent.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json")
}

/// The whole body, if it is not too large and comes in time.
async fn read(body: &mut Incoming) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > LARGEST as u64 {
        return Err(Refusal::Large);
    }
    tokio::time::timeout(BODY, gather(body)).await.map_err(|_| Refusal::Slow)?
}

async fn gather(body: &mut Incoming) -> Result<Bytes, Refusal> {
    let mut gathered = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::Slow)?.into_data() else { continue };
        if gathered.len() + data.len() > LARGEST {
            return Err(Refusal::Large);
        }
        gathered.extend_from_slice(&data);
    }
    Ok(gathered.freeze())
}

/// Reads on for a while: a client that still sends would else be cut off before it hears why.
async fn waste(body: &mut Incoming) {
    if body.is_end_stream() {
        return;
    }
    let read = async {
        let mut wasted = 0;
        while wasted < WASTE.0 {
            let Some(Ok(frame)) = body.frame().await else { return };
            wasted += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // Whoever is slower than this is cut off.
    let _ = tokio::time::timeout(WASTE.1, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_by_its_media_type() {
        let is = |text: &'static str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(text))]));
        assert!(is("application/json") && is("Application/JSON; charset=utf-8"));
        assert!(!is("text/json") && !is("application/jsonx") && !is("") && !is_json(&HeaderMap::new()));
    }
}
