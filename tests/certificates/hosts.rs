//! The same with two hosts on MongoDB: what is revoked at one is refused at the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::{Appliance, Setup};
use culvert_tests::console::Console;
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::network::{Machine, Network};
use culvert_tests::openvpn::{Client, ping};
use culvert_tests::story::id;
use http::Method;
use serde_json::json;

use super::{SOON, connects, part, refused, verdict};

/// How soon what was changed at one host is so at the other.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// Two hosts that run a server each, and a client that reaches both.
struct Hosts {
    // Dropped in this order: the appliances before the database and the machines.
    _appliances: [Appliance; 2],
    _set: ReplicaSet,
    consoles: [Console; 2],
    machines: [Machine; 2],
    client: Machine,
    _network: Network,
    organization: String,
    server: String,
}

impl Hosts {
    fn new() -> Result<Self> {
        let network = Network::new()?;
        let database = network.machine("database", 11)?;
        let set = ReplicaSet::start_in(database.namespace.name(), database.address, 1)?;
        let client = network.machine("client", 31)?;
        let machines = [network.machine("host", 21)?, network.machine("host", 22)?];
        let start = |machine: &Machine| {
            Appliance::start(&machine.namespace, Setup::new(&set.uri("culvert"), &machine.address.to_string()))
        };
        let appliances = [start(&machines[0])?, start(&machines[1])?];
        let credentials = appliances[0].credentials()?;
        let console = |machine: &Machine| {
            let mut console = Console::new(&client.namespace, &machine.address.to_string());
            console.log_in(&credentials).map(|()| console)
        };
        let consoles = [console(&machines[0])?, console(&machines[1])?];
        let [one, _] = &consoles;
        one.expect(Method::PUT, "/v1/settings", Some(&json!({ "user_key": "p-256" })))?;
        let organization = id(&one.expect(Method::POST, "/organization", Some(&json!({ "name": "acme" })))?)?;
        let server = json!({ "name": "lab", "network": "10.40.0.0/24", "port": 1194, "protocol": "udp",
            "cipher": "aes256", "hash": "sha256", "replica_count": 2 });
        let server = id(&one.expect(Method::POST, "/server", Some(&server))?)?;
        one.expect(Method::PUT, &format!("/server/{server}/organization/{organization}"), None)?;
        let hosts = one.get("/host")?;
        for host in hosts.as_array().context("a list of hosts")? {
            one.expect(Method::PUT, &format!("/server/{server}/host/{}", id(host)?), None)?;
        }
        one.expect(Method::PUT, &format!("/server/{server}/operation/start"), None)?;
        until("the server on both hosts", SOON, || {
            let hosts = one.get(&format!("/server/{server}/host"))?;
            let online = hosts.as_array().context("a list")?.iter().filter(|host| host["status"] == "online");
            Ok((online.count() == 2).then_some(()))
        })?;
        Ok(Self {
            _appliances: appliances,
            _set: set,
            consoles,
            machines,
            client,
            _network: network,
            organization,
            server,
        })
    }

    fn user(&self, name: &str) -> Result<String> {
        let made = self.consoles[0].expect(
            Method::POST,
            &format!("/user/{}", self.organization),
            Some(&json!({ "name": name })),
        )?;
        id(&made[0])
    }

    /// A user's profile that knows one of the hosts only.
    fn profile(&self, user: &str, host: usize) -> Result<String> {
        let path = format!("/data/{}/{user}/{}.key", self.organization, self.server);
        let profile = self.consoles[host].ask(Method::GET, &path, None)?;
        ensure!(profile.status == 200, "profile: {} {}", profile.status, profile.text());
        let (host, text) = (format!("remote {} ", self.machines[host].address), profile.text());
        let lines = text.lines().filter(|line| !line.starts_with("remote ") || line.starts_with(&host));
        Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
    }

    fn connects(&self, profile: &str) -> Result<Client> {
        connects(&self.client.namespace, profile)
    }

    /// Nobody gets in with this profile from a second after this time on.
    fn refused(&self, profile: &str, since: Instant) -> Result<()> {
        until("a second", ELSEWHERE * 2, || Ok((since.elapsed() >= ELSEWHERE).then_some(())))?;
        refused(&self.client.namespace, profile)
    }
}

#[test]
fn what_is_revoked_at_one_host_is_refused_at_the_other() -> Result<()> {
    let hosts = Hosts::new()?;
    let [one, two] = &hosts.consoles;
    let (alice, bob) = (hosts.user("alice")?, hosts.user("bob")?);
    let profiles = [hosts.profile(&alice, 0)?, hosts.profile(&alice, 1)?];
    for profile in &profiles {
        hosts.connects(profile)?.stop()?;
    }

    // Deleted at one while connected at the other.
    let mut client = hosts.connects(&profiles[1])?;
    ping(&hosts.client.namespace, "10.40.0.1")?;
    one.expect(Method::DELETE, &format!("/user/{}/{alice}", hosts.organization), None)?;
    let deleted = Instant::now();
    client.ended(ELSEWHERE).context("thrown out at the other host")?;
    println!("thrown out at the other host {} ms after the answer to the request", deleted.elapsed().as_millis());
    for profile in &profiles {
        hosts.refused(profile, deleted)?;
    }

    // A key that is in wrong hands, at the other one.
    let old = [hosts.profile(&bob, 0)?, hosts.profile(&bob, 1)?];
    let mut client = hosts.connects(&old[0])?;
    let of = format!("/v1/organizations/{}/users/{bob}", hosts.organization);
    two.expect(Method::POST, &format!("{of}/renewal"), Some(&json!({ "compromised": true })))?;
    until("the new certificate", SOON, || {
        Ok((two.get(&format!("{of}/certificates"))?.as_array().map(Vec::len) == Some(2)).then_some(()))
    })?;
    let renewed = Instant::now();
    client.ended(ELSEWHERE).context("cut off at the one")?;
    for profile in &old {
        hosts.refused(profile, renewed)?;
    }
    let new = [hosts.profile(&bob, 0)?, hosts.profile(&bob, 1)?];
    ensure!(part(&new[0], "cert")? == part(&new[1], "cert")? && part(&new[0], "cert")? != part(&old[0], "cert")?);
    for profile in &new {
        hosts.connects(profile)?.stop()?;
    }

    // Both are on the list, whichever host is asked.
    for machine in &hosts.machines {
        let stranger = Console::new(&hosts.client.namespace, &machine.address.to_string());
        until("a list with both", SOON, || {
            let list = stranger.ask(Method::GET, &format!("/v1/organizations/{}/crl", hosts.organization), None)?;
            let revoked = verdict(&list.body, &profiles[0])?.is_some() && verdict(&list.body, &old[0])?.is_some();
            Ok((revoked && verdict(&list.body, &new[0])?.is_none()).then_some(()))
        })?;
    }
    Ok(())
}
