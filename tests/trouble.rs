//! What goes wrong when an appliance is started: each time one clear line that says what and what to do, the right exit
//! code, and nothing left behind. And whatever it is killed in, it starts again.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use culvert_tests::appliance::binaries;
use culvert_tests::lines::{Lines, until};
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::{Namespace, succeed, tool};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use tempfile::TempDir;

/// How soon a start that can't succeed must have ended.
const REFUSED: Duration = Duration::from_secs(10);

/// A machine, and a state folder on it.
struct Place {
    machine: Namespace,
    state: TempDir,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// Exactly one line on standard error, with these words in it.
    fn one_line(&self, code: i32, words: &[&str]) -> Result<()> {
        self.lines(code, &[words])
    }

    /// Exactly so many lines on standard error, each with its words in it.
    fn lines(&self, code: i32, lines: &[&[&str]]) -> Result<()> {
        let said: Vec<&str> = self.err.lines().collect();
        let fits = |(line, words): (&&str, &&[&str])| words.iter().all(|word| line.contains(word));
        let good = said.len() == lines.len() && said.iter().zip(lines).all(fits);
        ensure!(self.code == code && good, "wanted {code} and {lines:?}, got {}:\n{}", self.code, self.err);
        Ok(())
    }
}

impl Place {
    fn new() -> Result<Self> {
        let state = tempfile::Builder::new().prefix("culvert-trouble-").tempdir()?;
        fs::set_permissions(state.path(), Permissions::from_mode(0o755))?;
        let place = Self { machine: Namespace::new("trouble")?, state };
        // Any start makes the system users, also one that is refused then.
        static USERS: Mutex<bool> = Mutex::new(false);
        let mut made = USERS.lock().expect("nobody panics with it");
        if !*made {
            let elsewhere = ["run", "--listen", "203.0.113.7:443", "--redirect", "off", "--state"];
            finished(place.culvert().args(elsewhere).arg(place.state.path().join("users")))?;
            *made = true;
        }
        Ok(place)
    }

    fn culvert(&self) -> Command {
        self.machine.command(binaries().join("culvert"))
    }

    /// The same behind changes to the mounts that it alone sees.
    fn behind(&self, mounts: &str) -> Command {
        let mut command = self.machine.command("unshare");
        command.args(["--mount", "sh", "-ec", &format!("{mounts}; exec \"$@\""), "sh"]).arg(binaries().join("culvert"));
        command
    }

    /// A program of ours as this user, in a place where everybody can run it.
    fn as_user(&self, user: &str, program: &str) -> Result<Command> {
        let group = User::from_name(user)?.context("made by any start")?.gid.to_string();
        let open = self.state.path().join("programs");
        let mounts = format!("mkdir -p {0}; chmod 755 {0}; mount --bind {1} {0}", open.display(), binaries().display());
        let mut command = self.machine.command("unshare");
        command.args([
            "--mount",
            "sh",
            "-ec",
            &format!("{mounts}; exec \"$@\""),
            "sh",
            "setpriv",
            "--reuid",
            user,
            "--regid",
            &group,
        ]);
        command.args(["--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]).arg(open.join(program));
        Ok(command)
    }

    fn run<'a>(&self, command: &'a mut Command, state: &Path) -> &'a mut Command {
        command.args(["run", "--listen", "127.0.0.1:8443", "--redirect", "off", "--state"]).arg(state)
    }

    /// A start that must be refused, and leave nothing.
    fn refused(&self, command: &mut Command, state: &Path) -> Result<Said> {
        let said = finished(self.run(command, state))?;
        self.nothing_left(state)?;
        Ok(said)
    }

    fn nothing_left(&self, state: &Path) -> Result<()> {
        let left = self.machine.processes()?;
        ensure!(left.is_empty(), "processes are left: {left:?}");
        ensure!(!run_folder(state).exists(), "{} is left", run_folder(state).display());
        ensure!(!self.machine.ip("link")?.contains("culvert"), "an interface is left");
        let tables = succeed(self.machine.command("nft").args(["list", "tables"]))?;
        ensure!(tables.is_empty(), "left: {tables}");
        Ok(())
    }
}

/// As in docs/decisions/0001-shape.md.
fn run_folder(state: &Path) -> std::path::PathBuf {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = state.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    format!("/run/culvert-{hash:016x}").into()
}

/// Waits until a command has ended, and stops it if it does not.
fn finished(command: &mut Command) -> Result<Said> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (out, err) = (Lines::default(), Lines::default());
    out.read(child.stdout.take().context("its output")?);
    err.read(child.stderr.take().context("its errors")?);
    let ended = until("ended by itself", REFUSED, || Ok(child.try_wait()?));
    if ended.is_err() {
        stop(&mut child, Signal::SIGINT)?;
    }
    let whole = |lines: &Lines| -> Result<String> {
        // Ends at once: who else holds the pipe has ended, too.
        let _ = lines.wait(usize::MAX, REFUSED, |_| false);
        Ok(lines.all().join("\n"))
    };
    let (out, err) = (whole(&out)?, whole(&err)?);
    let status = ended.with_context(|| format!("{out}\n{err}"))?;
    ensure!(!err.contains("panicked") && !err.contains("backtrace"), "{err}");
    Ok(Said { code: status.code().context("it ended by a signal")?, out, err })
}

fn stop(child: &mut Child, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(child.id() as i32), signal)?;
    if until("stopped", Duration::from_secs(20), || Ok(child.try_wait()?)).is_err() {
        child.kill()?;
        child.wait()?;
        bail!("it did not end");
    }
    Ok(())
}

#[test]
fn what_the_machine_lacks() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path();
    let refused = |mounts: &str| place.refused(&mut place.behind(mounts), state);
    refused("mount --bind /dev/null /usr/sbin/openvpn")?.one_line(1, &["openvpn", "install the package openvpn"])?;
    refused("mount --bind /dev/null /usr/sbin/nft")?.one_line(1, &["nft", "install the package nftables"])?;
    refused("mount -t tmpfs none /dev/net")?.one_line(1, &["/dev/net/tun", "modprobe tun"])?;
    let everything = "mount --bind /dev/null /usr/sbin/openvpn; mount -t tmpfs none /dev/net; touch /dev/net/tun; \
                      mount --bind /dev/null /usr/sbin/nft";
    refused(everything)?.lines(1, &[&["openvpn"], &["nft"], &["tun"]])?;

    let less = |option: &str| {
        let mut command = place.machine.command("setpriv");
        command.args([option, "--inh-caps=-all"]).arg(binaries().join("culvert"));
        command
    };
    let mut container = less("--bounding-set=-net_admin,-sys_admin");
    place.refused(&mut container, state)?.one_line(1, &["lacks capabilities", "NET_ADMIN, SYS_ADMIN", "container"])?;
    place
        .refused(&mut place.as_user("nobody", "culvert")?, state)?
        .one_line(1, &["must be started as root", "sudo"])?;

    // Two roles with one user id.
    let taken = User::from_name("culvert-vpn")?.context("made by any start")?.uid;
    let edited = place.state.path().join("passwd");
    let passwd = fs::read_to_string("/etc/passwd")?;
    let line = |line: &str| match line.strip_prefix("culvert-api:x:") {
        Some(rest) => format!("culvert-api:x:{taken}:{}", rest.split_once(':').map_or("", |(_, rest)| rest)),
        None => line.to_string(),
    };
    fs::write(&edited, passwd.lines().map(line).collect::<Vec<_>>().join("\n") + "\n")?;
    let said = refused(&format!("mount --bind {} /etc/passwd", edited.display()))?;
    said.one_line(1, &["culvert-api", "culvert-vpn", "one user id", "remove one"])?;

    let links = tool("ip", &["-n", "no-such-namespace", "link"]);
    ensure!(links.is_err(), "a test of the kit itself: a failing tool is an error");
    Ok(())
}

/// As after `git clone` in the home of root or of a user.
#[test]
fn programs_that_lie_in_a_closed_folder() -> Result<()> {
    let place = Place::new()?;
    let (state, home) = (place.state.path().join("state"), place.state.path().join("home"));
    fs::create_dir(&home)?;
    let start = |mode: u32| {
        let mounts = format!(
            "mount -t tmpfs -o mode=700,uid=12345 none {0}; mkdir {0}/bin; mount -t tmpfs -o mode={mode} none {0}/bin; \
             for one in {1}/culvert {1}/culvert-*; do [ -x $one ] && touch {0}/bin/${{one##*/}} && \
             mount --bind $one {0}/bin/${{one##*/}}; done; exec \"$@\"",
            home.display(),
            binaries().display()
        );
        let mut command = place.machine.command("unshare");
        command.args(["--mount", "sh", "-c", &mounts, "sh"]).arg(home.join("bin/culvert"));
        command
    };
    place.refused(&mut start(700), &state)?.one_line(1, &["home/bin: only some users", "chmod o+x"])?;
    let mut start = Start::new(place.run(&mut start(755), &state))?;
    start.says("Culvert is up", Duration::from_secs(30))?;
    stop(&mut start.child, Signal::SIGINT)?;
    place.nothing_left(&state)
}

#[test]
fn ports_that_are_not_to_be_had() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path();
    let run = |listen: &str, redirect: &str| {
        let mut command = place.culvert();
        command.args(["run", "--listen", listen, "--redirect", redirect, "--state"]).arg(state);
        let said = finished(&mut command)?;
        place.nothing_left(state)?;
        Ok::<_, anyhow::Error>(said)
    };
    let taken = place.machine.enter(|| std::net::TcpListener::bind("127.0.0.1:8443"))??;
    run("127.0.0.1:8443", "off")?.one_line(1, &["127.0.0.1:8443 is in use", "--listen"])?;
    run("127.0.0.1:443", "127.0.0.1:8443")?.one_line(1, &["127.0.0.1:8443 is in use", "--redirect"])?;
    drop(taken);
    run("203.0.113.7:443", "off")?.one_line(1, &["no address of this machine", "--listen"])
}

#[test]
fn state_folders_that_can_not_be_used() -> Result<()> {
    let place = Place::new()?;
    let root = place.state.path();
    let fresh = |name: &str, mode: u32| -> Result<std::path::PathBuf> {
        let folder = root.join(name);
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(mode))?;
        Ok(folder)
    };
    let refused = |state: &Path| place.refused(&mut place.culvert(), state);
    let bus = User::from_name("culvert-bus")?.context("made by any start")?;
    let bus = |path: &Path| chown(path, Some(bus.uid.as_raw()), Some(bus.gid.as_raw()));

    let closed = fresh("closed", 0o700)?;
    refused(&closed.join("state"))?.one_line(1, &["closed", "may not enter", "chmod o+x"])?;
    ensure!(!closed.join("state").exists(), "a folder was made before it was refused");
    let open = fresh("open", 0o777)?;
    refused(&open)?.one_line(1, &["every user may change it", "chmod o-w"])?;
    let others = fresh("others", 0o755)?;
    chown(&others, Some(65534), None)?;
    refused(&others)?.one_line(1, &["65534", "chown root"])?;
    let file = root.join("file");
    fs::write(&file, "")?;
    refused(&file)?.one_line(1, &["no folder", "--state"])?;
    refused(&file.join("below"))?.one_line(1, &["no folder", "--state"])?;
    let linked = fresh("linked", 0o755)?;
    std::os::unix::fs::symlink("/etc", linked.join("bus"))?;
    refused(&linked)?.one_line(1, &["linked/bus"])?;
    ensure!(fs::metadata("/etc")?.uid() == 0, "a link was followed");

    let mounted = fresh("mounted", 0o755)?;
    let mount = |options: &str| format!("mount -t tmpfs -o mode=755,{options} none {}", mounted.display());
    let behind = |mounts: &str| place.refused(&mut place.behind(mounts), &mounted);
    behind(&mount("ro"))?.one_line(1, &["read-only", "--state"])?;
    behind(&mount("size=64k"))?.one_line(1, &["disk is full", "make room"])?;
    behind(&format!("{}; echo > {}/full", mount("size=4k"), mounted.display()))?
        .one_line(1, &["host-id", "a disk with room"])?;

    for (name, file, content, words) in [
        ("garbage", "store.sqlite", "x".repeat(8192), ["store.sqlite is damaged", "restore it from a backup"]),
        ("nameless", "host-id", "zzz\n".into(), ["host-id holds no host id", "remove it"]),
    ] {
        let folder = fresh(name, 0o755)?;
        fs::create_dir(folder.join("bus"))?;
        fs::write(folder.join("bus").join(file), content)?;
        bus(&folder.join("bus").join(file))?;
        refused(&folder)?.one_line(1, &words)?;
    }
    Ok(())
}

#[test]
fn configurations_that_are_wrong() -> Result<()> {
    let place = Place::new()?;
    let file = place.state.path().join("culvert.toml");
    fs::write(
        &file,
        "listen = \"0.0.0.0:99999\"\n\ncolour = \"red\"\nheadless = \"yes\"\nstore = \"@/no/such/file\"\n",
    )?;
    let at = |line: u32, word: &str| format!("{}:{line}: {word}", file.display());
    let wanted = [at(1, "listen"), at(3, "colour"), at(4, "headless"), at(5, "store"), "--log".into()];
    for command in ["run", "check"] {
        let said = finished(place.culvert().arg(command).arg("--config").arg(&file).args(["--log", "loud"]))?;
        ensure!(said.code == 2 && said.err.lines().count() == wanted.len(), "{}: {}", said.code, said.err);
        ensure!(wanted.iter().all(|fault| said.err.contains(fault)), "{wanted:?} in {}", said.err);
    }
    let json = |arguments: &[&str]| -> Result<(i32, serde_json::Value)> {
        let said = finished(place.culvert().args(["check", "-o", "json"]).args(arguments))?;
        Ok((said.code, serde_json::from_str(&said.out)?))
    };
    let (code, answer) = json(&["--config", file.to_str().context("a path in UTF-8")?])?;
    ensure!(code == 2 && answer["good"] == false && answer["faults"].as_array().is_some_and(|all| all.len() == 4));
    let (code, answer) = json(&["--redirect", "off"])?;
    ensure!(code == 0 && answer["good"] == true, "{answer}");
    finished(place.culvert().args(["run", "--config", "/no/such/file"]))?.one_line(2, &["/no/such/file", "read"])?;

    // Nobody reads the answer, and there is no room for it.
    let full = fs::File::options().write(true).open("/dev/full")?;
    let status = place.culvert().arg("check").stdout(full.try_clone()?).stderr(full).status()?;
    ensure!(status.code() == Some(1), "{status}");
    for command in ["status", "default-password", "reset-password"] {
        let said = finished(place.culvert().arg(command).arg("--state").arg(place.state.path()))?;
        said.one_line(3, &["not running", "culvert run"])?;
    }
    Ok(())
}

#[test]
fn databases_that_are_named_wrong() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path().join("state");
    let bad = place.state.path().join("bad");
    fs::write(&bad, "secret")?;
    for (store, words) in [
        ("mongodb://".to_string(), ["--store", "names no host"]),
        ("mongodb://me:secret@/culvert".into(), ["--store", "names no host"]),
        ("@/no/such/file".into(), ["/no/such/file", "can't be read"]),
        (format!("@{}", bad.display()), ["bad does not begin with", "mongodb://"]),
        ("mongodb://127.0.0.1/culvert?colour=red".into(), ["the option colour is not known", "remove it"]),
        ("mongodb://127.0.0.1:99999/culvert".into(), ["MongoDB, the URI", "port"]),
    ] {
        let said = finished(place.run(&mut place.culvert(), &state).args(["--store", &store]))?;
        place.nothing_left(&state)?;
        said.one_line(2, &words).with_context(|| store.clone())?;
        ensure!(!said.err.contains("secret"), "{}", said.err);
    }
    Ok(())
}

/// An appliance that is being started, and all that it says.
struct Start {
    child: Child,
    said: Lines,
}

impl Start {
    fn new(command: &mut Command) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        let child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?;
        // The command holds the ends that were handed over as long as it lives.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let said = Lines::default();
        said.read(reader);
        Ok(Self { child, said })
    }

    fn says(&self, words: &str, deadline: Duration) -> Result<String> {
        self.said.wait(0, deadline, |line| line.contains(words))
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = stop(&mut self.child, Signal::SIGINT);
        }
    }
}

#[test]
fn a_database_that_is_away_is_waited_for() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path();
    let store = "mongodb://127.0.0.1:27017/culvert?replicaSet=rs0";
    let mut start = Start::new(place.run(&mut place.culvert(), state).args(["--store", store]))?;
    start.says("not up yet: the database can't be reached", Duration::from_secs(15))?;
    start.says("MongoDB, connect: ", Duration::from_secs(20))?;
    ensure!(start.said.count("Culvert is up") == 0, "it is not up");
    let said = finished(place.culvert().args(["status", "--state"]).arg(state))?;
    said.one_line(1, &["database cannot be reached"])?;

    let database = ReplicaSet::start_in(place.machine.name(), std::net::Ipv4Addr::LOCALHOST.into(), 1)?;
    start.says("Culvert is up", Duration::from_secs(20))?;
    start.says("one-time", Duration::from_secs(1))?;
    for words in ["not up yet", "does not tell which host"] {
        ensure!(start.said.count(words) <= 2, "again and again: {:?}", start.said.all());
    }
    stop(&mut start.child, Signal::SIGINT)?;
    drop(database);
    place.nothing_left(state)
}

#[test]
fn databases_that_can_not_be_used() -> Result<()> {
    let place = Place::new()?;
    // What a thread in the namespace starts is in it.
    let alone = place.machine.enter(|| ReplicaSet::start_alone(false))??;
    let guarded = place.machine.enter(|| ReplicaSet::start_guarded("culvert", "right"))??;
    let wrong = guarded.uri("culvert").replace("mongodb://", "mongodb://culvert:wrong@");
    for (store, words) in [
        (format!("mongodb://{}/culvert", alone.address(0)), "MongoDB, topology: "),
        (format!("{wrong}&authSource=admin"), "MongoDB, authentication: "),
    ] {
        let state = place.state.path();
        let mut start = Start::new(place.run(&mut place.culvert(), state).args(["--store", &store]))?;
        start.says(words, Duration::from_secs(25))?;
        start.says("not up yet: the database can't be reached", Duration::from_secs(15))?;
        ensure!(start.said.count("Culvert is up") == 0 && start.said.count(words) == 1, "{:?}", start.said.all());
        let warned = start.said.count("password stands on the command line") == 1;
        ensure!(warned == store.contains('@'), "{:?}", start.said.all());
        let secret = |line: &String| line.contains("wrong@");
        ensure!(!start.said.all().iter().any(secret), "{:?}", start.said.all());
        stop(&mut start.child, Signal::SIGINT)?;
        ensure!(!run_folder(state).exists(), "the run folder is left");
    }
    Ok(())
}

#[test]
fn one_appliance_per_state_folder() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path();
    let mut first = Start::new(place.run(&mut place.culvert(), state))?;
    first.says("Culvert is up", Duration::from_secs(30))?;
    let pid = first.child.id().to_string();
    finished(place.run(&mut place.culvert(), state))?.one_line(1, &["already running", &pid, "kill"])?;
    let said = finished(place.culvert().args(["status", "--state"]).arg(state))?;
    ensure!(said.code == 0 && said.out.contains("store: reachable"), "the first one runs on: {}", said.out);

    // One that is frozen is taken over.
    kill(Pid::from_raw(first.child.id() as i32), Signal::SIGSTOP)?;
    let mut second = Start::new(place.run(&mut place.culvert(), state))?;
    second.says("Culvert is up", Duration::from_secs(30))?;
    first.child.wait()?;
    let ask = |arguments: &[&str]| finished(place.culvert().args(arguments).arg("--state").arg(state));
    let reset: serde_json::Value = serde_json::from_str(&ask(&["reset-password", "-o", "json"])?.out)?;
    let told: serde_json::Value = serde_json::from_str(&ask(&["default-password", "-o", "json"])?.out)?;
    ensure!(reset == told && told["username"] == "admin" && told["password"].is_string(), "{reset} {told}");
    let mut nobody = place.as_user("nobody", "culvert")?;
    finished(nobody.args(["status", "--state"]).arg(state))?.one_line(1, &["only root", "sudo"])?;
    stop(&mut second.child, Signal::SIGINT)?;
    place.nothing_left(state)
}

#[test]
fn killed_anywhere_in_a_start_it_starts_again() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path();
    // Where a start is killed is spread over the time that it takes, not left to chance: each time is another place anyway.
    for round in 0..20_u64 {
        let mut start = Start::new(place.run(&mut place.culvert(), state))?;
        std::thread::sleep(Duration::from_millis(5 + round * 23));
        start.child.kill()?;
        start.child.wait()?;
    }
    let mut start = Start::new(place.run(&mut place.culvert(), state))?;
    start.says("Culvert is up", Duration::from_secs(30))?;
    start.says("one-time", Duration::from_secs(1))?;
    stop(&mut start.child, Signal::SIGINT)?;
    place.nothing_left(state)
}

/// Tunnels may be up then: what can't be started is tried again, rather than ending what it serves.
#[test]
fn after_a_crash_what_can_not_start_is_tried_again() -> Result<()> {
    let place = Place::new()?;
    let state = place.state.path();
    let mut first = Start::new(place.run(&mut place.culvert(), state))?;
    first.says("Culvert is up", Duration::from_secs(30))?;
    let id = state.join("bus/host-id");
    let good = fs::read(&id)?;
    first.child.kill()?;
    first.child.wait()?;
    fs::write(&id, "damaged")?;
    let mut second = Start::new(place.run(&mut place.culvert(), state))?;
    second.says("host-id holds no host id", Duration::from_secs(15))?;
    second.says("starting it again in", Duration::from_secs(5))?;
    second.says("not up yet: a process is not ready", Duration::from_secs(15))?;
    ensure!(second.child.try_wait()?.is_none(), "it goes on: {:?}", second.said.all());
    fs::write(&id, good)?;
    second.says("Culvert is up", Duration::from_secs(30))?;
    stop(&mut second.child, Signal::SIGINT)?;
    place.nothing_left(state)
}

/// A socket that every user may write to.
fn heard(path: &Path) -> Result<UnixDatagram> {
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(socket)
}

/// The first datagram with these words in it.
fn awaited(socket: &UnixDatagram, words: &[&str]) -> Result<String> {
    let (begun, mut bytes) = (Instant::now(), vec![0; 65536]);
    while begun.elapsed() < Duration::from_secs(15) {
        let length = socket.recv(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if words.iter().all(|word| text.contains(word)) {
            return Ok(text);
        }
    }
    bail!("nobody said {words:?}")
}

#[test]
fn a_process_tells_systemd_how_it_is() -> Result<()> {
    let place = Place::new()?;
    let folder = place.state.path();
    let socket = heard(&folder.join("notify"))?;
    let mut command = place.as_user("culvert-pools", "culvert-pools")?;
    command.arg("--run").arg(folder).arg("--state").arg(folder);
    command.env("NOTIFY_SOCKET", folder.join("notify")).env("WATCHDOG_USEC", "1500000");
    let mut child = command.stdin(Stdio::null()).spawn()?;
    let told = awaited(&socket, &["READY=1"]);
    let fed = (0..3).try_for_each(|_| awaited(&socket, &["WATCHDOG=1"]).map(drop));
    stop(&mut child, Signal::SIGTERM)?;
    told.and(fed)
}

#[test]
fn a_journal_gets_fields_and_a_terminal_lines() -> Result<()> {
    let place = Place::new()?;
    let (state, journal) = (place.state.path(), TempDir::with_prefix("culvert-journal-")?);
    fs::set_permissions(journal.path(), Permissions::from_mode(0o755))?;
    let socket = heard(&journal.path().join("socket"))?;
    // Standard error is the journal's if this variable names it.
    let stream = fs::File::create(journal.path().join("stderr"))?;
    let meta = stream.metadata()?;
    let mut command = place.behind(&format!(
        "mount -t tmpfs -o mode=755 none /run; mkdir -p /run/systemd/journal; mount --bind {} /run/systemd/journal",
        journal.path().display()
    ));
    place.run(&mut command, state).env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stream).spawn()?;
    let entry = awaited(&socket, &["SYSLOG_IDENTIFIER", "culvert-bus", "the bus serves"]);
    stop(&mut child, Signal::SIGINT)?;
    let entry = entry?;
    ensure!(entry.contains("PRIORITY") && entry.contains("F_HOST"), "{entry}");
    let lines = fs::read_to_string(journal.path().join("stderr"))?;
    ensure!(!lines.contains("the bus serves"), "{lines}");

    // A terminal, and a variable that names somebody else's stream: readable lines.
    let terminal = openpty(None, None)?;
    let mut command = place.culvert();
    place.run(&mut command, state).env("JOURNAL_STREAM", "1:1").stdin(Stdio::null());
    let mut child = command.stdout(terminal.slave.try_clone()?).stderr(terminal.slave).spawn()?;
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let said = Lines::default();
    said.read(fs::File::from(terminal.master));
    let up = said.wait(0, Duration::from_secs(15), |line| line.starts_with("Ctrl-C stops everything"));
    stop(&mut child, Signal::SIGINT)?;
    up?;
    let line = said.wait(0, Duration::ZERO, |line| line.contains("the bus serves"))?;
    ensure!(line.contains("Z bus ") && line.contains(" INFO ") && line.contains("host="), "{line}");
    ensure!(said.count("tracing") == 0, "{:?}", said.all());
    // What is printed once all is up is in one piece.
    let all = said.all();
    let begin = all.iter().position(|line| line.starts_with("Culvert is up")).context("it says so")?;
    ensure!(
        all[begin..].iter().take_while(|line| !line.starts_with("Ctrl-C")).all(|line| !line.contains("INFO")),
        "{all:?}"
    );
    Ok(())
}
