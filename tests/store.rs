//! `culvert store check`, as root in a machine of its own, with the bus in its sandbox behind it.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use culvert_tests::appliance::binaries;
use culvert_tests::mongod::ReplicaSet;
use culvert_tests::namespace::Namespace;
use culvert_tests::secure::Secure;
use serde_json::Value;
use tempfile::TempDir;

/// A machine.
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

impl Place {
    fn new() -> Result<Self> {
        Ok(Self {
            machine: Namespace::new("store")?,
            state: tempfile::Builder::new().prefix("culvert-store-").tempdir()?,
        })
    }

    /// Checks a URI that comes on standard input. The bus reads CA files below /etc/ssl/certs only, and those of this
    /// machine are nobody's business: the command has its own.
    fn check(&self, uri: &str, more: &[&str], authority: Option<&str>) -> Result<Said> {
        let mounts = match authority {
            Some(file) => {
                format!("cp {file} /run/ca.pem; mount -t tmpfs none /etc/ssl/certs; cp /run/ca.pem /etc/ssl/certs")
            }
            None => ":".into(),
        };
        let mut command = self.machine.command("unshare");
        command.args(["--mount", "sh", "-ec", &format!("mount -t tmpfs none /run; {mounts}; exec \"$@\""), "sh"]);
        command.arg(binaries().join("culvert")).args(["store", "check", "-"]).args(more);
        finished(command.arg("--state").arg(self.state.path()), uri)
    }
}

fn finished(command: &mut Command, input: &str) -> Result<Said> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
    let Output { status, stdout, stderr } = child.wait_with_output()?;
    ensure!(began.elapsed() < Duration::from_secs(30), "it took {:?}", began.elapsed());
    let said = Said {
        code: status.code().context("it was not killed")?,
        out: String::from_utf8(stdout)?,
        err: String::from_utf8(stderr)?,
    };
    println!("{}{}", said.out, said.err);
    ensure!(!said.out.contains("heim") && !said.err.contains("heim"), "the password is shown");
    Ok(said)
}

/// The steps that were told, in order, each once.
fn steps(out: &str, mark: &str) -> Vec<String> {
    let lines = out.lines().filter_map(|line| line.strip_prefix(mark)?.trim_start().split_once(':'));
    let mut steps: Vec<String> = lines.map(|(step, _)| step.to_owned()).collect();
    steps.dedup();
    steps
}

const ALL: [&str; 10] =
    ["the URI", "resolve", "connect", "TLS", "authentication", "rights", "topology", "version", "clock", "content"];

#[test]
fn a_check_names_every_step() -> Result<()> {
    let place = Place::new()?;
    let secure = place.machine.enter(|| Secure::start(3))??;
    let authority = secure.ca().display().to_string();
    let uri = secure.uri().replace(&authority, "/etc/ssl/certs/ca.pem");
    let said = place.check(&uri, &[], Some(&authority))?;
    ensure!(said.code == 0 && steps(&said.out, "ok") == ALL, "{}{}", said.out, said.err);
    ensure!(said.out.matches("speaks TLS, and its certificate is good").count() == 3, "{}", said.out);
    ensure!(said.out.contains("the database can be used"), "{}", said.out);

    let said = place.check(&uri, &["-o", "json"], Some(&authority))?;
    let told: Value = serde_json::from_str(&said.out)?;
    ensure!(said.code == 0 && told["usable"] == true && told["steps"][0]["step"] == "the URI", "{told}");

    // Without the file, and with one that the bus does not reach.
    let said = place.check(&uri, &[], None)?;
    ensure!(
        said.code == 1 && steps(&said.out, "FAILED") == ["TLS"] && said.err.contains("MongoDB, TLS"),
        "{}",
        said.err
    );
    let said = place.check(&secure.uri(), &[], Some(&authority))?;
    ensure!(said.code == 1 && said.err.contains("below /etc/ssl/certs"), "{}", said.err);

    let wrong = uri.replacen("ge%2Fheim", "geheimer", 1);
    let said = place.check(&wrong, &["-o", "json"], Some(&authority))?;
    let told: Value = serde_json::from_str(&said.out)?;
    let last = told["steps"].as_array().and_then(|steps| steps.last()).context("there are steps")?;
    ensure!(said.code == 1 && told["usable"] == false && last["step"] == "authentication", "{told}");
    ensure!(last["good"] == false && said.err.contains("authSource"), "{told}{}", said.err);
    Ok(())
}

/// What people meet when they set their first database up.
#[test]
fn a_first_attempt_that_goes_wrong() -> Result<()> {
    let place = Place::new()?;
    let alone = place.machine.enter(|| ReplicaSet::start_alone(false))??;
    let address = alone.address(0);
    let closed = format!("127.0.0.1:{}", if address.port() == 9 { 10 } else { 9 });
    for (uri, step, words) in [
        (
            "mongodb://me:geheim@no-such-host.invalid/culvert".to_owned(),
            "resolve",
            ["no-such-host.invalid", "name servers"],
        ),
        (format!("mongodb://me:geheim@{closed}/culvert"), "connect", [&closed, "mongod runs there"]),
        (format!("mongodb://{address}/culvert?tls=true"), "TLS", ["tls=true", "speaks TLS"]),
        (format!("mongodb://me:geheim@{address}/culvert"), "authentication", ["let the user in", "password"]),
        (format!("mongodb://{address}/culvert"), "topology", ["standalone", "rs.initiate()"]),
        ("mongodb://me:ge/heim@h/culvert".to_owned(), "the URI", ["character", "%2F"]),
        ("http://h/".to_owned(), "the URI", ["begins", "mongodb://USER:PASSWORD@HOST"]),
    ] {
        let said = place.check(&uri, &[], None)?;
        ensure!(said.code == 1 && steps(&said.out, "FAILED") == [step], "{step}: {}{}", said.out, said.err);
        ensure!(words.iter().all(|word| said.err.contains(word)) && said.err.lines().count() == 1, "{}", said.err);
        let good = ALL.iter().take_while(|it| **it != step).count();
        ensure!(steps(&said.out, "ok") == ALL[..good], "{step}: {}", said.out);
    }
    Ok(())
}
