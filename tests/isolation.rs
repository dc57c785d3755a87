//! Invariant 1: the only open ports are those of the table, the api is reached by the proxy alone, and whoever takes the
//! proxy's place, with its user, sandbox and sockets, reaches nothing but the api.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Result, ensure};
use culvert_tests::appliance::{Appliance, Setup, binaries};
use culvert_tests::lines::until;
use culvert_tests::namespace::{Town, succeed};
use culvert_tests::story::Story;
use serde_json::json;

#[test]
fn an_intruder_in_the_proxys_place_reaches_nothing_but_the_api() -> Result<()> {
    let town = Town::new()?;
    let (server, client) = (std::sync::Arc::new(town.server), town.client);
    // What it must not reach: a service on the host's loopback interface that greets everybody.
    let victim = server.enter(|| std::net::TcpListener::bind("127.0.0.1:18555"))??;
    std::thread::spawn(move || {
        for stream in victim.incoming().flatten() {
            let _ = (&stream).write_all(b"welcome");
        }
    });
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    for entry in std::fs::read_dir(binaries())?.flatten() {
        let name = entry.file_name();
        let plain = name.to_str().is_some_and(|name| name.starts_with("culvert") && !name.contains('.'));
        if plain && name != "culvert-proxy" && entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.path().join(&name))?;
        }
    }
    symlink(folder.path().join("culvert-intruder"), folder.path().join("culvert-proxy"))?;
    let setup = Setup { binaries: folder.path().into(), ..Setup::new("embedded", Town::SERVER) };
    let appliance = Appliance::start(&server, setup)?;
    let connection = client.enter(|| std::net::TcpStream::connect((Town::SERVER, 443)))??;
    let log = until("the intruder is done", Duration::from_secs(30), || {
        let log = appliance.log();
        Ok(log.contains("intruder: done").then_some(log))
    })?;
    drop(connection);
    let attempts: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("intruder: ").map(|(_, told)| told)).collect();
    println!("{attempts:#?}");
    ensure!(attempts.len() >= 14, "{attempts:#?}");
    for attempt in attempts.iter().filter(|attempt| **attempt != "done") {
        let expected = if ["the api: ", "an accepted socket: "].iter().any(|may| attempt.starts_with(may)) {
            "reached"
        } else {
            "blocked"
        };
        ensure!(attempt.ends_with(expected), "{attempt}");
    }
    Ok(())
}

#[test]
fn the_guard_in_the_firewall_holds_by_itself() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let victim = story.server.enter(|| std::net::TcpListener::bind("127.0.0.1:18556"))??;
    // Without sandbox, in the host's own namespace: only the firewall is left to stop it.
    let connect = "import socket; socket.create_connection(('127.0.0.1', 18556), 2)";
    let try_as = |user: &str| {
        let mut command = story.server.command("setpriv");
        command.args(["--reuid", user, "--clear-groups", "/usr/bin/env", "python3", "-c", connect]);
        command.output().map(|output| output.status.success())
    };
    ensure!(try_as("nobody")?, "the service answers others");
    ensure!(!try_as("culvert-proxy")?, "the proxy's user reached a service of the host");
    drop(victim);
    Ok(())
}

#[test]
fn nothing_listens_but_what_the_table_names() -> Result<()> {
    let story = Story::begin(Town::new()?, Setup::new("embedded", Town::SERVER))?;
    let organization = story.organization("acme")?;
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;
    let listening = succeed(story.server.command("ss").args(["-H", "-l", "-n", "-t", "-u"]))?;
    let mut ports: Vec<&str> = listening
        .lines()
        .filter_map(|line| line.split_whitespace().nth(4)?.rsplit_once(':').map(|(_, port)| port))
        .collect();
    ports.sort_unstable();
    ensure!(ports == ["1194", "443", "80"], "{listening}");

    let api = story.server.enter(|| std::net::TcpStream::connect("127.0.0.1:9756"))?;
    ensure!(api.is_err(), "the api is reached from the host");
    Ok(())
}

#[test]
fn a_headless_member_listens_nowhere_but_for_its_clients() -> Result<()> {
    let town = Town::new()?;
    let server = std::sync::Arc::new(town.server);
    let mut setup = Setup::new("embedded", Town::SERVER);
    setup.headless = true;
    let appliance = Appliance::start(&server, setup)?;
    let listening = succeed(server.command("ss").args(["-H", "-l", "-n", "-t", "-u"]))?;
    ensure!(listening.trim().is_empty(), "{listening}");
    ensure!(appliance.process("proxy").is_none(), "a headless member has no proxy");
    let status: serde_json::Value = serde_json::from_str(&appliance.culvert(&["status", "-o", "json"])?)?;
    ensure!(status.is_object(), "{status}");
    Ok(())
}
