//! Several at the same time: hosts that begin, administrators who make users, one who deletes what another uses.

use std::collections::BTreeSet;

use culvert_api::{first, server};
use culvert_contract::body::ServerChange;
use culvert_model::Id;
use culvert_model::record::{Admin, AdminSecret, Certificate, CertificateState, Server, User};
use culvert_records::Query;
use serde_json::json;

use crate::kit::{World, together};

#[tokio::test]
async fn of_several_hosts_one_makes_the_first_administrator() {
    let world = World::new().await;
    for admin in world.api.bus.list::<Admin>(Query::by("by_username")).await.expect("administrators") {
        world.api.bus.delete::<Admin>(admin.record.id).await.expect("deleted");
        world.api.bus.delete::<AdminSecret>(admin.record.id).await.expect("deleted");
    }
    let others: Vec<_> = ["a", "b", "c", "d"].map(|name| world.other(name)).into_iter().collect();
    for other in &others {
        tokio::spawn(first::keep(other.clone()));
    }
    for other in &others {
        other.first.subscribe().wait_for(|there| *there).await.expect("it is kept");
    }
    assert_eq!(world.api.bus.count::<Admin>(Query::by("by_username")).await.expect("a number"), 1);
    assert_eq!(world.api.bus.count::<AdminSecret>(Query::all()).await.expect("a number"), 1);
    world.log_in().await;
}

#[tokio::test]
async fn users_made_at_the_same_time_have_certificates_of_their_own() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    let quick = json!({ "user_key": "rsa-2048" });
    world.ask(&console, "PUT", "/v1/settings", Some(quick)).await.good();
    let organization = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    let path = format!("/user/{}", organization["id"].as_str().expect("an id"));
    // There is no pool: each waits for its own, or takes what another's job left.
    let new = (0..8).map(|number| world.ask(&console, "POST", &path, Some(json!({ "name": format!("u{number}") }))));
    let made = together(new).await;
    let ids: BTreeSet<String> =
        made.iter().map(|answer| answer.good()[0]["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids.len(), 8);
    let users = world.api.bus.list::<User>(Query::by("by_organization")).await.expect("users");
    let certificates: BTreeSet<_> = users.iter().map(|user| user.record.certificate).collect();
    assert_eq!((users.len(), certificates.len()), (8, 8));
    for user in users {
        let certificate = world.api.bus.get::<Certificate>(user.record.certificate).await.expect("a store");
        let certificate = certificate.expect("it is there").record;
        assert_eq!((certificate.state, certificate.subject), (CertificateState::Taken, user.record.id));
    }
}

#[tokio::test]
async fn nobody_comes_into_an_organization_that_is_deleted() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    let quick = json!({ "user_key": "rsa-2048" });
    world.ask(&console, "PUT", "/v1/settings", Some(quick)).await.good();
    let organization = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    let id = organization["id"].as_str().expect("an id");
    let path = format!("/user/{id}");
    let new = together((0..4).map(|_| world.ask(&console, "POST", &path, Some(json!({ "name": "u" })))));
    let whole = format!("/organization/{id}");
    let (made, removed) = tokio::join!(new, world.ask(&console, "DELETE", &whole, None));
    assert_eq!(removed.good(), json!({}));
    assert!(made.iter().all(|answer| [200, 404, 409, 503].contains(&answer.status.as_u16())), "{made:?}");
    assert_eq!(world.api.bus.count::<User>(Query::by("by_organization")).await.expect("a number"), 0);
}

/// Each would count on the other.
#[tokio::test]
async fn two_super_users_cannot_dismiss_each_other() {
    let world = World::new().await;
    let console = world.log_in().await;
    let bus = &world.api.bus;
    let first = bus.list::<Admin>(Query::by("by_username")).await.expect("administrators").remove(0).record;
    let second = Admin { id: Id::new(), username: "second".into(), token: "x".repeat(32), ..first.clone() };
    let secret = bus.get::<AdminSecret>(first.id).await.expect("a store").expect("it is there").record;
    bus.insert(&second).await.expect("it is made");
    bus.insert(&AdminSecret { id: second.id, ..secret }).await.expect("it is made");
    for _ in 0..8 {
        let dismiss = [&first, &second].map(|admin| {
            let body = json!({ "username": admin.username, "super_user": false });
            let (world, console, path) = (&world, &console, format!("/admin/{}", admin.id));
            async move { world.ask(console, "PUT", &path, Some(body)).await }
        });
        let answers = together(dismiss.into_iter()).await;
        let left = bus.list::<Admin>(Query::by("by_username")).await.expect("administrators");
        let supers: Vec<_> = left.into_iter().filter(|admin| admin.record.super_user).collect();
        assert_eq!(supers.len(), 1, "{answers:?}");
        for mut admin in bus.list::<Admin>(Query::by("by_username")).await.expect("administrators") {
            admin.record.super_user = true;
            bus.update(&mut admin).await.expect("it is changed");
        }
    }
}

/// A login that is being checked while the password is changed has none of it.
#[tokio::test]
async fn no_login_with_the_old_password_outlives_it() {
    let world = World::new().await;
    let console = world.log_in().await;
    let mut old = first::password(&world.api).await.unwrap_or_else(|no| panic!("{no:?}")).password;
    for round in 0..6 {
        let new = format!("new-password-{round}");
        let change = world.ask(&console, "PUT", "/settings", Some(json!({ "password": new })));
        let late = (0..3).map(|_| {
            let body = json!({ "username": "admin", "password": old });
            world.send("POST", "/auth/session", &[], Some(body))
        });
        let (changed, answers) = tokio::join!(change, together(late));
        changed.good();
        for answer in answers.iter().filter(|answer| answer.status == 200) {
            let cookie = answer.headers["set-cookie"].to_str().expect("ASCII").split(';').next().expect("a pair");
            assert_eq!(world.send("GET", "/state", &[("cookie", cookie)], None).await.status, 401, "round {round}");
        }
        old = new;
    }
}

/// By two hosts, neither of which knows of the other's choice.
#[tokio::test]
async fn servers_made_at_the_same_time_have_networks_and_ports_of_their_own() {
    let world = World::new().await;
    let console = world.log_in().await;
    let other = world.other("other");
    let new = (0..24).map(|number| {
        let (world, console) = (&world, &console);
        let body = json!({ "name": format!("s{number}"), "network": "", "protocol": "udp", "cipher": "aes256", "hash": "sha256" });
        async move { world.ask(console, "POST", "/server", Some(body)).await }
    });
    let there = (0..24).map(|number| {
        let name = format!("t{number}");
        let change = ServerChange {
            name,
            protocol: "udp".into(),
            cipher: "aes256".into(),
            hash: "sha256".into(),
            ..ServerChange::default()
        };
        let other = &other;
        async move { server::create(other, &change).await }
    });
    let (here, there) = tokio::join!(together(new), together(there));
    assert!(here.iter().all(|answer| answer.status == 200), "{here:?}");
    assert!(there.iter().all(Result::is_ok), "{there:?}");
    let servers = world.api.bus.list::<Server>(Query::all()).await.expect("servers");
    let networks: BTreeSet<_> = servers.iter().map(|server| server.record.network).collect();
    let ports: BTreeSet<_> = servers.iter().map(|server| server.record.port).collect();
    assert_eq!((servers.len(), networks.len(), ports.len()), (48, 48, 48));
}
