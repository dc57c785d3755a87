//! What goes inward, what comes back, what is refused.

mod kit;

use http::Method;
use kit::{JSON, Stand, ok, request, with_status};

const ID: &str = "5f0000000000000000000001";

#[tokio::test]
async fn a_request_goes_inward_made_anew() {
    let stand = Stand::new(|_| ok("[]")).await;
    let path = format!("/user/{ID}?colour=red&page=2&search=a%20b&search=c&limit=");
    let headers = [
        ("auth-token", "token"),
        ("auth-nonce", "nonce"),
        ("cookie", "session=s"),
        ("csrf-token", "c"),
        ("culvert-client", "10.0.0.1"),
        ("pr-validated", "true"),
        ("x-forwarded-for", "10.0.0.1"),
        ("user-agent", "test"),
    ];
    let answer = stand.send(request(Method::GET, &path, &headers, "")).await;
    assert_eq!(answer.status, 200);
    let asked = stand.asked().remove(0);
    assert_eq!(asked.target, format!("/user/{ID}?page=2&search=a%20b"));
    assert_eq!(asked.header("culvert-client"), Some("127.0.0.1"));
    assert_eq!(asked.header("culvert-host"), Some("vpn.example.com"));
    let mut names: Vec<_> = asked.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    let listed = ["auth-nonce", "auth-token", "cookie", "csrf-token", "culvert-client", "culvert-host", "host"];
    assert_eq!(names, listed);
}

#[tokio::test]
async fn a_body_goes_inward_as_what_it_was_parsed_into() {
    let stand = Stand::new(|_| ok("{}")).await;
    let body = r#"{"NAME": "Acme", "colour": "red", "auth_api": null} and more"#;
    let json = ("content-type", "application/json; charset=utf-8");
    for _ in 0..2 {
        assert_eq!(stand.send(request(Method::POST, "/organization", &[json], body)).await.status, 200);
    }
    let asked = stand.asked().remove(0);
    assert_eq!(asked.body, r#"{"name":"Acme"}"#);
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("content-length"), Some("15"));
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_ignored() {
    let stand = Stand::new(|_| ok("{}")).await;
    for (method, path) in [(Method::GET, "/state".to_owned()), (Method::DELETE, format!("/organization/{ID}"))] {
        assert_eq!(stand.send(request(method, &path, &[], "null")).await.status, 200);
    }
    assert!(stand.asked().iter().all(|asked| asked.body.is_empty() && !asked.headers.contains_key("content-type")));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_never_seen_by_the_api() {
    let stand = Stand::new(|_| ok("{}")).await;
    let organization = "/organization";
    let user = format!("/user/{ID}");
    let long = "x".repeat(100_000);
    let large = format!(r#"{{"name":"{long}"}}"#);
    let nonce = [("auth-nonce", &long[..300])];
    type Case<'c> = (Method, &'c str, &'c [(&'c str, &'c str)], &'c str, u16, &'c str);
    let cases: Vec<Case<'_>> = vec![
        (Method::GET, "/no/such/path", &[], "", 404, "not_found"),
        (Method::GET, "/organization/../admin", &[], "", 404, "not_found"),
        (Method::GET, "/organization/zzzzzzzzzzzzzzzzzzzzzzzz", &[], "", 404, "not_found"),
        (Method::GET, "/server/5F0000000000000000000001", &[], "", 404, "not_found"),
        (Method::GET, "/s/secret.txt", &[], "", 404, "not_found"),
        (Method::DELETE, organization, &[], "", 405, "method_not_allowed"),
        (Method::PATCH, organization, &[], "", 405, "method_not_allowed"),
        (Method::HEAD, "/state", &[], "", 405, ""),
        (Method::POST, "/", &[], "", 405, "method_not_allowed"),
        (Method::POST, organization, &[], "{}", 415, "content_type_invalid"),
        (Method::POST, organization, &[("content-type", "text/plain")], "{}", 415, "content_type_invalid"),
        (Method::POST, organization, &[JSON], &large, 413, "body_too_large"),
        (Method::POST, organization, &[JSON], "", 400, "body_invalid"),
        (Method::POST, organization, &[JSON], "{", 400, "body_invalid"),
        (Method::POST, organization, &[JSON], "[]", 400, "body_invalid"),
        (Method::POST, organization, &[JSON], r#"{"name": 5}"#, 400, "body_invalid"),
        (Method::GET, "/organization?page=one", &[], "", 400, "query_invalid"),
        (Method::GET, &user, &nonce, "", 431, "header_too_long"),
        (Method::GET, &user, &[("host", "a b")], "", 400, "host_invalid"),
        (Method::GET, &user, &[("host", "a/b")], "", 400, "host_invalid"),
    ];
    for (method, path, headers, body, status, error) in cases {
        let answer = stand.send(request(method.clone(), path, headers, body)).await;
        assert_eq!(answer.status, status, "{method} {path} {:?}", answer.body);
        if method != Method::HEAD {
            assert_eq!(answer.error(), error, "{method} {path}");
        }
        assert!(answer.header("strict-transport-security").is_some(), "{method} {path}");
    }
    let answer = stand.send(request(Method::POST, organization, &[JSON], r#"{"auth_api": "yes"}"#)).await;
    assert_eq!(answer.message(), "auth_api: expected true or false");
    let answer = stand.send(request(Method::DELETE, organization, &[], "")).await;
    assert_eq!(answer.header("allow"), Some("GET, POST"));
    assert!(stand.asked().is_empty(), "{:?}", stand.asked());
}

#[tokio::test]
async fn only_listed_headers_come_back_and_the_proxys_own() {
    let stand = Stand::new(|_| {
        let mut answer = ok("{}");
        for (name, value) in [
            ("server", "inner"),
            ("x-inner", "1"),
            ("content-disposition", "attachment; filename=\"a.tar\""),
            ("x-frame-options", "ALLOW"),
        ] {
            answer.headers_mut().insert(name, value.parse().expect("ASCII"));
        }
        answer.headers_mut().append("set-cookie", "session=a".parse().expect("ASCII"));
        answer.headers_mut().append("set-cookie", "token=b".parse().expect("ASCII"));
        answer
    })
    .await;
    for answer in
        [stand.get("/state").await, stand.send2(request(Method::GET, "https://localhost/state", &[], "")).await]
    {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"a.tar\""));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert_eq!(answer.header("server"), None);
        assert_eq!(answer.header("x-inner"), None);
    }
}

#[tokio::test]
async fn errors_of_the_api_come_back_as_they_are() {
    let stand = Stand::new(|_| with_status(http::StatusCode::UNAUTHORIZED)).await;
    assert_eq!(stand.get("/state").await.status, 401);
}

#[tokio::test]
async fn the_console_is_served_without_the_api() {
    let stand = Stand::bare(1000, 1000).await;
    for path in ["/", "/login"] {
        let page = stand.get(path).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").is_some());
        let tag = page.header("etag").expect("a tag");
        let again = stand.send(request(Method::GET, path, &[("if-none-match", tag)], "")).await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        let head = stand.send(request(Method::HEAD, path, &[], "")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(page.body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn a_slash_too_many_is_a_redirect() {
    let stand = Stand::new(|_| ok("{}")).await;
    let answer = stand.get("/organization/?page=1").await;
    assert_eq!((answer.status, answer.header("location")), (301, Some("/organization?page=1")));
    let answer = stand.send(request(Method::POST, "/organization/", &[JSON], "{}")).await;
    assert_eq!((answer.status, answer.header("location")), (307, Some("/organization")));
}

#[tokio::test]
async fn the_plain_port_redirects_and_answers_monitors() {
    let stand = Stand::new(|asked| if asked.target == "/ping" { ok("OK") } else { ok("no") }).await;
    let answer =
        stand.send_plain(request(Method::GET, "/organization?page=1", &[("host", "vpn.example.com:80")], "")).await;
    assert_eq!(answer.status, 301);
    assert_eq!(answer.header("location"), Some("https://vpn.example.com:8443/organization?page=1"));
    let answer = stand.send_plain(request(Method::GET, "/ping", &[], "")).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"OK"[..]));
    let answer = stand.send_plain(request(Method::GET, "/", &[("host", "a\"b")], "")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(stand.asked().len(), 1);
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let stand = Stand::new(|asked| ok(if asked.target.ends_with("page=1") { "[1]" } else { "[]" })).await;
    let stream = stand.tls(&["http/1.1"]).await.expect("a handshake");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    for page in 0..50 {
        let path = format!("/organization?page={page}");
        let response = sender.send_request(request(Method::GET, &path, &[], "")).await.expect("an answer");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
        assert_eq!(body, if page == 1 { "[1]" } else { "[]" });
        sender.ready().await.expect("it stays open");
    }
}
