//! Port 80: sends everybody to https, and tells monitors whether this host is well.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::LOCATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::answer::{Outward, Refusal};
use crate::connection::{Link, Work};
use crate::inner::Inward;
use crate::{headers, host};

/// Answers a request to port 80. Its body is not read.
///
/// # Errors
///
/// None.
pub async fn answer(request: Request<Incoming>, link: Arc<Link>) -> Result<Response<Outward>, Infallible> {
    let mut work = link.work();
    let response = handle(&request.map(drop), &link, &mut work).await.unwrap_or_else(|refusal| refusal.response());
    Ok(response.map(|body| body.under(work)))
}

async fn handle(request: &Request<()>, link: &Link, work: &mut Work) -> Result<Response<Outward>, Refusal> {
    if request.version() < Version::HTTP_11 {
        return Err(Refusal::Old);
    }
    work.admitted(link.admit()?);
    let asked = host::asked(request).ok_or(Refusal::Host)?;
    if matches!(request.uri().path(), "/ping" | "/check") && request.method() == Method::GET {
        return check(request, asked, link).await;
    }
    let place = host::secure(asked, link.shared.public_port, request.uri()).ok_or(Refusal::Host)?;
    let mut response = Response::new(Outward::whole(Bytes::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

async fn check(request: &Request<()>, asked: &str, link: &Link) -> Result<Response<Outward>, Refusal> {
    let mut headers = HeaderMap::with_capacity(4);
    let asked = HeaderValue::from_str(asked).map_err(|_| Refusal::Host)?;
    headers::about(&mut headers, &link.client, asked);
    let target = if request.uri().path() == "/ping" { "/ping" } else { "/check" };
    let inward = Inward { method: Method::GET, target: PathAndQuery::from_static(target), headers, body: Bytes::new() };
    let (parts, answering) = link.shared.inner.ask(inward).await?.into_parts();
    let mut response = Response::new(Outward::inner(answering));
    *response.status_mut() = parts.status;
    *response.headers_mut() = headers::outward(parts.headers);
    Ok(response)
}
