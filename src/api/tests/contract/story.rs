//! The main job as far as the api does it, with a queue that makes what is asked for and a stand-in for `vpn`'s records.

use std::time::Duration;

use crate::kit::{Console, World};
use culvert_model::record::{Connection, Instance, InstanceState, Server};
use culvert_model::{HostId, Id, Kind, Slot};
use culvert_records::{Bus, News, Query, insert, update};
use serde_json::{Value, json};

pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// Says of every server that is to run that it does, as `vpn` would, or that it failed.
async fn stand_in(bus: Bus, host: HostId, fails: bool) {
    let mut news = bus.subscribe(&[Kind::Server]).await;
    loop {
        let (News::Gap | News::Changed(_)) = news.next().await;
        for server in bus.list::<Server>(Query::by("by_name")).await.expect("servers") {
            let id = Instance::name(server.record.id, 0);
            let there = bus.get::<Instance>(&id).await.expect("an instance");
            let state = match (server.record.online, fails) {
                (false, _) => InstanceState::Idle,
                (true, false) => InstanceState::Online,
                (true, true) => InstanceState::Failed,
            };
            let instance = Instance {
                id,
                server: server.record.id,
                host: Some(host),
                slot: Slot::try_from(0).ok(),
                state,
                since: 1,
                reason: fails.then(|| "the port is in use".into()),
                certificate: None,
            };
            let write = match there {
                Some(there) if there.record.state == state => continue,
                Some(there) => update(&instance, there.unchanged()),
                None => insert(&instance),
            };
            bus.write(vec![write]).await.expect("written");
        }
    }
}

/// An organisation with a user, and a server that it is attached to.
pub async fn set_up(world: &World, console: &Console) -> (String, String, String) {
    let organization = world.ask(console, "POST", "/organization", Some(json!({ "name": "Ac me" }))).await.good();
    assert_eq!(text(&organization, "name"), "Acme", "blanks vanish from names");
    assert!(text(&organization, "expiration").starts_with("20"));
    let organization = text(&organization, "id").to_owned();
    let new = json!({ "name": "zoe", "email": "zoe@example.org" });
    let users = world.ask(console, "POST", &format!("/user/{organization}"), Some(new)).await.good();
    assert_eq!(users.as_array().map(Vec::len), Some(1));
    let user = text(&users[0], "id").to_owned();
    let new = json!({ "name": "office", "protocol": "udp", "port": 1194, "cipher": "aes256", "hash": "sha256" });
    let server = world.ask(console, "POST", "/server", Some(new)).await.good();
    assert_eq!(text(&server, "status"), "offline");
    let server = text(&server, "id").to_owned();
    let attach = format!("/server/{server}/organization/{organization}");
    assert_eq!(text(&world.ask(console, "PUT", &attach, None).await.good(), "name"), "Acme");
    (organization, user, server)
}

#[tokio::test]
async fn the_main_job() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    let (organization, user, server) = set_up(&world, &console).await;
    let host = world.api.own_host().await.expect("a store").expect("a host").record.id;
    tokio::spawn(stand_in(world.vpn.clone(), host, false));

    let started = world.ask(&console, "PUT", &format!("/server/{server}/operation/start"), None).await.good();
    assert_eq!((text(&started, "status"), started["user_count"].as_u64()), ("online", Some(1)));
    let route = format!("/server/{server}/route/382e382e382e382f3332");
    assert_eq!(world.ask(&console, "DELETE", &route, None).await.bad(400), "server_route_online");

    // Somebody connects.
    let (server_id, user_id): (Id, Id) = (server.parse().expect("id"), user.parse().expect("id"));
    let connection = Connection {
        id: Id::new(),
        server: server_id,
        host,
        user: user_id,
        organization: organization.parse().expect("id"),
        client: 1,
        real_address: "198.51.100.7".into(),
        virtual_address: "192.168.1.2".parse().expect("an address"),
        platform: Some("linux".into()),
        device_name: None,
        since: 1_700_000_000,
        serial: None,
    };
    world.vpn.insert(&connection).await.expect("written");
    let shown = world.get(&console, &format!("/user/{organization}/{user}")).await.good();
    assert_eq!(shown["status"], true);
    assert_eq!(text(&shown["servers"][0], "virt_address"), "192.168.1.2");
    assert_eq!(world.get(&console, "/status").await.good()["users_online"], 1);
    assert_eq!(world.get(&console, &format!("/server/{server}")).await.good()["devices_online"], 1);

    let stopped = world.ask(&console, "PUT", &format!("/server/{server}/operation/stop"), None).await.good();
    assert_eq!(text(&stopped, "status"), "offline");
    assert_eq!(world.ask(&console, "DELETE", &route, None).await.good(), Value::Null);
    assert_eq!(world.ask(&console, "DELETE", &route, None).await.good(), Value::Null, "it is gone already");

    // Removing the organisation removes everything under it.
    assert_eq!(world.ask(&console, "DELETE", &format!("/organization/{organization}"), None).await.good(), json!({}));
    assert_eq!(world.get(&console, &format!("/user/{organization}/{user}")).await.status, 404);
    assert_eq!(world.get(&console, &format!("/server/{server}/organization")).await.good(), json!([]));
    assert_eq!(
        world.ask(&console, "PUT", &format!("/server/{server}/operation/start"), None).await.bad(400),
        "server_no_organization"
    );
    for kind in [Query::by("by_pool").equal(&organization)] {
        let left = world.api.bus.count::<culvert_model::record::Certificate>(kind).await.expect("a number");
        assert_eq!(left, 0, "no certificate is left");
    }
    assert_eq!(world.ask(&console, "DELETE", &format!("/server/{server}"), None).await.good(), json!({}));
    assert_eq!(world.ask(&console, "DELETE", &format!("/server/{server}"), None).await.bad(404), "not_found");
    let log = world.get(&console, "/log").await.good();
    assert!(log.as_array().is_some_and(|lines| lines.len() >= 7), "{log}");
}

#[tokio::test]
async fn a_server_that_fails_is_not_to_run() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    let (_, _, server) = set_up(&world, &console).await;
    let host = world.api.own_host().await.expect("a store").expect("a host").record.id;
    tokio::spawn(stand_in(world.vpn.clone(), host, true));
    let answer = world.ask(&console, "PUT", &format!("/server/{server}/operation/start"), None).await;
    assert_eq!(answer.bad(500), "server_start_failed");
    assert!(answer.text().contains("the port is in use"), "{answer:?}");
    assert_eq!(text(&world.get(&console, &format!("/server/{server}")).await.good(), "status"), "offline");
}

#[tokio::test]
async fn profiles_and_links() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    let (organization, user, server) = set_up(&world, &console).await;
    let answer = world.get(&console, &format!("/data/{organization}/{user}/{server}.key")).await;
    assert_eq!(answer.headers["content-type"], "application/ovpn");
    assert_eq!(answer.headers["content-disposition"], "attachment; filename=\"Acme_zoe_office.ovpn\"");
    let profile = answer.text();
    for part in ["client\n", " 1194 udp\n", "<ca>\n-----BEGIN CERTIFICATE-----\n", "<tls-crypt>\n", "</key>\n"] {
        assert!(profile.contains(part), "{part}: {profile}");
    }
    assert!(!profile.contains("auth-user-pass"));

    let tar = world.get(&console, &format!("/data/{organization}/{user}.tar")).await;
    assert_eq!(tar.headers["content-disposition"], "attachment; filename=\"zoe.tar\"");
    assert!(tar.bytes.starts_with(b"Acme_zoe_office.ovpn\0"));

    let link = world.get(&console, &format!("/data/{organization}/{user}")).await.good();
    let nobody = Console::default();
    assert_eq!(world.get(&nobody, text(&link, "key_url")).await.status, 200);
    let named = world.get(&nobody, text(&link, "uri_url")).await.good();
    assert!(named["Acme_zoe_office.ovpn"].as_str().is_some_and(|text| text.contains("</tls-crypt>")), "{named}");
    let page = world.get(&nobody, text(&link, "view_url")).await;
    assert!(page.text().contains(&format!("/key/{}/{server}.key", text(&link, "id"))), "{page:?}");
    let key = format!("/key/{}/{server}.key", text(&link, "id"));
    assert_eq!(world.get(&nobody, &key).await.status, 200);

    // A new link replaces the old one, and disabled users have none.
    let newer = world.get(&console, &format!("/key/{organization}/{user}")).await.good();
    assert_eq!(world.get(&nobody, text(&link, "key_url")).await.status, 404);
    let pin = json!({ "name": "zoe", "pin": "123456" });
    let changed = world.ask(&console, "PUT", &format!("/user/{organization}/{user}"), Some(pin)).await.good();
    assert_eq!((changed["pin"].as_bool(), changed["disabled"].as_bool()), (Some(true), Some(false)));
    let named = world.get(&nobody, text(&newer, "uri_url")).await.text();
    assert!(named.contains("auth-user-pass") && named.contains("password_mode"), "{named}");
    let disabled = json!({ "name": "zoe", "disabled": true, "pin": true });
    let changed = world.ask(&console, "PUT", &format!("/user/{organization}/{user}"), Some(disabled)).await.good();
    assert_eq!((changed["pin"].as_bool(), changed["disabled"].as_bool()), (Some(true), Some(true)));
    assert_eq!(world.get(&nobody, text(&newer, "uri_url")).await.status, 403);
    assert_eq!(world.ask(&nobody, "DELETE", text(&newer, "view_url"), None).await.good(), json!({}));
    assert_eq!(world.get(&nobody, text(&newer, "uri_url")).await.status, 404);
}

#[tokio::test]
async fn users_as_lists_pages_and_searches() {
    let world = World::new().await;
    world.start_queue();
    let console = world.log_in().await;
    // The keys are not what is looked at here.
    let quick = json!({ "user_key": "rsa-2048" });
    assert_eq!(world.ask(&console, "PUT", "/v1/settings", Some(quick)).await.good()["user_key"], "rsa-2048");
    let organization = world.ask(&console, "POST", "/organization", Some(json!({ "name": "o" }))).await.good();
    let organization = text(&organization, "id").to_owned();
    let new: Vec<Value> = (0..12).map(|number| json!({ "name": format!("user{number:02}") })).collect();
    let path = format!("/user/{organization}/multi");
    let made = world.ask(&console, "POST", &path, Some(new[..10].into())).await.good();
    assert_eq!(made.as_array().map(Vec::len), Some(10));
    world.ask(&console, "POST", &path, Some(new[10..].into())).await.good();
    let path = format!("/user/{organization}");
    assert_eq!(world.get(&console, &path).await.good().as_array().map(Vec::len), Some(12));
    let page = world.get(&console, &format!("{path}?page=1")).await.good();
    assert_eq!((page["page_total"].as_u64(), page["users"].as_array().map(Vec::len)), (Some(1), Some(2)));
    assert_eq!(text(&page["users"][0], "name"), "user10");
    let found = world.get(&console, &format!("{path}?search=USER0&limit=3")).await.good();
    assert_eq!(found["search_count"], 10);
    assert_eq!((found["search_more"].as_bool(), found["users"].as_array().map(Vec::len)), (Some(true), Some(3)));
    let found = world.get(&console, &format!("{path}?search=status:online")).await.good();
    assert_eq!(found["search_count"], 0);
    let wrong = world.ask(&console, "POST", &path, Some(json!({ "name": "x", "pin": "1234" }))).await;
    assert_eq!(wrong.bad(400), "pin_too_short");
    assert_eq!(wrong.json()["field"], "pin");
    let wrong = world.ask(&console, "POST", &path, Some(json!({ "name": 5 }))).await;
    assert_eq!((wrong.bad(400).as_str(), wrong.json()["field"].as_str()), ("body_invalid", Some("name")));
    let user = text(&made[0], "id");
    assert_eq!(world.ask(&console, "DELETE", &format!("{path}/{user}"), None).await.good(), json!({}));
    assert_eq!(world.get(&console, &format!("{path}/{user}")).await.status, 404);
    assert_eq!(world.get(&console, &format!("/organization/{organization}")).await.good()["user_count"], 11);
}

#[tokio::test]
async fn servers_routes_and_hosts() {
    let world = World::new().await;
    let console = world.log_in().await;
    let new =
        json!({ "name": "s", "protocol": "tcp", "cipher": "aes128", "hash": "sha1", "mss_fix": "0", "policy": null });
    let server = world.ask(&console, "POST", "/server", Some(new.clone())).await.good();
    let id = text(&server, "id").to_owned();
    let routes = format!("/server/{id}/route");
    let listed = world.get(&console, &routes).await.good();
    let networks: Vec<&str> = listed.as_array().expect("a list").iter().map(|route| text(route, "network")).collect();
    assert_eq!(networks, ["0.0.0.0/0", text(&server, "network"), "8.8.8.8/32"]);
    assert_eq!(listed[1]["virtual_network"], true);
    let route = json!({ "network": "10.9.0.0/16", "nat": true, "comment": "lab", "metric": 7 });
    let added = world.ask(&console, "POST", &routes, Some(route)).await.good();
    assert_eq!((text(&added, "id"), added["metric"].as_u64()), ("31302e392e302e302f3136", Some(7)));
    let wrong = json!([{ "network": "10.8.0.0/16" }, { "network": "10.9.0.1/16" }]);
    assert_eq!(
        world.ask(&console, "POST", &format!("/server/{id}/routes"), Some(wrong)).await.bad(400),
        "server_route_invalid"
    );
    assert_eq!(world.get(&console, &routes).await.good().as_array().map(Vec::len), Some(4), "all or none");
    let gateway = json!({ "net_gateway": true, "nat": true });
    let path = format!("{routes}/31302e392e302e302f3136");
    assert_eq!(world.ask(&console, "PUT", &path, Some(gateway)).await.bad(400), "server_route_net_gateway_nat");

    let hosts = world.get(&console, &format!("/server/{id}/host")).await.good();
    assert_eq!(hosts.as_array().map(Vec::len), Some(1), "this host was attached");
    let host = text(&hosts[0], "id").to_owned();
    let change = json!({ "name": "edge", "public_address": "VPN.example.org" });
    let changed = world.ask(&console, "PUT", &format!("/host/{host}"), Some(change)).await.good();
    assert_eq!((text(&changed, "name"), text(&changed, "public_address")), ("edge", "vpn.example.org"));
    assert_eq!(text(&changed, "status"), "online");
    assert_eq!(world.ask(&console, "DELETE", &format!("/host/{host}"), None).await.bad(400), "host_online");
    assert_eq!(world.ask(&console, "DELETE", &format!("/server/{id}/host/{host}"), None).await.good(), json!({}));
    assert_eq!(world.get(&console, &format!("/server/{id}/host")).await.good(), json!([]));

    let conflict = world.ask(&console, "PUT", &format!("/server/{id}"), Some(json!({ "protocol": "sctp" }))).await;
    assert_eq!(conflict.bad(400), "protocol_invalid");
    let unsupported = json!({ "name": "t", "protocol": "udp", "cipher": "aes128", "hash": "sha1", "wg": true });
    let answer = world.ask(&console, "POST", "/server", Some(unsupported)).await;
    assert_eq!((answer.bad(400).as_str(), answer.json()["field"].as_str()), ("not_supported", Some("wg")));
}

#[tokio::test]
async fn events_wake_a_console() {
    let world = World::new().await;
    let console = world.log_in().await;
    let server = json!({ "name": "s", "protocol": "udp", "cipher": "aes128", "hash": "sha1" });
    let (polled, made) = tokio::join!(world.get(&console, "/event"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.ask(&console, "POST", "/server", Some(server)).await.good()
    });
    let events = polled.good();
    let kinds = |events: &Value| -> Vec<String> {
        let list = events.as_array().expect("a list").clone();
        list.iter().map(|event| format!("{}:{}", text(event, "type"), event["resource_id"])).collect()
    };
    let expected = format!("server_routes_updated:\"{}\"", text(&made, "id"));
    assert!(kinds(&events).contains(&"servers_updated:null".to_owned()), "{events}");
    assert!(kinds(&events).contains(&expected), "{events}");
    assert!(events[0]["timestamp"].is_f64());

    // A cursor that nobody knows means that something may have been missed.
    let all = world.get(&console, "/event/5f0000000000000000000001").await.good();
    assert!(kinds(&all).contains(&"users_updated:null".to_owned()), "{all}");
    // The last one's id leads on from there, and nothing more happens.
    let last = all.as_array().and_then(|list| list.last()).map(|event| text(event, "id").to_owned()).expect("events");
    let quiet = world.get(&console, &format!("/event/{last}")).await.good();
    let quiet = kinds(&quiet);
    assert!(quiet.iter().all(|kind| kind.starts_with("log_updated") || kind.starts_with("hosts_updated")), "{quiet:?}");
}
