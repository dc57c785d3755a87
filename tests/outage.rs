//! The database is away for longer than every lease: two hosts, a running server, a client that is connected. What is
//! remembered is answered and marked, what must write is put off, the tunnel stays; when the database is back, so is
//! everything, and nobody has taken what is another's.
//!
//! Long mode, with outages of so many seconds:
//! `CULVERT_SECONDS=45 cargo test -p culvert-tests --test outage -- --nocapture`

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::{Appliance, Setup};
use culvert_tests::console::Answer;
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::Town;
use culvert_tests::network::{Machine, Network};
use culvert_tests::openvpn::{Client, Pings, ping};
use culvert_tests::story::Story;
use http::Method;
use serde_json::{Value, json};

/// How long the database is frozen, and then how long it is gone. The longest lease is one of 15 s.
const OUTAGE: u64 = 16;

/// How soon all is normal after the database can be written again.
const NORMAL: Duration = Duration::from_secs(1);

/// How soon it is plain that it is away.
const PLAIN: Duration = Duration::from_secs(10);

/// A story whose appliance shares a database with another host.
struct World {
    story: Story,
    other: Appliance,
    set: ReplicaSet,
    _machines: [Machine; 2],
    _network: Network,
    outage: Duration,
}

impl World {
    fn new() -> Result<Self> {
        let seconds = std::env::var("CULVERT_SECONDS").map_or(Ok(OUTAGE), |text| text.parse())?;
        let (network, town) = (Network::new()?, Town::new()?);
        network.attach(&town.server, 21, IpAddr::from([10, 77, 0, 21]))?;
        let database = network.machine("database", 11)?;
        let set = ReplicaSet::start_in(database.namespace.name(), database.address, 1)?;
        let uri = set.uri("culvert");
        let story = Story::begin(town, Setup::new(&uri, Town::SERVER))?;
        let machine = network.machine("other", 22)?;
        let headless = Setup { headless: true, ..Setup::new(&uri, &machine.address.to_string()) };
        let other = Appliance::start(&machine.namespace, headless)?;
        let _machines = [database, machine];
        Ok(Self { story, other, set, _machines, _network: network, outage: Duration::from_secs(seconds) })
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.story.console.ask(method, path, body)
    }

    /// Whose every instance is, and under which epoch.
    fn instances(&self) -> Result<Vec<(String, i64)>> {
        let found = self.set.command(0, json!({ "find": "instances", "$db": "culvert" }))?;
        let all = found["cursor"]["firstBatch"].as_array().with_context(|| format!("no batch in {found}"))?;
        let held = |row: &Value| Some((row["host"].as_str()?.to_string(), row["epoch"].as_i64()?));
        all.iter().map(|row| held(row).with_context(|| format!("nobody's: {row}"))).collect()
    }

    /// Waits until the answers say that the database is away.
    fn goes_away(&self) -> Result<()> {
        until("the answers are marked", PLAIN, || {
            Ok(marked(&self.ask(Method::GET, "/organization", None)?).then_some(()))
        })
    }

    /// What is answered for as long as it is.
    fn is_away(&self) -> Result<()> {
        for path in ["/organization", "/host", "/server", "/state", "/admin", "/settings"] {
            let answer = self.ask(Method::GET, path, None)?;
            ensure!(answer.status == 200 && marked(&answer), "{path}: {} {:?}", answer.status, answer.headers);
        }
        let begun = Instant::now();
        let answer = self.ask(Method::POST, "/organization", Some(&json!({ "name": "never" })))?;
        ensure!(
            answer.status == 503 && answer.headers.contains_key("retry-after"),
            "{} {}",
            answer.status,
            answer.text()
        );
        ensure!(begun.elapsed() < Duration::from_secs(5), "put off after {:?}", begun.elapsed());
        ping(&self.story.client, "10.40.0.1")
    }

    /// How long after the primary can be written again something is written through the API, and nothing is marked.
    fn comes_back(&self, organization: &str) -> Result<Duration> {
        self.set.primary()?;
        let back = Instant::now();
        let (path, body) = (format!("/organization/{organization}"), json!({ "name": "acme" }));
        until("a write through the API", Duration::from_secs(20), || {
            Ok((self.ask(Method::PUT, &path, Some(&body))?.status == 200).then_some(()))
        })?;
        let written = back.elapsed();
        for path in ["/organization", "/host", "/server"] {
            let answer = self.ask(Method::GET, path, None)?;
            ensure!(answer.status == 200 && !marked(&answer), "{path}: {} {:?}", answer.status, answer.headers);
        }
        Ok(written)
    }
}

fn marked(answer: &Answer) -> bool {
    answer.headers.get("culvert-cached").is_some_and(|mark| mark == "true")
}

#[test]
fn the_database_is_away_for_longer_than_every_lease() -> Result<()> {
    let mut world = World::new()?;
    let story = &world.story;
    let organization = story.organization("acme")?;
    let user = story.user(&organization, "alice", None)?;
    let server = story.server(&organization, &json!({}))?;
    story.operate(&server, "start")?;
    let hosts = until("both hosts online", Duration::from_secs(15), || {
        let hosts = story.console.get("/host")?.as_array().cloned().unwrap_or_default();
        Ok((hosts.len() == 2 && hosts.iter().all(|host| host["status"] == "online")).then_some(hosts))
    })?;
    for host in &hosts {
        // The other one could run it now, but one instance is all that is wanted.
        let id = host["id"].as_str().context("a host's id")?;
        story.console.expect(Method::PUT, &format!("/server/{server}/host/{id}"), None)?;
    }
    let profile = story.profile(&organization, &user, &server)?;
    let client = Client::start(&story.client, &profile, None, &[])?;
    client.connected(Duration::from_secs(20))?;
    story.online(&organization, &user, true, Duration::from_secs(5))?;
    let pings = Pings::start(&story.client, "10.40.0.1")?;
    pings.answered(Duration::from_secs(5))?;
    let (before, openvpns) = (world.instances()?, story.appliance.openvpns()?);
    ensure!(before.len() == 1, "{before:?}");

    frozen(&world, &organization)?;
    killed(&mut world, &organization)?;

    // Longer than anybody waits who might want to take something.
    sleep(world.outage);
    let after = world.instances()?;
    println!("instances by host and epoch: {before:?}, behind the outages {after:?}");
    // Its own host claims it again once behind each outage, because the lease ran out; nobody else may.
    let kept =
        |(one, other): (&(String, i64), &(String, i64))| one.0 == other.0 && (0..=2).contains(&(other.1 - one.1));
    ensure!(after.len() == 1 && before.iter().zip(&after).all(kept), "{before:?} became {after:?}");
    ensure!(world.story.appliance.openvpns()? == openvpns, "openvpn is the same process");
    ensure!(world.other.openvpns()?.is_empty(), "the other host has started the server");
    ensure!(client.connections() == 1, "the client had to connect {} times", client.connections());
    let pinged = pings.stop()?;
    println!("{} pings, {} answers", pinged.sent, pinged.received);
    ensure!(pinged.longest_gap <= 1 && pinged.sent - pinged.received <= 2, "{pinged:?}: packets were lost");
    world.story.online(&organization, &user, true, Duration::from_secs(5)).map(drop)
}

/// It does not answer, and nobody says so.
fn frozen(world: &World, organization: &str) -> Result<()> {
    let begun = Instant::now();
    world.set.freeze(0)?;
    world.goes_away()?;
    println!("frozen: marked after {} ms", begun.elapsed().as_millis());
    world.is_away()?;
    sleep(world.outage.saturating_sub(begun.elapsed()));
    world.is_away()?;
    world.set.thaw(0)?;
    let back = world.comes_back(organization)?;
    println!("frozen for {} ms: written {} ms after it was back", begun.elapsed().as_millis(), back.as_millis());
    ensure!(back < NORMAL, "normal only after {back:?}");
    Ok(())
}

/// It is gone.
fn killed(world: &mut World, organization: &str) -> Result<()> {
    let begun = Instant::now();
    world.set.kill(0)?;
    world.goes_away()?;
    println!("killed: marked after {} ms", begun.elapsed().as_millis());
    world.is_away()?;
    sleep(world.outage.saturating_sub(begun.elapsed()));
    world.is_away()?;
    world.set.restart(0)?;
    let back = world.comes_back(organization)?;
    println!("gone for {} ms: written {} ms after it was back", begun.elapsed().as_millis(), back.as_millis());
    ensure!(back < NORMAL, "normal only after {back:?}");
    Ok(())
}
