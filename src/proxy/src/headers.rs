//! Which headers pass, in either direction. All others stay outside.

use culvert_contract::reply::TRUNCATED;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, ETAG, HOST, HeaderName,
    IF_NONE_MATCH, LOCATION, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

/// The headers that go inward, with the longest value that each may have. The HMAC headers are longer than the
/// contract needs, so that the api, which cuts them, decides.
const INWARD: [(HeaderName, usize); 7] = [
    (HeaderName::from_static("auth-token"), 256),
    (HeaderName::from_static("auth-timestamp"), 64),
    (HeaderName::from_static("auth-nonce"), 256),
    (HeaderName::from_static("auth-signature"), 512),
    (HeaderName::from_static("csrf-token"), 256),
    (COOKIE, 4096),
    (IF_NONE_MATCH, 256),
];

/// The client's address, set by the proxy.
pub const CLIENT: HeaderName = HeaderName::from_static("culvert-client");
/// The host that the client asked for, set by the proxy.
pub const ASKED: HeaderName = HeaderName::from_static("culvert-host");

/// Says that the database is away and the answer is what the bus remembers; set by the api.
pub const CACHED: HeaderName = HeaderName::from_static("culvert-cached");

/// The headers that come outward.
const OUTWARD: [HeaderName; 9] =
    [CONTENT_TYPE, CONTENT_DISPOSITION, SET_COOKIE, CACHE_CONTROL, ETAG, RETRY_AFTER, LOCATION, CACHED, TRUNCATED];

/// A header of the client's is too long: its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLong(pub HeaderName);

/// What goes inward of the client's headers.
///
/// # Errors
///
/// One of them is too long.
pub fn inward(sent: &HeaderMap) -> Result<HeaderMap, TooLong> {
    let mut headers = HeaderMap::with_capacity(12);
    for (name, longest) in &INWARD {
        let mut values = sent.get_all(name).iter();
        let Some(first) = values.next() else { continue };
        let value = match (name == COOKIE).then(|| values.next()).flatten() {
            // HTTP/2 may send cookies one by one (RFC 9113 section 8.2.3).
            Some(second) => joined(first, second, values).ok_or_else(|| TooLong(name.clone()))?,
            None => first.clone(),
        };
        if value.len() > *longest {
            return Err(TooLong(name.clone()));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

fn joined<'v>(
    first: &'v HeaderValue,
    second: &'v HeaderValue,
    rest: impl Iterator<Item = &'v HeaderValue>,
) -> Option<HeaderValue> {
    let values: Vec<_> = [first, second].into_iter().chain(rest).map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&values.join(&b"; "[..])).ok()
}

/// What the proxy itself tells the api.
pub fn about(headers: &mut HeaderMap, client: &HeaderValue, asked: HeaderValue) {
    headers.insert(HOST, HeaderValue::from_static("api"));
    headers.insert(CLIENT, client.clone());
    headers.insert(ASKED, asked);
}

/// What comes outward of the api's headers.
#[must_use]
pub fn outward(mut answered: HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(32);
    for name in &OUTWARD {
        if name == SET_COOKIE {
            for value in answered.get_all(name) {
                headers.append(name, value.clone());
            }
        } else if let Some(value) = answered.remove(name) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The policy for pages: everything from here, nothing inline, nobody frames them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const ALWAYS: [(HeaderName, HeaderValue); 8] = [
    (STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000; includeSubDomains")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex")),
];

/// Adds what every answer over TLS carries.
pub fn secure(headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(name, value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("ASCII"))
        };
        let mut map = HeaderMap::new();
        for (name, value) in pairs.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn only_listed_headers_go_inward() {
        let sent = map(&[
            ("auth-token", "first"),
            ("auth-token", "second"),
            ("culvert-client", "127.0.0.1"),
            ("pr-validated", "true"),
            ("x-forwarded-for", "127.0.0.1"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
        ]);
        assert_eq!(inward(&sent), Ok(map(&[("auth-token", "first"), ("cookie", "a=b; c=d")])));
    }

    #[test]
    fn long_headers_are_refused() {
        let long = "x".repeat(65);
        assert_eq!(inward(&map(&[("auth-timestamp", &long)])), Err(TooLong(HeaderName::from_static("auth-timestamp"))));
        let half = "x".repeat(2100);
        assert_eq!(inward(&map(&[("cookie", &half), ("cookie", &half)])), Err(TooLong(COOKIE)));
    }

    #[test]
    fn only_listed_headers_come_outward() {
        let answered =
            map(&[("server", "x"), ("content-type", "a/b"), ("set-cookie", "a"), ("set-cookie", "b"), ("x-y", "z")]);
        assert_eq!(outward(answered), map(&[("content-type", "a/b"), ("set-cookie", "a"), ("set-cookie", "b")]));
        let told = map(&[("culvert-cached", "true"), ("culvert-truncated", "true")]);
        assert_eq!(outward(told.clone()), told);
    }
}
