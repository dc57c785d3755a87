//! Several hosts on one database, each in a network of its own: each is seen by all, what is changed at one is heard at the
//! others, and one that vanishes is seen to be gone.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::{Appliance, Setup};
use culvert_tests::console::Console;
use culvert_tests::events::Events;
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::network::{Machine, Network};
use http::Method;
use serde_json::{Value, json};

/// How soon others see that a host is there, and what was changed elsewhere.
const SEEN: Duration = Duration::from_secs(1);

/// How soon a host is offline that vanished.
const GONE: Duration = Duration::from_secs(10);

/// How soon consoles are told of that by an event: the task that looks for lost hosts is due when a lease could end.
const TOLD: Duration = Duration::from_secs(12);

/// A database, and machines around it.
struct World {
    _network: Network,
    database: Machine,
    set: ReplicaSet,
    client: Machine,
    machines: Vec<Machine>,
}

impl World {
    fn new() -> Result<Self> {
        let network = Network::new()?;
        let database = network.machine("database", 11)?;
        let set = ReplicaSet::start_in(database.namespace.name(), database.address, 1)?;
        let client = network.machine("client", 31)?;
        let machines = (0..3).map(|number| network.machine("host", 21 + number)).collect::<Result<_>>()?;
        Ok(Self { _network: network, database, set, client, machines })
    }

    fn start(&self, host: usize, headless: bool) -> Result<Appliance> {
        let machine = &self.machines[host];
        let setup = Setup { headless, ..Setup::new(&self.set.uri("culvert"), &machine.address.to_string()) };
        Appliance::start(&machine.namespace, setup)
    }

    fn console(&self, host: usize, credentials: &(String, String)) -> Result<Console> {
        let mut console = Console::new(&self.client.namespace, &self.machines[host].address.to_string());
        console.log_in(credentials)?;
        Ok(console)
    }

    /// How many hosts have a record.
    fn records(&self) -> Result<u64> {
        let count = self.set.command(0, json!({ "count": "hosts", "$db": "culvert" }))?;
        count["n"].as_u64().with_context(|| format!("no number in {count}"))
    }
}

/// The ids of the hosts that a console lists with this status.
fn listed(console: &Console, status: &str) -> Result<Vec<String>> {
    let hosts = console.get("/host")?;
    let hosts = hosts.as_array().context("a list of hosts")?.iter();
    let id = |host: &Value| host["id"].as_str().map(String::from).context("a host's id");
    hosts.filter(|host| host["status"] == status).map(id).collect()
}

/// Waits until a console lists so many hosts with this status, and gives how long after a time that was.
fn until_listed(console: &Console, status: &str, count: usize, since: Instant, deadline: Duration) -> Result<Duration> {
    until(&format!("{count} hosts {status}"), deadline, || {
        Ok((listed(console, status)?.len() == count).then(|| since.elapsed()))
    })
}

#[test]
fn hosts_come_and_go_and_hear_each_other() -> Result<()> {
    let world = World::new()?;
    let first = world.start(0, false)?;
    let credentials = first.credentials()?;
    let second = world.start(1, false)?;
    let consoles = [world.console(0, &credentials)?, world.console(1, &credentials)?];
    let events = [Events::listen(&consoles[0]), Events::listen(&consoles[1])];
    for console in &consoles {
        until_listed(console, "online", 2, Instant::now(), GONE)?;
    }

    let third = comes(&world, &consoles, &events)?;
    hears(&consoles, &events)?;
    let third = is_killed(third, &consoles, &events)?;
    is_cut_off(&world, &consoles[0], &events[0])?;
    drop((first, second, third));
    Ok(())
}

/// A third host, without a console, is seen in those of the others.
fn comes(world: &World, consoles: &[Console; 2], events: &[Events; 2]) -> Result<Appliance> {
    let begun = Instant::now();
    thread::scope(|scope| {
        let starting = scope.spawn(|| world.start(2, true));
        until("the new host's record", Duration::from_secs(30), || Ok((world.records()? == 3).then_some(())))?;
        let there = Instant::now();
        let look = |console| scope.spawn(move || until_listed(console, "online", 3, there, SEEN * 5));
        for (look, events) in consoles.iter().map(look).collect::<Vec<_>>().into_iter().zip(events) {
            let listed = look.join().expect("a console does not panic")?;
            // Nobody else has changed a host since.
            let told = events.after("hosts_updated", begun, SEEN * 5)?.saturating_sub(there - begun);
            println!(
                "a new host: listed online {} ms after its record was there, told {} ms after",
                listed.as_millis(),
                told.as_millis()
            );
            ensure!(listed < SEEN && told < SEEN, "a new host is seen too late");
        }
        starting.join().expect("starting does not panic")
    })
}

/// What is changed through the first host is told by the second, and the other way round.
fn hears(consoles: &[Console; 2], events: &[Events; 2]) -> Result<()> {
    let mut longest = Duration::ZERO;
    for round in 0..10 {
        let (here, there) = (&consoles[round % 2], &events[1 - round % 2]);
        let begun = Instant::now();
        here.expect(Method::POST, "/organization", Some(&json!({ "name": format!("acme{round}") })))?;
        let told = there.after("organizations_updated", begun, SEEN * 5)?;
        longest = longest.max(told);
        ensure!(told < SEEN, "round {round}: told after {told:?}");
        let listed = consoles[1 - round % 2].get("/organization")?.as_array().map_or(0, Vec::len);
        ensure!(listed == round + 1, "{listed} organisations are listed where the event was told");
    }
    println!("a change at one host was told at the other {} ms after the request at most", longest.as_millis());
    Ok(())
}

/// Everything of a host is killed.
fn is_killed(mut host: Appliance, consoles: &[Console; 2], events: &[Events; 2]) -> Result<Appliance> {
    let killed = Instant::now();
    host.kill_supervisor()?;
    for console in consoles {
        let gone = until_listed(console, "offline", 1, killed, TOLD)?;
        println!("a host that was killed: offline after {} ms", gone.as_millis());
        ensure!(gone < GONE + SEEN, "offline too late: {gone:?}");
    }
    for events in events {
        let told = events.after("log_updated", killed, TOLD)?;
        println!("a host that was killed: told after {} ms", told.as_millis());
    }
    host.start_again()?;
    until_listed(&consoles[0], "online", 3, Instant::now(), GONE)?;
    Ok(host)
}

/// The second host's cable to the database is cut.
fn is_cut_off(world: &World, console: &Console, events: &Events) -> Result<()> {
    let cut = Instant::now();
    world.machines[1].cut(&[world.database.address])?;
    let gone = until_listed(console, "offline", 1, cut, TOLD)?;
    // Its record is not touched by anybody else; it wrote it last when it came.
    let told = events.after("hosts_updated", cut + GONE / 2, TOLD)? + GONE / 2;
    println!("a host that was cut off: offline after {} ms, told after {} ms", gone.as_millis(), told.as_millis());
    ensure!(gone < GONE + SEEN, "offline too late: {gone:?}");
    world.machines[1].heal()?;
    let back = until_listed(console, "online", 3, Instant::now(), GONE)?;
    println!("a host that was cut off: online {} ms after its cable is whole", back.as_millis());
    Ok(())
}

/// What the kit is for: a machine that is cut off from another one, and only from that.
#[test]
fn a_cut_cuts() -> Result<()> {
    let network = Network::new()?;
    let [a, b, c] = [1, 2, 3].map(|number| network.machine("cut", number));
    let (a, b, c) = (a?, b?, c?);
    let reaches = |from: &Arc<culvert_tests::namespace::Namespace>, to: &Machine| {
        culvert_tests::openvpn::ping(from, &to.address.to_string()).is_ok()
    };
    ensure!(reaches(&a.namespace, &b) && reaches(&b.namespace, &a), "they are on one switch");
    a.cut(&[b.address])?;
    ensure!(!reaches(&a.namespace, &b) && !reaches(&b.namespace, &a), "it is cut off");
    ensure!(reaches(&a.namespace, &c), "from that one only");
    a.heal()?;
    ensure!(reaches(&a.namespace, &b), "it is healed");
    Ok(())
}
