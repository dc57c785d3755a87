//! The instances that there are: starting, stopping, adopting them.
//!
//! What is made for an instance: its record, its folder, its pipe, its rules, its tun device, its control group, its
//! process. The record is written before the rest is made and removed after the rest is gone; openvpn is executed only
//! after the record names the process. So whatever instruction a helper dies at, the next one knows all that there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use culvert_link::pidfd::{Process, Refusal as Unadopted};
use culvert_link::{memfd, tun};
use culvert_model::Slot;
use culvert_wire::helper::{Refusal, Start};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::failure::{During, Failure};
use crate::firewall::Firewall;
use crate::heart::Heart;
use crate::place::Places;
use crate::record::{self, Folder, Record, Tunnel};
use crate::rules::{self, Guard};
use crate::{bounds, configuration, host, openvpn};

/// How long openvpn may take to say goodbye to its clients. Over UDP it takes two seconds, so that a word that is lost is
/// said again; requests wait behind this one meanwhile, as they do at `vpn`, which asks one thing at a time.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the kernel may take to end a process.
const KILL: Duration = Duration::from_secs(2);

/// All instances.
#[derive(Debug)]
pub struct Instances {
    folder: Folder,
    places: Places,
    firewall: Firewall,
    list: BTreeMap<Slot, Instance>,
    heart: Rc<Heart>,
}

#[derive(Debug)]
struct Instance {
    record: Record,
    /// OpenVPN, unless it was gone already when it was last looked for.
    process: Option<Process>,
}

impl Instance {
    fn running(&self) -> bool {
        self.process.as_ref().is_some_and(Process::alive)
    }
}

impl Instances {
    /// Takes over what earlier helpers left, and removes what has no record.
    ///
    /// What can't be done is logged: a helper that serves what there is is better than none.
    pub fn adopt(folder: Folder, places: Places, guard: Option<Guard>, heart: Heart) -> Self {
        let heart = Rc::new(heart);
        let firewall = Firewall::new(guard, Rc::clone(&heart));
        let mut all = Self { folder, places, firewall, list: BTreeMap::new(), heart };
        for slot in Slot::all() {
            match all.folder.load(slot) {
                Some(record) if record.process.is_some() => {
                    let process = adopted(&record);
                    all.list.insert(slot, Instance { record, process });
                }
                // What was begun and not finished: nobody was told that it is there.
                _ => all.clear(slot).unwrap_or_else(|failure| eprintln!("leftovers of instance {slot}: {failure}")),
            }
        }
        if let Err(failure) = all.install() {
            eprintln!("the nftables table culvert is not in place: {failure}");
        }
        all
    }

    /// Says that what was there is taken over.
    pub fn ready(&self) {
        self.heart.ready();
    }

    /// Which instances there are.
    pub fn list(&self) -> Vec<culvert_wire::helper::Instance> {
        let told = |(slot, instance): (&Slot, &Instance)| culvert_wire::helper::Instance {
            slot: *slot,
            server: instance.record.server,
            epoch: instance.record.epoch,
            pid: instance.record.process.as_ref().map_or(0, |process| process.pid.cast_unsigned()),
            running: instance.running(),
        };
        self.list.iter().map(told).collect()
    }

    /// Starts an instance. The end of what it prints, for reading.
    ///
    /// # Errors
    ///
    /// When it was not started; nothing of it is left.
    pub fn start(&mut self, start: &Start) -> Result<OwnedFd, Failure> {
        bounds::start(start).map_err(|reason| Failure::new(Refusal::Value, reason))?;
        if self.list.contains_key(&start.slot) {
            return Err(Failure::new(Refusal::InUse, format!("instance {} is there", start.slot)));
        }
        openvpn::present()?;
        host::unused(start.network)?;
        let record = Record { server: start.server, epoch: start.epoch, tunnel: Tunnel::of(start), process: None };
        self.folder.save(&record).during("writing the record")?;
        self.list.insert(start.slot, Instance { record, process: None });
        let made = self.make(start);
        if made.is_err()
            && let Err(failure) = self.stop(start.slot)
        {
            eprintln!("instance {}, which did not start, is not removed: {failure}", start.slot);
        }
        made
    }

    /// Ends an instance and removes all that was made for it. One that is not there is as good as removed.
    ///
    /// # Errors
    ///
    /// When something can't be removed: what is left is removed by the next attempt.
    pub fn stop(&mut self, slot: Slot) -> Result<(), Failure> {
        self.end(&[slot])?;
        self.clear(slot)?;
        if self.list.remove(&slot).is_some()
            && let Err(failure) = self.install()
        {
            // Rules for a device that is gone do nothing; the table is put right as soon as that is possible.
            eprintln!("the rules of instance {slot} are not removed: {failure}");
        }
        Ok(())
    }

    /// Ends all instances and removes all that any helper of this run folder made or changed.
    ///
    /// # Errors
    ///
    /// The first thing that can't be removed; the rest is.
    pub fn destroy(mut self) -> Result<(), Failure> {
        let slots: Vec<Slot> = self.list.keys().copied().collect();
        let mut outcomes = vec![self.end(&slots)];
        outcomes.extend(slots.into_iter().map(|slot| self.clear(slot)));
        outcomes.push(self.firewall.remove());
        outcomes.push(host::restore_forwarding(&self.folder));
        outcomes.push(self.places.destroy());
        outcomes.push(self.folder.destroy().during("removing the records"));
        outcomes.into_iter().collect()
    }

    /// Another end of what an instance prints.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn output(&self, slot: Slot) -> Result<OwnedFd, Failure> {
        self.known(slot)?;
        self.places.read_output(&self.folder, slot)
    }

    /// Sets which clients of an instance may send.
    ///
    /// # Errors
    ///
    /// When it is not there, an address is not one of its clients', or the rules can't be changed.
    pub fn set_clients(&mut self, slot: Slot, addresses: &[Ipv4Addr]) -> Result<(), Failure> {
        self.admit(slot, addresses, |_| addresses.iter().copied().collect())
    }

    /// Changes which clients of an instance may send. An address in both lists is let in.
    ///
    /// # Errors
    ///
    /// As [`Instances::set_clients`].
    pub fn change_clients(&mut self, slot: Slot, add: &[Ipv4Addr], remove: &[Ipv4Addr]) -> Result<(), Failure> {
        bounds::few(remove).map_err(|reason| Failure::new(Refusal::Value, reason))?;
        let remove: BTreeSet<Ipv4Addr> = remove.iter().copied().collect();
        self.admit(slot, add, |now| now.difference(&remove).chain(add).copied().collect())
    }

    /// Says that the helper lives.
    pub fn beat(&self) {
        self.heart.beat();
    }

    /// Says that the helper lives, and puts the rules in place again if somebody else changed them.
    pub fn tend(&mut self) {
        self.heart.beat();
        self.firewall.notice();
        self.firewall.repair(&tunnels(&self.list));
    }

    /// When to tend at the latest.
    pub fn due(&self) -> Instant {
        let heart = self.heart.due();
        self.firewall.due().map_or(heart, |due| due.min(heart))
    }

    /// Becomes readable when it is time to tend earlier.
    pub fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.firewall.changes()
    }

    /// Buries processes that ended, and says so.
    pub fn bury(&mut self) {
        for (slot, instance) in &self.list {
            if let Some(status) = instance.process.as_ref().and_then(Process::bury) {
                eprintln!("openvpn of instance {slot} ended: {status:?}");
            }
        }
    }

    /// Makes what an instance needs, its process last.
    fn make(&mut self, start: &Start) -> Result<OwnedFd, Failure> {
        let (slot, owner) = (start.slot, openvpn::owner(start.slot));
        host::forward(&self.folder)?;
        let folder = self.places.make(slot, owner)?;
        let output = self.places.make_output(&self.folder, slot)?;
        let reader = self.places.read_output(&self.folder, slot)?;
        self.install()?;
        let device = openvpn::device(slot);
        tun::make(&device, owner).map_err(openvpn::no_device)?;
        let (address, prefix) = (bounds::server_address(start.network), start.network.prefix_len());
        tun::configure(&device, address, prefix, start.mtu).during("configuring the tunnel")?;
        let text = configuration::render(start, &folder.join("management.sock"));
        let text = memfd::sealed("openvpn", text.as_bytes(), owner).during("holding the configuration ready")?;
        let cgroup = self.places.make_cgroup(slot);
        let held = openvpn::hold(start, text, output, cgroup.as_deref(), &folder)?;
        let identity = held.process().identity().during("looking at openvpn")?;
        self.remember(slot, |record| record.process = Some(record::Process::of(identity, cgroup)))?;
        let process = held.release().during("starting openvpn")?;
        if let Some(instance) = self.list.get_mut(&slot) {
            instance.process = Some(process);
        }
        Ok(reader)
    }

    /// Ends the openvpn of some instances, all at the same time.
    fn end(&self, slots: &[Slot]) -> Result<(), Failure> {
        let processes = || slots.iter().filter_map(|slot| self.list.get(slot)?.process.as_ref());
        // A signal that can't be sent finds its process gone, which is what is looked at behind it.
        for process in processes() {
            let _ = process.signal(Signal::SIGTERM);
        }
        let deadline = Instant::now() + PATIENCE;
        for process in processes() {
            if !self.ended(process, deadline)? {
                let _ = process.signal(Signal::SIGKILL);
                if !self.ended(process, Instant::now() + KILL)? {
                    return Err(Failure::new(Refusal::System(Errno::EBUSY as i32), "openvpn can't be killed"));
                }
            }
            // How it ended says nothing: it was told to.
            let _ = process.bury();
        }
        Ok(())
    }

    /// Waits for a process to end. Whether it did, at the deadline.
    fn ended(&self, process: &Process, deadline: Instant) -> Result<bool, Failure> {
        self.heart.wait(process, deadline).during("waiting for openvpn to end")
    }

    /// Removes all that was made for an instance but its rules, the record last.
    fn clear(&self, slot: Slot) -> Result<(), Failure> {
        self.places.clear_cgroup(slot)?;
        tun::remove(&openvpn::device(slot)).during("removing the tunnel")?;
        self.places.clear(&self.folder, slot)?;
        self.folder.remove(slot).during("removing the record")
    }

    fn admit<F>(&mut self, slot: Slot, addresses: &[Ipv4Addr], change: F) -> Result<(), Failure>
    where
        F: FnOnce(&BTreeSet<Ipv4Addr>) -> BTreeSet<Ipv4Addr>,
    {
        let value = |reason| Failure::new(Refusal::Value, reason);
        let tunnel = &self.known(slot)?.record.tunnel;
        bounds::clients(tunnel.network, addresses).map_err(value)?;
        let before = tunnel.clients.clone();
        let after = change(&before);
        bounds::admitted(after.len()).map_err(value)?;
        let (add, remove) = (&after - &before, &before - &after);
        if add.is_empty() && remove.is_empty() {
            return Ok(());
        }
        self.remember(slot, |record| record.tunnel.clients = after)?;
        let changed = self.firewall.change(&rules::change(slot, &add, &remove), &tunnels(&self.list));
        if changed.is_err() {
            self.remember(slot, |record| record.tunnel.clients = before)?;
        }
        changed
    }

    /// Changes a record, in its file first.
    fn remember(&mut self, slot: Slot, change: impl FnOnce(&mut Record)) -> Result<(), Failure> {
        let mut record = self.known(slot)?.record.clone();
        change(&mut record);
        self.folder.save(&record).during("writing the record")?;
        if let Some(instance) = self.list.get_mut(&slot) {
            instance.record = record;
        }
        Ok(())
    }

    fn install(&mut self) -> Result<(), Failure> {
        self.firewall.install(&tunnels(&self.list))
    }

    fn known(&self, slot: Slot) -> Result<&Instance, Failure> {
        self.list.get(&slot).ok_or_else(|| Failure::new(Refusal::Missing, format!("there is no instance {slot}")))
    }
}

fn tunnels(list: &BTreeMap<Slot, Instance>) -> Vec<&Tunnel> {
    list.values().map(|instance| &instance.record.tunnel).collect()
}

/// The process that a record names, if it is still that one.
fn adopted(record: &Record) -> Option<Process> {
    let recorded = record.process.as_ref()?;
    match Process::adopt(&recorded.identity(), recorded.cgroup.as_deref()) {
        Ok(process) => Some(process),
        Err(Unadopted::Gone(why)) => {
            eprintln!("openvpn of instance {} does not run any more: {why}", record.tunnel.slot);
            None
        }
        Err(Unadopted::Failed(error)) => {
            eprintln!("openvpn of instance {} can't be looked at: {error}", record.tunnel.slot);
            None
        }
    }
}
