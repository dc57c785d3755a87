//! Three hosts' buses on one replica set of three members, writers and subscribers on each, and everything that can break
//! between them, for real: members and buses killed and frozen, hosts and members cut off, messages thrown away, a clock
//! that is an hour off. What everybody saw is then held against what is in the store (`culvert_tests::history`).
//!
//! Long mode, a random mixture by a seed that is printed:
//! `CULVERT_SECONDS=600 CULVERT_SEED=7 cargo test -p culvert-tests --test bus_faults -- --ignored --nocapture`

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use culvert_model::Kind;
use culvert_records::{Bus, News};
use culvert_tests::bus::{BusHost, as_user, user};
use culvert_tests::history::{History, Met};
use culvert_tests::lines::until;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::network::{Machine, Network};
use culvert_tests::workload::{Random, Workload, job, tally};
use nix::sys::signal::Signal;
use serde_json::json;

/// How long a fault lasts: longer than an election and than every deadline of a read.
const FAULT: Duration = Duration::from_secs(3);

/// Between two faults.
const CALM: Duration = Duration::from_millis(1000);

/// How soon writes are acknowledged again after a fault is over.
const BACK: Duration = Duration::from_secs(15);

/// The hosts, the database's members, and what connects them.
struct World {
    hosts: Vec<BusHost>,
    set: ReplicaSet,
    members: Vec<Machine>,
    _network: Network,
}

/// What can break.
#[derive(Debug, Clone, Copy)]
enum Fault {
    PrimaryKilled,
    PrimaryFrozen,
    PrimaryCutOff,
    PrimaryStepsDown,
    /// A host and the primary on one side, all others on the other.
    Split,
    HostCutOff,
    MessagesDropped,
    BusKilled,
    BusFrozen,
    BusEnded,
}

const FAULTS: [Fault; 10] = [
    Fault::PrimaryKilled,
    Fault::BusKilled,
    Fault::PrimaryFrozen,
    Fault::HostCutOff,
    Fault::PrimaryCutOff,
    Fault::BusFrozen,
    Fault::MessagesDropped,
    Fault::Split,
    Fault::BusEnded,
    Fault::PrimaryStepsDown,
];

/// Each case has the machine to itself.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Three hosts, the first of which has a clock that is an hour ahead, and three members.
    fn new() -> Result<Self> {
        Self::of(3, 3, None)
    }

    /// The same with so many, and with room for so many bytes of messages.
    fn of(hosts: u8, members: u8, messages: Option<u64>) -> Result<Self> {
        let network = Network::new()?;
        let members: Vec<Machine> =
            (0..members).map(|number| network.machine("member", 11 + number)).collect::<Result<_>>()?;
        let places: Vec<(String, IpAddr)> =
            members.iter().map(|member| (member.namespace.name().into(), member.address)).collect();
        let set = ReplicaSet::start_across(&places)?;
        if let Some(size) = messages {
            // The buses take what is there.
            let create = json!({
                "create": "messages", "capped": true, "size": size, "$first": "create", "$db": "culvert",
            });
            set.command(set.primary()?, create)?;
        }
        let host = |number: u8| {
            let machine = network.machine("host", 21 + number)?;
            BusHost::start(machine, &set.uri("culvert"), (number == 0).then_some("+3600s"))
        };
        let hosts = (0..hosts).map(host).collect::<Result<_>>()?;
        Ok(Self { hosts, set, members, _network: network })
    }

    fn sockets(&self) -> Vec<PathBuf> {
        self.hosts.iter().map(BusHost::socket).collect()
    }

    fn addresses(&self, but: usize) -> Vec<IpAddr> {
        self.members.iter().enumerate().filter(|(number, _)| *number != but).map(|(_, it)| it.address).collect()
    }

    /// How many messages there are.
    fn messages(&self) -> Result<u64> {
        let count = self.set.command(self.set.primary()?, json!({ "count": "messages", "$db": "culvert" }))?;
        count["n"].as_u64().with_context(|| format!("no number in {count}"))
    }

    /// The cursors that tail the messages.
    fn cursors(&self) -> Result<u64> {
        let pipeline = json!([
            { "$currentOp": { "allUsers": true, "idleCursors": true } },
            { "$match": { "ns": "culvert.messages", "cursor.tailable": true } },
            { "$project": { "ns": 1 } },
        ]);
        let found = json!({ "aggregate": 1, "pipeline": pipeline, "cursor": {} });
        let found = self.set.command(self.set.primary()?, found)?;
        let all = found["cursor"]["firstBatch"].as_array().with_context(|| format!("no batch in {found}"))?;
        Ok(all.len() as u64)
    }

    /// Lets something break and mends it.
    fn suffer(&mut self, fault: Fault, host: usize, lasts: Duration) -> Result<()> {
        let primary = self.set.primary()?;
        match fault {
            Fault::PrimaryKilled => {
                self.set.kill(primary)?;
                sleep(lasts);
                self.set.restart(primary)?;
            }
            Fault::PrimaryFrozen => {
                self.set.freeze(primary)?;
                sleep(lasts);
                self.set.thaw(primary)?;
            }
            Fault::PrimaryCutOff => {
                self.members[primary].cut(&self.addresses(primary))?;
                sleep(lasts);
                self.members[primary].heal()?;
            }
            Fault::PrimaryStepsDown => {
                self.set.command(primary, json!({ "replSetStepDown": 10, "secondaryCatchUpPeriodSecs": 2 }))?;
            }
            Fault::Split => {
                let others = self.addresses(primary);
                let hosts = self.hosts.iter().enumerate().filter(|(number, _)| *number != host);
                let far: Vec<IpAddr> = others.iter().copied().chain(hosts.map(|(_, it)| it.machine.address)).collect();
                self.members[primary].cut(&far)?;
                self.hosts[host].machine.cut(&others)?;
                sleep(lasts);
                self.hosts[host].machine.heal()?;
                self.members[primary].heal()?;
            }
            Fault::HostCutOff => {
                self.hosts[host].machine.cut(&self.addresses(usize::MAX))?;
                sleep(lasts);
                self.hosts[host].machine.heal()?;
            }
            Fault::MessagesDropped => {
                self.set.command(primary, json!({ "drop": "messages", "$db": "culvert" }))?;
            }
            Fault::BusKilled => {
                self.hosts[host].end(Signal::SIGKILL)?;
                self.hosts[host].launch()?;
            }
            Fault::BusFrozen => {
                self.hosts[host].signal(Signal::SIGSTOP)?;
                sleep(lasts);
                self.hosts[host].signal(Signal::SIGCONT)?;
            }
            Fault::BusEnded => {
                self.hosts[host].end(Signal::SIGTERM)?;
                self.hosts[host].launch()?;
            }
        }
        Ok(())
    }
}

/// One fault after the other while everybody works.
fn faults(
    world: &mut World,
    workload: &Workload,
    faults: impl IntoIterator<Item = (Fault, usize, Duration)>,
) -> Result<()> {
    for (fault, host, lasts) in faults {
        sleep(CALM);
        let (begun, before) = (Instant::now(), workload.acknowledged());
        world.suffer(fault, host, lasts).with_context(|| format!("{fault:?} of host {host}"))?;
        let (mended, during) = (Instant::now(), workload.acknowledged());
        until("writes are acknowledged again", BACK, || Ok((workload.acknowledged() > during + 10).then_some(())))?;
        println!(
            "{fault:?}, host {host}: {} ms, {} writes meanwhile, writes again {} ms later",
            mended.duration_since(begun).as_millis(),
            during - before,
            mended.elapsed().as_millis()
        );
        // A member that has just come back slows the next election down.
        world.set.settle()?;
    }
    Ok(())
}

fn check(world: &World, history: &History) -> Result<()> {
    println!("{}", tally(history));
    let faults = history.faults();
    if !faults.is_empty() {
        for (number, host) in world.hosts.iter().enumerate() {
            let path = std::env::temp_dir().join(format!("culvert-bus-{number}.log"));
            std::fs::write(&path, host.log())?;
            println!("host {number} logged {}", path.display());
        }
    }
    ensure!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults[..faults.len().min(20)].join("\n"));
    Ok(())
}

fn number(name: &str, otherwise: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(otherwise), |text| text.parse().with_context(|| format!("{name}={text}")))
}

#[test]
fn nothing_is_lost_in_silence_whatever_breaks() -> Result<()> {
    let _turn = alone();
    let mut world = World::new()?;
    let workload = Workload::start(world.sockets(), 1)?;
    let each = FAULTS.into_iter().enumerate().map(|(turn, fault)| (fault, turn % 3, FAULT));
    faults(&mut world, &workload, each)?;
    check(&world, &workload.stop()?)
}

/// More messages than fit are written while one bus is frozen and another one's host is cut off.
#[test]
fn messages_that_were_overwritten_are_told_as_a_gap() -> Result<()> {
    const SIZE: u64 = 32 << 10;
    let _turn = alone();
    let world = World::of(3, 1, Some(SIZE))?;
    let workload = Workload::start(world.sockets(), 2)?;
    // Until it is full, so that it is known how many fit.
    workload.flood(400, Duration::from_secs(60))?;
    let fit = world.messages()?;
    world.hosts[0].machine.cut(&world.addresses(usize::MAX))?;
    world.hosts[1].signal(Signal::SIGSTOP)?;
    let begun = Instant::now();
    workload.flood(10 * fit, Duration::from_secs(120))?;
    println!("{fit} messages of {SIZE} bytes; {} more written in {} ms", 10 * fit, begun.elapsed().as_millis());
    world.hosts[1].signal(Signal::SIGCONT)?;
    world.hosts[0].machine.heal()?;
    let history = workload.stop()?;
    check(&world, &history)?;
    for (name, met) in history.subscribers.iter().filter(|(name, _)| !name.starts_with("host 2")) {
        let heard = met.iter().filter(|one| matches!(one, Met::Heard { .. })).count() as u64;
        let gaps = met.iter().filter(|one| matches!(one, Met::Gap)).count();
        ensure!(gaps > 1 && heard < 10 * fit, "{name} heard {heard} with {gaps} gaps");
    }
    Ok(())
}

#[test]
fn a_host_has_one_cursor_however_many_listen() -> Result<()> {
    const LISTENERS: usize = 50;
    let _turn = alone();
    let world = World::of(2, 1, None)?;
    let uid = user("culvert-queue")?.uid.as_raw();
    let socket = world.hosts[1].socket();
    let (listening, listens) = std::sync::mpsc::channel();
    let (counted, count) = tokio::sync::oneshot::channel();
    let listen = async || {
        let bus = Bus::new(&socket);
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            let mut listener = bus.subscribe(&[Kind::Job]).await;
            ensure!(listener.next().await == News::Gap, "a subscription begins with a gap");
            listeners.push(listener);
        }
        listening.send(())?;
        count.await?;
        bus.insert(&job("one", 0)).await?;
        let mut heard = 0;
        for listener in &mut listeners {
            heard += usize::from(matches!(listener.next().await, News::Changed(change) if change.record == "one"));
        }
        Ok(heard)
    };
    let heard = std::thread::scope(|scope| {
        let listener = scope.spawn(|| as_user(uid, listen));
        listens.recv_timeout(BACK).context("all listen")?;
        let cursors = world.cursors()?;
        ensure!(cursors == 2, "{cursors} cursors of two hosts with {LISTENERS} listeners");
        let _ = counted.send(());
        listener.join().map_err(|_| anyhow!("a listener panicked"))?
    })?;
    ensure!(heard == LISTENERS, "{heard} heard of it");
    Ok(())
}

#[test]
#[ignore = "long mode: see the head of this file"]
fn nothing_is_lost_in_silence_in_a_random_mixture() -> Result<()> {
    let _turn = alone();
    let seconds = Duration::from_secs(number("CULVERT_SECONDS", 300)?);
    let seed = number("CULVERT_SEED", std::process::id().into())?;
    println!("CULVERT_SEED={seed} CULVERT_SECONDS={}", seconds.as_secs());
    let mut world = World::new()?;
    let workload = Workload::start(world.sockets(), seed)?;
    let (mut random, ends) = (Random(seed), Instant::now() + seconds);
    while Instant::now() < ends {
        let fault = FAULTS[random.below(FAULTS.len() as u64) as usize];
        let lasts = Duration::from_millis(200 + random.below(7000));
        faults(&mut world, &workload, [(fault, random.below(3) as usize, lasts)])?;
    }
    check(&world, &workload.stop()?)
}
