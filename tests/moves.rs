//! Records that move: a single appliance becomes a cluster by one command, and one again; nothing is lost on the way, and
//! no tunnel drops.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::appliance::Setup;
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::Town;
use culvert_tests::openvpn::{Client, Pings};
use culvert_tests::story::Story;
use serde_json::json;

/// An appliance where `culvert join` and `culvert leave` decide, and a database that it reaches.
fn scene() -> Result<(Story, ReplicaSet)> {
    let town = Town::new()?;
    let database = ReplicaSet::start_in(town.server.name(), std::net::Ipv4Addr::LOCALHOST.into(), 1)?;
    Ok((Story::begin(town, Setup::new("", Town::SERVER))?, database))
}

/// A file with a database's URI.
fn uri(story: &Story, uri: &str) -> Result<String> {
    let file = story.appliance.state().join("test-uri");
    std::fs::write(&file, uri)?;
    Ok(format!("@{}", file.display()))
}

/// The embedded stores that were set aside.
fn aside(story: &Story) -> Result<Vec<PathBuf>> {
    let all = std::fs::read_dir(story.appliance.state().join("bus"))?;
    let paths = all.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let name = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("moved-"));
    Ok(paths.into_iter().filter(|path| name(path) && path.extension().is_some_and(|it| it == "sqlite")).collect())
}

fn everything(story: &Story, organization: &str) -> Result<serde_json::Value> {
    let mut users = story.console.get(&format!("/user/{organization}"))?;
    let mut organizations = story.console.get("/organization")?;
    for shown in users.as_array_mut().into_iter().flatten().chain(organizations.as_array_mut().into_iter().flatten()) {
        // What changes by itself.
        for field in ["last_active", "status", "servers"] {
            shown.as_object_mut().map(|shown| shown.remove(field));
        }
    }
    Ok(json!([organizations, users]))
}

#[test]
fn an_appliance_joins_an_empty_database_and_leaves_it_again() -> Result<()> {
    let (story, database) = scene()?;
    let organization = story.organization("acme")?;
    let user = story.user(&organization, "alice", None)?;
    for number in 0..5 {
        story.user(&organization, &format!("user{number}"), None)?;
    }
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;
    let client = Client::start(&story.client, &story.profile(&organization, &user, &server)?, None, &[])?;
    client.connected(Duration::from_secs(20))?;
    let before = everything(&story, &organization)?;
    let pings = Pings::start(&story.client, "10.40.0.1")?;

    let at = uri(&story, &database.uri("culvert"))?;
    println!("{}", story.appliance.culvert(&["join", &at])?);
    ensure!(everything(&story, &organization)? == before, "all records are there, and the login goes on");
    ensure!(aside(&story)?.len() == 1, "the former store is kept");
    ensure!(!story.appliance.state().join("bus/store.sqlite").exists(), "it is no longer in use");
    let again = story.appliance.culvert(&["join", &at]).expect_err("it is a member").to_string();
    ensure!(again.contains("member of a cluster already"), "{again}");
    story.user(&organization, "bob", None)?;
    let shown = story.console.get(&format!("/server/{server}"))?;
    ensure!(shown["status"] == "online" && shown["users_online"] == 1, "{shown}");

    println!("{}", story.appliance.culvert(&["leave"])?);
    until("the appliance on its own store", Duration::from_secs(10), || {
        Ok(story.console.get(&format!("/user/{organization}")).ok().filter(|users| users.to_string().contains("bob")))
    })?;
    story.user(&organization, "carol", None)?;
    let shown = story.console.get(&format!("/server/{server}"))?;
    ensure!(shown["status"] == "online" && shown["users_online"] == 1, "{shown}");
    let refused = story.appliance.culvert(&["join", &at]).expect_err("the records were taken along").to_string();
    ensure!(refused.contains("took this database's records along"), "{refused}");
    let pinged = pings.stop()?;
    println!("{pinged:?}");
    Ok(())
}
