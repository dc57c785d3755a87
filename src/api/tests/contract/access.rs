//! Who may do what: every route as nobody, logins, CSRF tokens, signatures.

use crate::kit::{Console, World};
use culvert_api::first;
use culvert_contract::{Access, Method, ROUTES, Route};
use culvert_model::Id;
use culvert_model::record::Admin;
use culvert_records::Query;
use serde_json::json;

/// A path of this route, with ids that nothing has.
fn example(route: &Route) -> String {
    let long = route.pattern.replace(
        "{code}",
        if route.pattern.starts_with("/key/") { "abcdefghijklmnopqrstuvwxyz234567" } else { "aBcD2345" },
    );
    [
        ("{organization}", "5f0000000000000000000001"),
        ("{user}", "5f0000000000000000000002"),
        ("{server}", "5f0000000000000000000003"),
        ("{admin}", "5f0000000000000000000004"),
        ("{cursor}", "5f0000000000000000000005"),
        ("{host}", "5f00000000000000000000000000000a"),
        ("{network}", "382e382e382e382f3332"),
        ("{operation}", "start"),
        ("{period}", "1m"),
        ("{action}", "retry"),
    ]
    .iter()
    .fold(long, |path, (place, value)| path.replace(place, value))
}

#[tokio::test]
async fn nobody_is_let_in_anywhere_but_where_it_is_declared() {
    let world = World::new().await;
    let garbage = Console { cookie: format!("session={}", "x".repeat(43)), csrf: "x".repeat(32) };
    for route in ROUTES {
        let path = example(route);
        assert!(!path.contains('{'), "{path}: name an example of its parameter here");
        for console in [&Console::default(), &garbage] {
            let body = (route.method != Method::Get).then(|| json!({}));
            let answer = world.ask(console, route.method.name(), &path, body).await;
            let what = (route.method.name(), &path, answer.status);
            match route.access {
                // What is named by its id need not be there.
                Access::None => {
                    let missing = answer.status == 404 && !route.pattern.contains('{');
                    assert!(!missing && answer.status != 405, "{what:?}");
                }
                // Nobody has this link, so it is not there; removing it does nothing.
                Access::Capability => assert!(answer.status == 404 || route.method == Method::Delete, "{what:?}"),
                Access::Session | Access::Admin | Access::SuperUser => assert_eq!(answer.status, 401, "{what:?}"),
            }
        }
    }
}

#[tokio::test]
async fn every_route_that_reads_answers_an_administrator() {
    let world = World::new().await;
    let console = world.log_in().await;
    for route in ROUTES.iter().filter(|route| route.method == Method::Get && !route.pattern.starts_with("/event")) {
        let path = example(route);
        let answer = world.get(&console, &path).await;
        let expected = if route.pattern.contains('{') { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn an_administrator_who_is_no_super_user() {
    let world = World::new().await;
    let console = world.log_in().await;
    let first = world.get(&console, "/admin").await.good()[0].clone();
    let password = json!({ "password": "a good password" });
    assert_eq!(world.ask(&console, "PUT", "/settings", Some(password)).await.status, 200);
    let stored = world.api.bus.list::<Admin>(Query::by("by_username")).await.expect("administrators").remove(0);
    let second = Admin { id: Id::new(), username: "second".into(), token: "x".repeat(32), ..stored.record.clone() };
    world.api.bus.insert(&second).await.expect("written");
    let mut changed = stored;
    changed.record.super_user = false;
    world.api.bus.update(&mut changed).await.expect("written");
    for route in ROUTES.iter().filter(|route| route.access == Access::SuperUser) {
        let path = example(route).replace("5f0000000000000000000004", first["id"].as_str().expect("an id"));
        let body = (route.method != Method::Get).then(|| json!({ "username": "x", "super_user": true }));
        let answer = world.ask(&console, route.method.name(), &path, body).await;
        assert_eq!(answer.bad(400), "requires_super_user", "{path}");
    }
    assert_eq!(world.get(&console, "/organization").await.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let world = World::new().await;
    let console = Console::default();
    assert_eq!(world.get(&console, "/nothing").await.bad(404), "not_found");
    assert_eq!(world.get(&console, "/organization/xyz").await.bad(404), "not_found");
    let answer = world.ask(&console, "DELETE", "/organization", None).await;
    assert_eq!(answer.bad(405), "method_not_allowed");
    assert_eq!(answer.headers["allow"], "GET, POST");
}

#[tokio::test]
async fn a_session_from_its_beginning_to_its_end() {
    let world = World::new().await;
    let wrong = json!({ "username": "admin", "password": "wrong" });
    assert_eq!(world.send("POST", "/auth/session", &[], Some(wrong)).await.bad(401), "auth_invalid");
    let unknown = json!({ "username": "nobody", "password": "wrong" });
    assert_eq!(world.send("POST", "/auth/session", &[], Some(unknown)).await.bad(401), "auth_invalid");

    let console = world.log_in().await;
    assert!(world.get(&console, "/settings").await.good()["default"].as_bool().expect("a truth value"));
    let without = Console { csrf: String::new(), ..console.clone() };
    assert_eq!(world.get(&without, "/settings").await.status, 401);
    assert_eq!(world.get(&without, "/state").await.status, 200);

    // A new password ends the generated one and all other logins.
    let other = world.log_in().await;
    let change = |password: &str| Some(json!({ "password": password, "theme": "light" }));
    assert_eq!(world.ask(&console, "PUT", "/settings", change("short")).await.bad(400), "password_too_short");
    let settings = world.ask(&console, "PUT", "/settings", change("a good password")).await.good();
    assert_eq!((settings["default"].as_bool(), settings["theme"].as_str()), (Some(false), Some("light")));
    assert_eq!(world.get(&other, "/state").await.status, 401);
    assert_eq!(world.get(&console, "/state").await.status, 200);
    assert_eq!(culvert_api::first::password(&world.api).await.err().map(|no| no.status.as_u16()), Some(404));
    world.log_in_as("ADMIN", "a good password").await;

    assert_eq!(world.ask(&console, "DELETE", "/auth/session", None).await.good()["authenticated"], false);
    assert_eq!(world.get(&console, "/state").await.status, 401);

    // The command line lets in who forgot it.
    let console = world.log_in_as("admin", "a good password").await;
    let new = culvert_api::first::reset(&world.api).await.unwrap_or_else(|no| panic!("{no:?}"));
    assert_eq!(world.get(&console, "/state").await.status, 401);
    world.log_in_as(&new.username, &new.password).await;
}

#[tokio::test]
async fn too_many_attempts() {
    let world = World::new().await;
    let wrong = || Some(json!({ "username": "admin", "password": "wrong" }));
    for _ in 0..30 {
        assert_eq!(world.send("POST", "/auth/session", &[], wrong()).await.bad(401), "auth_invalid");
    }
    assert_eq!(world.send("POST", "/auth/session", &[], wrong()).await.bad(429), "auth_too_many");
}

mod signed {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;

    async fn signed(world: &World, token: &str, secret: &str, nonce: &str, at: u64, path: &str) -> u16 {
        let plain = path.split('?').next().expect("a path");
        let text = format!("{token}&{at}&{nonce}&GET&{plain}");
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any key");
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let at = at.to_string();
        let headers = [
            ("auth-token", token),
            ("auth-timestamp", &at),
            ("auth-nonce", nonce),
            ("auth-signature", signature.as_str()),
        ];
        world.send("GET", path, &headers, None).await.status.as_u16()
    }

    #[tokio::test]
    async fn requests() {
        let world = World::new().await;
        let console = world.log_in().await;
        let admin = world.get(&console, "/admin").await.good()[0].clone();
        let (id, token, secret) = (
            admin["id"].as_str().expect("id"),
            admin["token"].as_str().expect("t"),
            admin["secret"].as_str().expect("s"),
        );
        let now = world.api.now().await.unwrap_or_else(|no| panic!("{no:?}")) / 1000;
        let nonce = |number: u32| format!("0123456789abcdef{number:016x}");
        assert_eq!(signed(&world, token, secret, &nonce(1), now, "/state").await, 401, "the API is off");

        let on = json!({ "username": "admin", "super_user": true, "auth_api": true });
        assert_eq!(world.ask(&console, "PUT", &format!("/admin/{id}"), Some(on)).await.good()["auth_api"], true);
        assert_eq!(signed(&world, token, secret, &nonce(2), now, "/state").await, 200);
        assert_eq!(signed(&world, token, secret, &nonce(2), now, "/state").await, 401, "a nonce is good once");
        assert_eq!(signed(&world, token, secret, &nonce(3), now, "/organization?page=0").await, 200, "no CSRF token");
        assert_eq!(signed(&world, token, secret, &nonce(4), now - 43_300, "/state").await, 401, "too old");
        assert_eq!(signed(&world, token, "wrong secret", &nonce(5), now, "/state").await, 401);
        assert_eq!(signed(&world, "unknown", secret, &nonce(6), now, "/state").await, 401);

        let off = json!({ "username": "admin", "super_user": true });
        let admin = world.ask(&console, "PUT", &format!("/admin/{id}"), Some(off)).await.good();
        assert_ne!(admin["token"], token, "switching it off makes new credentials");
        let demoted = json!({ "username": "admin" });
        assert_eq!(world.ask(&console, "PUT", &format!("/admin/{id}"), Some(demoted)).await.bad(400), "no_super_users");
    }
}

/// One address does not keep the hashing of passwords to itself, and uses up no administrator's attempts beyond its own.
#[tokio::test]
async fn attempts_to_log_in_are_counted_by_address_too() {
    let world = World::new().await;
    let first = first::password(&world.api).await.unwrap_or_else(|no| panic!("{no:?}"));
    let right = json!({ "username": first.username, "password": first.password });
    let wrong = json!({ "username": "nobody", "password": "x" });
    let log_in = async |client, body: &serde_json::Value| {
        world.send("POST", "/auth/session", &[("culvert-client", client)], Some(body.clone())).await.status.as_u16()
    };
    for _ in 0..200 {
        assert!([401, 429].contains(&log_in("2001:db8::1", &wrong).await));
    }
    assert_eq!(log_in("2001:db8::2", &right).await, 429, "another address of the same subscriber");
    assert_eq!(log_in("2001:db8:0:1::1", &right).await, 200, "another subscriber");
}

/// Guesses are held back for a while; they take no places from others, and are bounded themselves.
#[tokio::test]
async fn guessing_links_crowds_nobody_out() {
    let world = std::sync::Arc::new(World::new().await);
    let mut guesses = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let world = world.clone();
        guesses.spawn(async move {
            let answer = world.send("GET", "/k/aBcD2345", &[], None).await;
            (answer.status.as_u16(), answer.headers.contains_key("retry-after"))
        });
    }
    let answers = guesses.join_all().await;
    assert!(answers.iter().all(|answer| [(404, false), (429, true)].contains(answer)), "{answers:?}");
    let held = answers.iter().filter(|(status, _)| *status == 404).count();
    assert!((64..300).contains(&held), "{held} were held back");
}
