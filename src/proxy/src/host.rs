//! The host that a client asked for, checked before anything is made of it.

use http::header::HOST;
use http::{HeaderValue, Request, Uri};

/// The host as sent, with its port if there is one. Nothing if it is missing, sent twice, or no host.
pub fn asked<B>(request: &Request<B>) -> Option<&str> {
    // HTTP/2 and the absolute form have it in the URI, which then counts (RFC 9112 section 3.2.2).
    let text = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => {
            let mut sent = request.headers().get_all(HOST).iter();
            let first = sent.next()?;
            if sent.next().is_some() {
                return None;
            }
            first.to_str().ok()?
        }
    };
    is_host(text).then_some(text)
}

/// Whether this is a name or address with or without a port.
fn is_host(text: &str) -> bool {
    let (name, port) = split(text);
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let good_name = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    text.len() <= 255 && !name.is_empty() && good_name && good_port
}

/// The name and the port.
fn split(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

/// The same place under https at this port.
pub fn secure(host: &str, port: u16, uri: &Uri) -> Option<HeaderValue> {
    let (name, _) = split(host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    path.starts_with('/').then(|| HeaderValue::try_from(format!("https://{name}{port}{path}")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["vpn.example.com", "192.0.2.1:8443", "[2001:db8::1]", "[::1]:443", "localhost", "my_host"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ":443", "a b", "a/b", "a@b", "a:0", "a:65536", "a:b", "[::1", "::1", "[x]", "a\"b", "é"] {
            assert!(!is_host(bad), "{bad}");
        }
        assert!(!is_host(&"a".repeat(256)));
    }

    #[test]
    fn the_secure_place_has_the_public_port() {
        let uri: Uri = "/a/b?c=d".parse().expect("a path");
        let secure = |host, port| secure(host, port, &uri).expect("ASCII");
        assert_eq!(secure("vpn.example.com", 443), "https://vpn.example.com/a/b?c=d");
        assert_eq!(secure("vpn.example.com:80", 8443), "https://vpn.example.com:8443/a/b?c=d");
        assert_eq!(secure("[::1]:80", 443), "https://[::1]/a/b?c=d");
    }
}
