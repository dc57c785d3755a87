//! Records that move: a single appliance becomes a cluster by one command, and one again; nothing is lost on the way, and
//! no tunnel drops.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::appliance::{Appliance, Setup, state_folder};
use culvert_tests::console::Console;
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::{Town, succeed};
use culvert_tests::openvpn::{Client, Pings};
use culvert_tests::story::Story;
use nix::sys::signal::Signal;
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

/// Another process of the bus's while it moves: it goes on by itself, and so does who watches.
#[test]
fn a_bus_that_is_killed_on_the_way_goes_on() -> Result<()> {
    let (story, database) = scene()?;
    let organization = story.organization("acme")?;
    story.user(&organization, "alice", None)?;
    let before = everything(&story, &organization)?;
    let at = uri(&story, &database.uri("culvert"))?;
    for (command, words) in [("join", vec!["join", at.as_str()]), ("leave", vec!["leave"])] {
        let kills = std::thread::scope(|scope| -> Result<u32> {
            let moving = scope.spawn(|| story.appliance.culvert(&words));
            let mut kills = 0;
            while !moving.is_finished() {
                // As soon as it runs again, until it has died four times.
                if kills < 4 && story.appliance.signal(&["bus"], Signal::SIGKILL).is_ok() {
                    kills += 1;
                }
                std::thread::sleep(Duration::from_millis(150));
            }
            println!("{}", moving.join().map_err(|_| anyhow::anyhow!("the command panicked"))??);
            Ok(kills)
        })?;
        println!("{command}: {kills} kills");
        let shown = until("the records", Duration::from_secs(10), || Ok(everything(&story, &organization).ok()))?;
        ensure!(shown == before, "{command}: {shown}");
    }
    Ok(())
}

#[test]
fn a_backup_restores_a_rebuilt_machine() -> Result<()> {
    let town = Town::new()?;
    let mut story = Story::begin(town, Setup::new("", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let user = story.user(&organization, "alice", None)?;
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;
    let profile = story.profile(&organization, &user, &server)?;
    let credentials = story.appliance.credentials()?;
    let folder = tempfile::tempdir()?;
    let (file, key) = (folder.path().join("backup"), folder.path().join("key"));
    std::fs::write(&key, "correct horse battery staple\n")?;
    let [file, key] = [&file, &key].map(|path| path.display().to_string());

    // While others write.
    let made = std::thread::scope(|scope| -> Result<String> {
        let backing_up = scope.spawn(|| story.appliance.culvert(&["backup", &file, "--passphrase-file", &key]));
        let mut number = 0;
        while !backing_up.is_finished() {
            number += 1;
            story.user(&organization, &format!("user{number}"), None)?;
        }
        backing_up.join().map_err(|_| anyhow::anyhow!("the command panicked"))?
    })?;
    println!("{made}");
    let again = story.appliance.culvert(&["backup", &file, "--passphrase-file", &key]).expect_err("it is there");
    ensure!(again.to_string().contains("there already"), "{again}");
    let running = story.appliance.culvert(&["restore", &file, "--passphrase-file", &key]).expect_err("it runs");
    ensure!(running.to_string().contains("Culvert is running"), "{running}");
    let host = std::fs::read_to_string(story.appliance.state().join("bus/host-id"))?;

    // The machine is gone, and with it its state. A new one, before its first start.
    let server_namespace = story.server.clone();
    let state = state_folder()?;
    let culvert = |words: &[&str]| {
        let mut command = server_namespace.command(Setup::new("", Town::SERVER).binaries.join("culvert"));
        succeed(command.args(words).arg("--state").arg(state.path()))
    };
    std::fs::write(folder.path().join("wrong"), "wrong horse battery staple\n")?;
    let wrong = folder.path().join("wrong").display().to_string();
    let refused =
        culvert(&["restore", &file, "--passphrase-file", &wrong]).expect_err("another passphrase").to_string();
    ensure!(refused.contains("passphrase is wrong"), "{refused}");
    let cut = folder.path().join("cut").display().to_string();
    let bytes = std::fs::read(&file)?;
    std::fs::write(&cut, &bytes[..bytes.len() - 100])?;
    let refused = culvert(&["restore", &cut, "--passphrase-file", &key]).expect_err("it is cut off").to_string();
    ensure!(refused.contains("damaged"), "{refused}");
    ensure!(!state.path().join("bus/store.sqlite").exists(), "nothing was put in place");
    println!("{}", culvert(&["restore", &file, "--passphrase-file", &key])?);
    ensure!(std::fs::read_to_string(state.path().join("bus/host-id"))? == host, "it is the same host");

    story.appliance.interrupt()?;
    story.appliance = Appliance::start_with(&server_namespace, Setup::new("", Town::SERVER), state)?;
    story.console = Console::new(&story.client, Town::SERVER);
    story.console.log_in(&credentials)?;
    until("the server online by itself", Duration::from_secs(30), || {
        Ok((story.console.get(&format!("/server/{server}"))?["status"] == "online").then_some(()))
    })?;
    let hosts = story.console.get("/host")?;
    ensure!(hosts.as_array().is_some_and(|hosts| hosts.len() == 1 && hosts[0]["status"] == "online"), "{hosts}");
    let client = Client::start(&story.client, &profile, None, &[])?;
    client.connected(Duration::from_secs(20))?;
    Ok(())
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
