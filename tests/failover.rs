//! Availability groups: when the hosts of one are gone, another one's run its servers, and clients come back by themselves,
//! with the profile that they have.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::Appliance;
use culvert_tests::console::Console;
use culvert_tests::estate::Estate;
use culvert_tests::lines::until;
use culvert_tests::openvpn::{Client, ping};
use culvert_tests::story::{id, profile};
use http::Method;
use serde_json::json;

/// How soon a server runs elsewhere: a host that vanishes is lost after 10 s at the most, and its instance's lease ends at
/// about that time. Those who are to run it then look every 5 s.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// How long a client takes to find the host that serves: it asks one after the other.
const CONNECTED: Duration = Duration::from_secs(40);

/// How soon a client gives a host up that does not answer.
const IMPATIENT: [&str; 2] = ["--server-poll-timeout", "3"];

/// The address of the server in its tunnel.
const INSIDE: &str = "10.40.0.1";

/// A host, and its console.
struct Site {
    appliance: Appliance,
    id: String,
    console: Console,
}

impl Site {
    fn of(estate: &Estate, number: u8, appliance: Appliance, credentials: &(String, String)) -> Result<Self> {
        let id = appliance.culvert(&["host", "id"])?.trim().to_string();
        let site = Self { appliance, id, console: estate.console(number, credentials)? };
        let group = if number == 1 { "north" } else { "south" };
        let body = json!({ "name": format!("host{number}"), "availability_group": group });
        site.console.expect(Method::PUT, &format!("/host/{}", site.id), Some(&body))?;
        Ok(site)
    }

    /// Waits until this host, and no other, runs the server; how long that took.
    fn until_it_runs(&self, server: &str, deadline: Duration) -> Result<Duration> {
        let begun = Instant::now();
        until("the server on this host", deadline, || {
            let running = self.running(server)? == [self.id.clone()] && self.appliance.openvpns()?.len() == 1;
            Ok(running.then(|| begun.elapsed()))
        })
    }

    /// The hosts on which the server runs.
    fn running(&self, server: &str) -> Result<Vec<String>> {
        let hosts = self.console.get(&format!("/server/{server}/host"))?;
        let online = hosts.as_array().context("a list of hosts")?.iter().filter(|host| host["status"] == "online");
        online.map(id).collect()
    }

    /// When the task last ended that has servers run by another group.
    fn looked(&self) -> Result<Option<u64>> {
        let tasks = self.console.get("/v1/tasks")?;
        let tasks = tasks.as_array().context("a list of tasks")?;
        Ok(tasks.iter().find(|task| task["id"] == "failover").and_then(|task| task["finished"].as_u64()))
    }

    /// Waits until administrators are told that this group runs the server.
    fn told(&self, group: &str) -> Result<()> {
        let text = format!("The availability group \"{group}\" runs server lab now.");
        until(&text, Duration::from_secs(30), || {
            let log = self.console.get("/log")?;
            let told = log.as_array().context("a list")?.iter().any(|entry| entry["message"] == text.as_str());
            Ok(told.then_some(()))
        })
    }
}

/// A server of one instance that hosts of both groups may run, and the profile of a user.
fn server(console: &Console, other: &str) -> Result<(String, String)> {
    let organization = id(&console.expect(Method::POST, "/organization", Some(&json!({ "name": "acme" })))?)?;
    let body = json!({ "name": "lab", "network": "10.40.0.0/24", "port": 1194, "protocol": "udp", "cipher": "aes256",
        "hash": "sha256", "ping_interval": 1, "ping_timeout": 6 });
    let server = id(&console.expect(Method::POST, "/server", Some(&body))?)?;
    console.expect(Method::PUT, &format!("/server/{server}/organization/{organization}"), None)?;
    console.expect(Method::PUT, &format!("/server/{server}/host/{other}"), None)?;
    let made = console.expect(Method::POST, &format!("/user/{organization}"), Some(&json!({ "name": "alice" })))?;
    let profile = profile(console, &organization, &id(&made[0])?, &server)?;
    Ok((server, profile))
}

#[test]
fn another_group_takes_over_and_clients_come_back() -> Result<()> {
    let estate = Estate::new()?;
    let first = estate.start(1)?;
    let credentials = first.credentials()?;
    let second = estate.start(2)?;
    let mut north = Site::of(&estate, 1, first, &credentials)?;
    let south = Site::of(&estate, 2, second, &credentials)?;
    let (server, profile) = server(&north.console, &south.id)?;
    north.told("north").context("the first host's group was there first")?;
    north.console.expect(Method::PUT, &format!("/server/{server}/operation/start"), None)?;
    north.until_it_runs(&server, Duration::from_secs(10))?;
    let client = Client::start(&estate.hub, &profile, None, &IMPATIENT)?;
    client.connected(CONNECTED)?;
    ping(&estate.hub, INSIDE)?;
    ensure!(south.appliance.openvpns()?.is_empty(), "the other group stands by");

    north.appliance.pull_the_plug()?;
    let killed = Instant::now();
    let took = south.until_it_runs(&server, TAKEN_OVER)?;
    println!("the other group runs the server {} ms after the host was killed", took.as_millis());
    south.told("south")?;
    until("the client back", CONNECTED, || Ok((client.connections() == 2).then_some(())))?;
    println!("its client is back after {} ms", killed.elapsed().as_millis());
    ping(&estate.hub, INSIDE)?;

    // The first group is there again: there is no need to have clients connect once more.
    let before = south.looked()?;
    north.appliance.start_again()?;
    until("a look at who is to run it", Duration::from_secs(30), || {
        let there = south.console.get(&format!("/host/{}", north.id))?["status"] == "online";
        Ok((there && south.looked()? > before).then_some(()))
    })?;
    ensure!(south.running(&server)? == [south.id.clone()] && north.appliance.openvpns()?.is_empty());
    ping(&estate.hub, INSIDE)?;
    ensure!(client.connections() == 2, "the tunnel stays");
    Ok(())
}
