//! Hosts of a cluster: they go and come back, are bound to other machines, and are copied.

use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::{Appliance, refused, run, state_folder};
use culvert_tests::console::Console;
use culvert_tests::estate::Estate;
use culvert_tests::lines::{Lines, until};
use culvert_tests::namespace::succeed;
use culvert_tests::story::id;
use http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// How soon a host that vanished is offline for everybody.
const LOST: Duration = Duration::from_secs(10);

/// How long a host's lease lasts, and what a start takes besides on a busy machine.
const LEASE: Duration = Duration::from_millis(8_500);
const START: Duration = Duration::from_secs(5);

/// What a machine says that is not the host that it says it is.
const COPIED: &str = "another running machine has this host's id";

/// The id of the host that this machine is.
fn host_id(appliance: &Appliance) -> Result<String> {
    Ok(appliance.culvert(&["host", "id"])?.trim().to_string())
}

fn status(console: &Console, host: &str) -> Result<Value> {
    Ok(console.get(&format!("/host/{host}"))?["status"].clone())
}

fn status_within(console: &Console, host: &str, wanted: &str, deadline: Duration) -> Result<()> {
    until(&format!("the host {wanted}"), deadline, || Ok((status(console, host)? == wanted).then_some(())))
}

/// What the command says when it refuses.
fn refusal(appliance: &Appliance, host: &str) -> Result<String> {
    let Err(error) = appliance.culvert(&["host", "adopt", host]) else { anyhow::bail!("{host} was adopted") };
    Ok(format!("{error:#}"))
}

#[test]
fn a_host_goes_comes_back_and_is_bound_to_another_machine() -> Result<()> {
    let estate = Estate::new()?;
    let mut gate = estate.start(1)?;
    let credentials = gate.credentials()?;
    let mut other = estate.start(2)?;
    let (gate_id, other_id) = (host_id(&gate)?, host_id(&other)?);
    ensure!(gate_id != other_id);
    let console = estate.console(1, &credentials)?;
    let server = server_of(&console)?;
    let renamed = console.expect(Method::PUT, &format!("/host/{gate_id}"), Some(&json!({ "name": "gate" })))?;
    ensure!(renamed["name"] == "gate", "{renamed}");

    restarts_and_goodbyes(&console, &mut other, &other_id)?;

    // Vanished at any instruction: offline within 10 s, which a console hears of.
    let console = estate.console(2, &credentials)?;
    gate.pull_the_plug()?;
    let took = offline_by_events(&console, &gate_id)?;
    println!("offline {took:?} after the last sign of life");
    drop(gate);

    adopted(&estate, &console, &server, &gate_id, &other_id)
}

/// A server that runs on the host whose console this is.
fn server_of(console: &Console) -> Result<String> {
    let organization = id(&console.expect(Method::POST, "/organization", Some(&json!({ "name": "acme" })))?)?;
    let body = json!({ "name": "lab", "network": "10.40.0.0/24", "port": 1194, "protocol": "udp", "cipher": "aes256",
        "hash": "sha256" });
    let server = id(&console.expect(Method::POST, "/server", Some(&body))?)?;
    console.expect(Method::PUT, &format!("/server/{server}/organization/{organization}"), None)?;
    console.expect(Method::PUT, &format!("/server/{server}/operation/start"), None)?;
    Ok(server)
}

/// A bus that is only started again does not make the host flap; Ctrl-C says goodbye at once.
fn restarts_and_goodbyes(console: &Console, other: &mut Appliance, other_id: &str) -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let old = other.signal(&["bus"], signal)?;
        other.replaced(&["bus"], &old, START)?;
        until("the bus serving again", START, || Ok(other.culvert(&["host", "id"]).ok()))?;
    }
    // Had the lease not gone on, it would have been seen to end by now.
    let begun = Instant::now();
    while begun.elapsed() < LOST {
        ensure!(status(console, other_id)? == "online", "{:?} after the restarts", begun.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = console.get("/log")?.to_string();
    ensure!(!log.contains("taken for lost"), "{log}");

    other.interrupt()?;
    status_within(console, other_id, "offline", Duration::from_secs(1)).context("it said goodbye")?;
    let begun = Instant::now();
    other.start_again()?;
    status_within(console, other_id, "online", Duration::from_secs(2))?;
    println!("online {:?} after the start", begun.elapsed());
    Ok(())
}

/// Waits for events as a console does, and looks only when there is one.
fn offline_by_events(console: &Console, host: &str) -> Result<Duration> {
    let begun = Instant::now();
    let mut path = "/event".to_string();
    while begun.elapsed() < LOST {
        let events = console.get(&path)?;
        let events = events.as_array().context("a list")?;
        if let Some(last) = events.last() {
            path = format!("/event/{}", last["id"].as_str().context("an id")?);
        }
        let told = events.iter().any(|event| event["type"] == "hosts_updated");
        if told && status(console, host)? == "offline" {
            let took = begun.elapsed();
            ensure!(took < LOST, "{took:?}");
            return Ok(took);
        }
    }
    anyhow::bail!("no event told within {LOST:?} that the host is offline");
}

/// A new machine with the same URI becomes the host that is gone, and its server starts there.
fn adopted(estate: &Estate, console: &Console, server: &str, gate: &str, other: &str) -> Result<()> {
    let rebuilt = estate.start(3)?;
    let interim = host_id(&rebuilt)?;
    let listed = rebuilt.culvert(&["host", "list"])?;
    ensure!(listed.contains(&format!("  {gate}  offline   gate")), "{listed}");
    ensure!(listed.contains(&format!("* {interim}  online")), "{listed}");

    for (host, told) in [
        (other, "is online"),
        (interim.as_str(), "nothing to adopt"),
        ("no such host", "There is no host no such host"),
    ] {
        let text = refusal(&rebuilt, host)?;
        ensure!(text.contains(told), "{text}");
    }
    let attachment = format!("/server/{server}/host/{interim}");
    console.expect(Method::PUT, &attachment, None)?;
    let text = refusal(&rebuilt, "gate")?;
    ensure!(text.contains("detach") && text.contains("lab"), "{text}");
    console.expect(Method::DELETE, &attachment, None)?;
    until("nothing running there", Duration::from_secs(30), || {
        let text = rebuilt.culvert(&["host", "adopt", "gate", "-o", "json"]);
        // What it began to run in that moment has to end first.
        match text {
            Ok(text) => Ok(Some(text)),
            Err(error) if format!("{error:#}").contains("detach") => Ok(None),
            Err(error) => Err(error),
        }
    })?;

    let begun = Instant::now();
    until("the machine is that host", Duration::from_secs(15), || {
        Ok((host_id(&rebuilt).ok().as_deref() == Some(gate)).then_some(()))
    })?;
    println!("that host after {:?}", begun.elapsed());
    until("the server running there", Duration::from_secs(60), || {
        let online = console.get(&format!("/server/{server}"))?["status"] == "online";
        Ok((online && rebuilt.openvpns()?.len() == 1).then_some(()))
    })?;
    println!("its server runs after {:?}", begun.elapsed());
    until("the interim record removed", Duration::from_secs(30), || {
        let hosts = console.get("/host")?;
        let ids: Vec<&str> = hosts.as_array().into_iter().flatten().filter_map(|host| host["id"].as_str()).collect();
        Ok((ids.len() == 2 && !ids.contains(&interim.as_str())).then_some(()))
    })?;
    let hosts = console.get(&format!("/server/{server}/host"))?;
    ensure!(hosts[0]["id"] == gate && hosts[0]["name"] == "gate", "{hosts}");
    status_within(console, gate, "online", Duration::from_secs(5))
}

#[test]
fn of_two_machines_with_one_id_the_later_is_refused() -> Result<()> {
    let estate = Estate::new()?;
    let mut first = estate.start(1)?;
    let credentials = first.credentials()?;
    let console = estate.console(1, &credentials)?;
    let host = host_id(&first)?;
    let bus = first.process("bus");
    let image = first.copy_of_state()?;
    // The first goes on for longer than the copy could take for its own doing.
    std::thread::sleep(Duration::from_secs(4));

    let (machine, setup) = estate.machine(2)?;
    let begun = Instant::now();
    let (code, text) = refused(&mut run(&machine, &setup, image.path()))?;
    println!("refused after {:?}", begun.elapsed());
    ensure!(code == 2 && text.matches(COPIED).count() == 1, "{code}: {text}");
    ensure!(text.contains(&host) && text.contains("host-id"), "{text}");
    ensure!(status(&console, &host)? == "online" && first.process("bus") == bus, "the first is not disturbed");
    ensure!(!first.log().contains("lease was lost"), "{}", first.log());

    // The original is gone for good: the copy is that host now, and the original, should it come back, is the later one.
    first.pull_the_plug()?;
    let begun = Instant::now();
    let copy = Appliance::start_with(&machine, setup, image)?;
    until("the copy is that host", START, || Ok((host_id(&copy).ok().as_ref() == Some(&host)).then_some(())))?;
    let took = begun.elapsed();
    println!("taken back after {took:?}");
    ensure!(took < LEASE + START, "{took:?}");
    let started = first.start_again();
    ensure!(started.is_err(), "the original runs besides its copy");
    ensure!(first.log().matches(COPIED).count() == 1, "{}", first.log());
    status_within(&estate.console(2, &credentials)?, &host, "online", START)
}

#[test]
fn a_copy_that_starts_in_an_outage_does_not_take_the_first_one_down() -> Result<()> {
    let estate = Estate::new()?;
    let first = estate.start(1)?;
    let credentials = first.credentials()?;
    let console = estate.console(1, &credentials)?;
    let host = host_id(&first)?;
    let image = first.copy_of_state()?;
    std::thread::sleep(Duration::from_secs(4));

    estate.database.freeze(0)?;
    let frozen = Instant::now();
    let (machine, setup) = estate.machine(2)?;
    let log = image.path().join("log");
    let mut copy = run(&machine, &setup, image.path()).stderr(File::create(&log)?).spawn()?;
    // The lease runs out, for the first as for the copy.
    std::thread::sleep((LEASE + Duration::from_secs(1)).saturating_sub(frozen.elapsed()));
    estate.database.thaw(0)?;

    let told = || -> Result<usize> { Ok(std::fs::read_to_string(&log)?.matches(COPIED).count()) };
    let begun = Instant::now();
    let said = until("the copy says why it does not serve", Duration::from_secs(40), || {
        Ok(Some(told()?).filter(|times| *times > 0))
    });
    println!("the copy gave up {:?} after the database came back", begun.elapsed());
    let asked =
        succeed(machine.command(setup.binaries.join("culvert")).args(["host", "id", "--state"]).arg(image.path()));
    let times = told();
    kill(Pid::from_raw(copy.id().cast_signed()), Signal::SIGINT)?;
    until("the copy stopped", Duration::from_secs(30), || Ok(copy.try_wait()?))?;
    said.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
    ensure!(asked.is_err(), "the copy serves");
    ensure!(times? == 1, "it says so once in a while");
    status_within(&console, &host, "online", START)?;
    ensure!(host_id(&first)? == host);
    ensure!(!first.log().contains(COPIED), "the first is not disturbed");
    Ok(())
}

/// Whatever is done with an appliance, the administrator's file is the administrator's.
#[test]
fn the_configuration_file_stays_as_it_is() -> Result<()> {
    let estate = Estate::new()?;
    let (machine, setup) = estate.machine(1)?;
    let state = state_folder()?;
    let (file, uri) = (state.path().join("culvert.toml"), state.path().join("uri"));
    let text = format!("# Mine.\nlisten = \"{}\"\nredirect = \"off\"\n\n# state = somewhere else\n", setup.listen);
    std::fs::write(&file, &text)?;
    std::fs::set_permissions(&file, Permissions::from_mode(0o640))?;
    std::fs::write(&uri, &setup.store)?;
    let looks = || -> Result<(String, u32, u64, i64, i64)> {
        let found = std::fs::metadata(&file)?;
        Ok((std::fs::read_to_string(&file)?, found.mode(), found.ino(), found.mtime(), found.mtime_nsec()))
    };
    let before = looks()?;

    let culvert = setup.binaries.join("culvert");
    let mut command = machine.command(&culvert);
    command.arg("run").arg("--config").arg(&file).arg("--state").arg(state.path()).stdout(Stdio::piped());
    let mut running = command.stderr(File::create(state.path().join("log"))?).spawn()?;
    let printed = Lines::default();
    printed.read(running.stdout.take().context("its output")?);
    let asked = (|| {
        printed.wait(0, Duration::from_secs(60), |line| line.starts_with("Culvert is up"))?;
        for words in [vec!["join".to_string(), format!("@{}", uri.display())], vec!["leave".to_string()]] {
            succeed(machine.command(&culvert).args(&words).arg("--state").arg(state.path()))?;
        }
        Ok::<_, anyhow::Error>(())
    })();
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT)?;
    until("stopped", Duration::from_secs(30), || Ok(running.try_wait()?))?;
    asked?;
    ensure!(looks()? == before, "{:?}", looks()?);
    Ok(())
}
