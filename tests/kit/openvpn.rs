//! Debian's openvpn as a client, and pings through its tunnel.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::lines::Lines;
use crate::namespace::Namespace;

/// A running openvpn client. Killed when dropped.
#[derive(Debug)]
pub struct Client {
    process: Child,
    /// What it printed.
    pub log: Lines,
    _files: TempDir,
}

impl Client {
    /// Starts openvpn with a profile, with username and password if the profile wants them, and with further options.
    pub fn start(namespace: &Namespace, profile: &str, login: Option<(&str, &str)>, options: &[&str]) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (config, secret) = (files.path().join("profile.ovpn"), files.path().join("login"));
        fs::write(&config, profile)?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let mut command = namespace.command("openvpn");
        command.arg("--config").arg(&config);
        if let Some((name, password)) = login {
            fs::write(&secret, format!("{name}\n{password}\n"))?;
            fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
            command.arg("--auth-user-pass").arg(&secret);
        }
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let log = Lines::default();
        log.read(process.stdout.take().context("its output")?);
        Ok(Self { process, log, _files: files })
    }

    /// Waits until the tunnel is up.
    pub fn connected(&self, deadline: Duration) -> Result<()> {
        self.log.wait(0, deadline, |line| line.contains("Initialization Sequence Completed")).map(drop)
    }

    /// How often the tunnel came up.
    pub fn connections(&self) -> usize {
        self.log.count("Initialization Sequence Completed")
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self, deadline: Duration) -> Result<()> {
        crate::lines::until("openvpn ended", deadline, || Ok(self.process.try_wait()?)).map(drop)
    }

    /// Disconnects as its user does.
    pub fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM)?;
        self.ended(Duration::from_secs(10))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("---- an openvpn client's log\n{}", self.log.all().join("\n"));
        }
    }
}

/// Pings going on, twenty a second.
#[derive(Debug)]
pub struct Pings {
    process: Child,
    printed: Lines,
}

/// What came of pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pinged {
    /// How many were sent.
    pub sent: u32,
    /// How many came back.
    pub received: u32,
    /// The most in a row that did not.
    pub longest_gap: u32,
}

impl Pings {
    /// Begins.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        let mut command = namespace.command("ping");
        command
            .args(["-n", "-D", "-i", "0.05", address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn()?;
        let printed = Lines::default();
        printed.read(process.stdout.take().context("its output")?);
        Ok(Self { process, printed })
    }

    /// Waits for the next answer.
    pub fn answered(&self, deadline: Duration) -> Result<()> {
        let seen = self.printed.all().len();
        self.printed.wait(seen, deadline, |line| line.contains("bytes from")).map(drop)
    }

    /// Ends, and counts up to the last one that was answered: what is still on its way is not lost.
    pub fn stop(mut self) -> Result<Pinged> {
        self.answered(Duration::from_secs(5))?;
        self.process.kill()?;
        self.process.wait()?;
        let number = |line: &String| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
        let answered: BTreeSet<u32> = self.printed.all().iter().filter_map(number).collect();
        let sent = answered.last().copied().context("no answer at all")?;
        let lines = self.printed.all();
        for lost in (1..=sent).filter(|number| !answered.contains(number)) {
            let behind = lines.iter().position(|line| number(line) > Some(lost)).unwrap_or_default();
            println!("ping {lost} was lost; before and after it: {:?}", &lines[behind.saturating_sub(2)..=behind]);
        }
        let gap = |(before, behind): (&u32, &u32)| behind - before - 1;
        let longest_gap = answered.iter().zip(answered.iter().skip(1)).map(gap).max().unwrap_or_default();
        Ok(Pinged { sent, received: answered.len() as u32, longest_gap })
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One ping and its answer.
pub fn ping(namespace: &Namespace, address: &str) -> Result<()> {
    let output = namespace.command("ping").args(["-n", "-c", "1", "-W", "2", address]).output()?;
    ensure!(output.status.success(), "{address} does not answer");
    Ok(())
}
