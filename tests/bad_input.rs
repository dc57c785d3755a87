//! Refused input gets an error that says what was wrong, and changes nothing (invariant 12).

use anyhow::{Result, ensure};
use bytes::Bytes;
use culvert_tests::appliance::Setup;
use culvert_tests::namespace::Town;
use culvert_tests::story::Story;
use http::Method;
use serde_json::json;

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let before = story.console.get("/organization")?;
    let console = &story.console;
    let json = Some("application/json");
    let status =
        |method: Method, path: &str, content_type: Option<&str>, body: &'static [u8]| -> Result<(u16, String)> {
            let answer = console.raw(method, path, content_type, Bytes::from_static(body))?;
            Ok((answer.status, answer.text()))
        };

    ensure!(status(Method::GET, "/no/such/path", None, b"")?.0 == 404);
    ensure!(status(Method::GET, "/organization/../admin", None, b"")?.0 == 404);
    ensure!(status(Method::GET, "/organization/zzzzzzzzzzzzzzzzzzzzzzzz", None, b"")?.0 == 404);
    ensure!(status(Method::GET, "/organization/5f0000000000000000000001", None, b"")?.0 == 404);
    ensure!(status(Method::PATCH, "/organization", None, b"")?.0 == 405);
    ensure!(status(Method::DELETE, "/organization", None, b"")?.0 == 405);
    ensure!(status(Method::POST, "/organization", Some("text/plain"), b"{}")?.0 == 415);
    ensure!(status(Method::POST, "/organization", None, b"{\"name\":\"x\"}")?.0 == 415);
    for body in [&b"{\"name\":5}"[..], b"{\"name\":[\"x\"]}", b"{\"name\":{}}"] {
        let (code, text) = status(Method::POST, "/organization", json, body)?;
        ensure!(code == 400 && text.contains("name"), "{code} {text}");
    }
    for body in [&b""[..], b"{", b"[]", b"\"x\"", b"{\"name\":\"\xff\"}"] {
        let (code, text) = status(Method::POST, "/organization", json, body)?;
        ensure!(code == 400, "{body:?}: {code} {text}");
    }
    let long = json!({ "name": "x".repeat(100_000) });
    ensure!(console.ask(Method::POST, "/organization", Some(&long))?.status == 413);
    // Few bytes that would become many, of somebody who need not have logged in.
    let many = json!(vec![json!({}); 20_000]);
    let answer = console.ask(Method::POST, &format!("/user/{organization}/multi"), Some(&many))?;
    ensure!(answer.status == 400 && answer.text().contains("at most 5000"), "{}", answer.text());
    let (code, text) = status(Method::POST, "/server", json, b"{\"name\":\"x\",\"port\":\"1194\"}")?;
    ensure!(code == 400 && text.contains("port"), "{code} {text}");
    let invalid =
        json!({ "name": "x", "network": "10.0.0.1/24", "protocol": "udp", "cipher": "aes256", "hash": "sha1" });
    let answer = console.ask(Method::POST, "/server", Some(&invalid))?;
    ensure!(answer.status == 400 && answer.json()?["error"] == "network_invalid", "{}", answer.text());

    ensure!(console.get("/organization")? == before, "organizations were changed");
    ensure!(console.get("/server")? == json!([]), "a server was made");
    ensure!(console.get(&format!("/user/{organization}"))? == json!([]), "a user was made");
    Ok(())
}

#[test]
fn nobody_gets_in_without_credentials() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let mut nobody = story.console.clone();
    nobody.forget("csrf-token");
    ensure!(nobody.ask(Method::GET, "/organization", None)?.status == 401, "a session without its CSRF token");
    nobody.forget("cookie");
    for path in ["/organization", "/server", "/host", "/settings", "/state", "/status", "/log", "/event", "/admin"] {
        ensure!(nobody.ask(Method::GET, path, None)?.status == 401, "{path} answers nobody");
    }
    // What a client says of itself is not passed on as the proxy's word.
    nobody.set("pr-validated", "true");
    nobody.set("culvert-client", "127.0.0.1");
    ensure!(nobody.ask(Method::GET, "/organization", None)?.status == 401, "a header let somebody in");

    let wrong = json!({ "username": "admin", "password": "wrong-password" });
    ensure!(nobody.ask(Method::POST, "/auth/session", Some(&wrong))?.status == 401);
    Ok(())
}

#[test]
fn a_signed_request_counts_once() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let console = &story.console;
    let admin = console.get("/admin")?[0].clone();
    let path = format!("/admin/{}", admin["id"].as_str().unwrap_or_default());
    let changed = json!({ "username": admin["username"], "super_user": true, "auth_api": true });
    let admin = console.expect(Method::PUT, &path, Some(&changed))?;
    let (token, secret) = (admin["token"].as_str().unwrap_or_default(), admin["secret"].as_str().unwrap_or_default());

    let nonce = "0123456789abcdef0123456789abcdef";
    ensure!(console.signed(token, secret, Method::GET, "/organization", nonce)?.status == 200, "signed");
    ensure!(console.signed(token, secret, Method::GET, "/organization", nonce)?.status == 401, "replayed");
    let other = "1123456789abcdef0123456789abcdef";
    ensure!(console.signed(token, "another-secret-altogether", Method::GET, "/organization", other)?.status == 401);
    Ok(())
}

#[test]
fn too_many_requests_are_shed() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let wrong = json!({ "username": "admin", "password": "wrong-password" });
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(story.console.ask(Method::POST, "/auth/session", Some(&wrong))?.status);
    }
    ensure!(
        statuses.iter().any(|status| [400, 429].contains(status)),
        "forty wrong passwords were tried: {statuses:?}"
    );
    Ok(())
}
