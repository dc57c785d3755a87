//! Puts the nftables table in place by running `nft`, and notices when somebody else changes it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use culvert_link::memfd;
use culvert_link::pidfd::Process;
use culvert_wire::helper::Refusal;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};

use crate::failure::{During, Failure};
use crate::heart::Heart;
use crate::record::Tunnel;
use crate::rules::{self, Guard};

/// Where `nft` is; the first that is there.
const PROGRAMS: [&str; 2] = ["/usr/sbin/nft", "/sbin/nft"];

/// How long a transaction may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// How soon after one repair the next one may follow: somebody who flushes without end must not keep us busy.
const PAUSE: Duration = Duration::from_secs(1);

/// How soon after one that failed.
const LONG_PAUSE: Duration = Duration::from_secs(30);

/// The multicast group of nftables' changes (`NFNLGRP_NFTABLES` is 7).
const CHANGES: u32 = 1 << 6;

/// Room for the kernel's messages about one of our own transactions.
const BACKLOG: usize = 4 << 20;

/// The table.
#[derive(Debug)]
pub struct Firewall {
    guard: Option<Guard>,
    /// Beats while `nft` takes its time.
    heart: Rc<Heart>,
    /// Tells of changes, where the kernel has nftables.
    changes: Option<OwnedFd>,
    /// Since when what is installed may differ from what should be: when to put that right.
    due: Option<Instant>,
    installed: Instant,
}

impl Firewall {
    /// Begins to listen for changes; installs nothing yet.
    pub fn new(guard: Option<Guard>, heart: Rc<Heart>) -> Self {
        let changes = listen().inspect_err(|error| eprintln!("changes to nftables will go unnoticed: {error}")).ok();
        Self { guard, heart, changes, due: Some(Instant::now()), installed: Instant::now() }
    }

    /// Becomes readable when somebody changed a table.
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Puts the whole table in place.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoFirewall`]; the table is as it was.
    pub fn install(&mut self, tunnels: &[&Tunnel]) -> Result<(), Failure> {
        self.due = Some(Instant::now() + LONG_PAUSE);
        let foreign = self.run(&rules::table(self.guard.as_ref(), tunnels))?;
        self.installed = Instant::now();
        // If somebody else was at it at the same time, which came first can't be told.
        self.due = foreign.then(|| self.installed + PAUSE);
        Ok(())
    }

    /// Does a transaction on the table that is in place; the whole table is put in place if it can't be done. `tunnels`
    /// are as they are to be after it.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoFirewall`].
    pub fn change(&mut self, transaction: &str, tunnels: &[&Tunnel]) -> Result<(), Failure> {
        match self.due.map_or_else(|| self.run(transaction), |_| Ok(true)) {
            Ok(false) => Ok(()),
            _ => self.install(tunnels),
        }
    }

    /// Removes the table.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoFirewall`].
    pub fn remove(&mut self) -> Result<(), Failure> {
        self.run(rules::REMOVAL).map(|_| ())
    }

    /// Takes note of changes that somebody else made.
    pub fn notice(&mut self) {
        if self.read_changes(None) && self.due.is_none() {
            eprintln!("somebody changed the nftables table culvert: it is installed again");
            self.due = Some(self.installed + PAUSE);
        }
    }

    /// When to call [`Firewall::repair`], if it is necessary.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Puts the table in place again, if that is due.
    pub fn repair(&mut self, tunnels: &[&Tunnel]) {
        if self.due.is_some_and(|due| due <= Instant::now())
            && let Err(failure) = self.install(tunnels)
        {
            eprintln!("the nftables table culvert is not in place: {failure}");
        }
    }

    /// Has `nft` do one transaction. Whether somebody else changed the table meanwhile.
    fn run(&self, transaction: &str) -> Result<bool, Failure> {
        let refused = |detail: String| Failure::new(Refusal::NoFirewall, detail);
        let program = PROGRAMS.into_iter().find(|path| Path::new(path).exists());
        let program = program.ok_or_else(|| refused("nft is neither in /usr/sbin nor in /sbin".to_owned()))?;
        // A file and not a pipe: writing to it never waits for nft.
        let text = memfd::sealed("rules", transaction.as_bytes(), 0).during("holding the rules ready")?;
        let mut nft = Command::new(program)
            .args(["-f", "-"])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(File::from(text))
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| refused(format!("{program}: {error}")))?;
        let handle = Process::open(nft.id().cast_signed()).during("watching nft")?;
        let ended = self.heart.wait(&handle, Instant::now() + DEADLINE).during("waiting for nft")?;
        if !ended {
            nft.kill().during("ending nft")?;
        }
        let status = nft.wait().during("waiting for nft")?;
        let foreign = self.read_changes(Some(nft.id()));
        match (ended, status.success()) {
            (true, true) => Ok(foreign),
            (true, false) => Err(refused(format!("{program} ended with {status}"))),
            (false, _) => Err(refused(format!("{program} did not end within {} s", DEADLINE.as_secs()))),
        }
    }

    /// Reads what the kernel tells about changes. Whether one to our table is not by the process `own`.
    fn read_changes(&self, own: Option<u32>) -> bool {
        let Some(changes) = &self.changes else { return false };
        let mut foreign = false;
        let mut buffer = vec![0; 64 << 10];
        loop {
            match recv(changes.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => foreign |= changed(buffer.get(..length).unwrap_or_default(), own),
                // Messages were lost. After a transaction of ours they were most likely about that.
                Err(Errno::ENOBUFS) => foreign |= own.is_none(),
                Err(Errno::EINTR) => {}
                Err(_) => return foreign,
            }
        }
    }
}

/// A socket that hears of every change to nftables.
fn listen() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let changes = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
    // Only a convenience: where it is refused, messages may be lost, which is noticed.
    let _ = setsockopt(&changes, sockopt::RcvBufForce, &BACKLOG);
    bind(changes.as_raw_fd(), &NetlinkAddr::new(0, CHANGES))?;
    Ok(changes)
}

/// Whether one of the kernel's messages is about our table and not caused by the process `own`. A message begins with
/// its length (32 bits), type and flags (16 each), number, and the port of who caused it, which is nft's process id;
/// every message about a table has its name in it.
fn changed(mut messages: &[u8], own: Option<u32>) -> bool {
    let number = |bytes: &[u8], at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    while let (Some(length), Some(cause)) = (number(messages, 0), number(messages, 12)) {
        let Some(message) = messages.get(..length as usize).filter(|message| message.len() >= 16) else { return true };
        if Some(cause) != own && message.windows(8).any(|window| window == b"culvert\0") {
            return true;
        }
        messages = messages.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::changed;

    fn message(cause: u32, body: &[u8]) -> Vec<u8> {
        let length = (16 + body.len()) as u32;
        let head = [length, 0x0a00, 0, cause].map(u32::to_ne_bytes).concat();
        let padding = vec![0; length.next_multiple_of(4) as usize - length as usize];
        [&head, body, &padding].concat()
    }

    #[test]
    fn only_changes_of_our_table_by_others_count() {
        let ours = message(7, b"\x0c\0\x01\0culvert\0");
        let other = message(8, b"\x0b\0\x01\0filter\0");
        assert!(!changed(&[ours.clone(), other.clone()].concat(), Some(7)));
        assert!(changed(&[other.clone(), ours.clone()].concat(), Some(9)));
        assert!(changed(&ours, None));
        assert!(!changed(&other, None));
        assert!(!changed(&[], None));
    }

    #[test]
    fn a_broken_message_counts_as_a_change() {
        assert!(changed(&message(7, b"x")[..16], Some(7)));
        assert!(changed(&[0; 16], Some(7)));
    }
}
