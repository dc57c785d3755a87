//! What this host has to do so that its servers run: a pure function from what is wished and what is seen to actions.
//!
//! A crash anywhere is healed by the next plan: nothing is remembered that can't be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use culvert_lease::{Last, may_claim};
use culvert_model::record::{Instance as Record, Server};
use culvert_model::{HostId, Id, Millis, Slot};
use culvert_records::{Lease, Stored};
use culvert_wire::helper;

/// In whose name instances are claimed.
pub const OWNER: &str = "vpn";

/// How long a claim lasts, by the store's clock, in milliseconds.
pub const LEASE: Millis = 10_000;

/// How long after a granted request the claim is renewed, in milliseconds.
pub const RENEW: Millis = 3_000;

/// An instance that this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The server.
    pub server: Id,
    /// Which of the server's instances.
    pub number: u16,
    /// Under which epoch.
    pub epoch: u64,
    /// When the request that was granted last was sent, by this process's clock.
    pub renewed: Millis,
    /// Whether a renewal is under way.
    pub renewing: bool,
}

/// An instance's record with its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// The record's id.
    pub id: String,
    /// The server.
    pub server: Id,
    /// Which of the server's instances.
    pub number: u16,
    /// The host that ran it last.
    pub host: Option<HostId>,
    /// Its lease, as it was when the record was read.
    pub lease: Option<Lease>,
    /// The record's revision.
    pub revision: u64,
}

impl Seat {
    /// From what the store has.
    #[must_use]
    pub fn of(stored: &Stored<Record>) -> Option<Self> {
        let number = stored.record.id.rsplit_once('-')?.1.parse().ok()?;
        Some(Self {
            id: stored.record.id.clone(),
            server: stored.record.server,
            number,
            host: stored.record.host,
            lease: stored.lease.clone(),
            revision: stored.revision,
        })
    }

    /// The epoch under which this host's vpn holds it, if it does.
    fn ours(&self, host: HostId) -> Option<u64> {
        let lease = self.lease.as_ref()?;
        (lease.host == host && lease.owner == OWNER && lease.left > 0).then_some(lease.epoch)
    }

    fn free(&self, view: &View<'_>) -> bool {
        let left = self.lease.as_ref().map_or(0, |lease| lease.left);
        let last = match self.host {
            None => Last::Nobody,
            Some(host) if host == view.host => Last::Us,
            Some(_) => Last::Another,
        };
        may_claim(last, left, LEASE, view.contact)
    }
}

/// What is wished and seen.
#[derive(Debug)]
pub struct View<'a> {
    /// This host.
    pub host: HostId,
    /// Milliseconds by this process's clock.
    pub now: Millis,
    /// For how long the store has answered without a break, in milliseconds.
    pub contact: Millis,
    /// All servers.
    pub servers: &'a BTreeMap<Id, Server>,
    /// The servers whose users are known.
    pub covered: &'a BTreeSet<Id>,
    /// The records of instances; nothing before they were read.
    pub seats: Option<&'a [Seat]>,
    /// What the helper runs.
    pub running: &'a [helper::Instance],
    /// What this process holds, by record.
    pub held: &'a BTreeMap<String, Held>,
    /// The slots that somebody attends to.
    pub attended: &'a BTreeSet<Slot>,
    /// Until when a server that failed is left alone.
    pub resting: &'a BTreeMap<Id, Millis>,
    /// The servers for which something is under way.
    pub busy: &'a BTreeSet<Id>,
}

/// What is to be done. At most one at a time for each server, renewals aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the record of an instance.
    Create {
        /// The server.
        server: Id,
        /// Which of its instances.
        number: u16,
    },
    /// Claim an instance, if its record is still of this revision.
    Claim {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// The record's revision.
        revision: u64,
    },
    /// Go on under a claim of this host's vpn before us.
    Continue {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// The epoch of the claim.
        epoch: u64,
    },
    /// Renew a claim.
    Renew {
        /// The record.
        seat: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Start OpenVPN.
    Start {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// The claim's epoch.
        epoch: u64,
        /// In which slot.
        slot: Slot,
    },
    /// Attend to an OpenVPN that runs.
    Attach {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// Where it runs.
        slot: Slot,
        /// OpenVPN's process.
        pid: u32,
    },
    /// Remove what is left of an OpenVPN that ended by itself, and say so.
    Bury {
        /// The record, if it is held.
        seat: Option<String>,
        /// The server.
        server: Id,
        /// Where it ran.
        slot: Slot,
    },
    /// End OpenVPN, which tells its clients to come again.
    Stop {
        /// The server.
        server: Id,
        /// Where it runs.
        slot: Slot,
        /// Why.
        why: Why,
    },
    /// Give an instance up.
    Retire {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// The claim's epoch.
        epoch: u64,
    },
}

/// Why an OpenVPN is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The server is stopped, deleted, or not for this host any more.
    NotWished,
    /// Another host runs the instance.
    Moved,
    /// This host runs another one of the same server.
    Double,
}

impl Action {
    /// The server that is busy with it; none for renewals, which go on beside anything.
    #[must_use]
    pub fn server(&self) -> Option<Id> {
        match self {
            Self::Renew { .. } => None,
            Self::Create { server, .. }
            | Self::Claim { server, .. }
            | Self::Continue { server, .. }
            | Self::Start { server, .. }
            | Self::Attach { server, .. }
            | Self::Bury { server, .. }
            | Self::Stop { server, .. }
            | Self::Retire { server, .. } => Some(*server),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { server, number } => write!(f, "make the record of instance {number} of server {server}"),
            Self::Claim { seat, .. } => write!(f, "claim the instance {seat}"),
            Self::Continue { seat, epoch, .. } => write!(f, "go on with the instance {seat} under epoch {epoch}"),
            Self::Renew { seat, epoch } => write!(f, "renew the claim of the instance {seat} under epoch {epoch}"),
            Self::Start { seat, slot, .. } => write!(f, "start the instance {seat} in slot {slot}"),
            Self::Attach { seat, slot, pid, .. } => {
                write!(f, "attend to the instance {seat} in slot {slot}, process {pid}")
            }
            Self::Bury { server, slot, .. } => write!(f, "remove the dead instance of server {server} in slot {slot}"),
            Self::Stop { server, slot, why } => write!(f, "stop server {server} in slot {slot}: {why:?}"),
            Self::Retire { seat, .. } => write!(f, "give up the instance {seat}"),
        }
    }
}

/// What is to be done now.
#[must_use]
pub fn plan(view: &View<'_>) -> Vec<Action> {
    let renewals = view.held.iter().filter(|(_, held)| !held.renewing && view.now >= held.renewed + RENEW);
    let mut actions: Vec<Action> =
        renewals.map(|(seat, held)| Action::Renew { seat: seat.clone(), epoch: held.epoch }).collect();
    let Some(seats) = view.seats else { return actions };
    let mut starting = BTreeSet::new();
    for server in servers(view, seats) {
        if !view.busy.contains(&server) {
            actions.extend(step(view, seats, server, &mut starting));
        }
    }
    actions
}

/// Every server that this host has to do with.
fn servers(view: &View<'_>, seats: &[Seat]) -> BTreeSet<Id> {
    let wished = view.servers.values().filter(|server| wished(view, server)).map(|server| server.id);
    let running = view.running.iter().map(|instance| instance.server);
    let held = view.held.values().map(|held| held.server);
    let seated = seats.iter().filter(|seat| seat.host == Some(view.host)).map(|seat| seat.server);
    wished.chain(running).chain(held).chain(seated).collect()
}

fn wished(view: &View<'_>, server: &Server) -> bool {
    server.runs_on(view.host)
}

fn step(view: &View<'_>, seats: &[Seat], server: Id, starting: &mut BTreeSet<Slot>) -> Option<Action> {
    let mut running = view.running.iter().filter(|instance| instance.server == server);
    let instance = running.next();
    if let Some(double) = running.next() {
        return Some(Action::Stop { server, slot: double.slot, why: Why::Double });
    }
    let wish = view.servers.get(&server).filter(|server| wished(view, server));
    let held = view.held.iter().find(|(_, held)| held.server == server);
    let surplus = |held: &Held| wish.is_none_or(|wish| held.number >= wish.replica_count);
    match (wish, instance, held) {
        (None, Some(instance), _) => Some(Action::Stop { server, slot: instance.slot, why: Why::NotWished }),
        (Some(_), Some(instance), Some((_, held))) if surplus(held) => {
            Some(Action::Stop { server, slot: instance.slot, why: Why::NotWished })
        }
        (_, None, Some((seat, held))) if surplus(held) => {
            Some(Action::Retire { seat: seat.clone(), server, epoch: held.epoch })
        }
        (None, None, None) => leftover(view, seats, server),
        (None, None, Some(_)) => None,
        (Some(_), Some(instance), held) if !instance.running => {
            Some(Action::Bury { seat: held.map(|(seat, _)| seat.clone()), server, slot: instance.slot })
        }
        (Some(_), Some(instance), Some((seat, _))) => attend(view, seat, instance),
        (Some(wish), Some(instance), None) => regain(view, seats, wish, instance),
        (Some(_), None, Some((seat, held))) => start(view, seat, held, starting),
        (Some(wish), None, None) => seat(view, seats, wish),
    }
}

/// What this host's vpn before us held and did not give up.
fn leftover(view: &View<'_>, seats: &[Seat], server: Id) -> Option<Action> {
    let seat = seats.iter().find(|seat| seat.server == server && seat.host == Some(view.host))?;
    if let Some(epoch) = seat.ours(view.host) {
        return Some(Action::Retire { seat: seat.id.clone(), server, epoch });
    }
    seat.free(view).then(|| Action::Claim { seat: seat.id.clone(), server, revision: seat.revision })
}

fn attend(view: &View<'_>, seat: &str, instance: &helper::Instance) -> Option<Action> {
    let known = view.covered.contains(&instance.server) && !view.attended.contains(&instance.slot);
    known.then(|| Action::Attach {
        seat: seat.to_owned(),
        server: instance.server,
        slot: instance.slot,
        pid: instance.pid,
    })
}

/// It runs here, and this process does not hold it: another vpn of this host did, or the claim was lost.
fn regain(view: &View<'_>, seats: &[Seat], wish: &Server, instance: &helper::Instance) -> Option<Action> {
    let seats: Vec<&Seat> = seats.iter().filter(|seat| seat.server == wish.id).collect();
    if let Some((seat, epoch)) = seats.iter().find_map(|seat| Some((seat, seat.ours(view.host)?))) {
        return Some(Action::Continue { seat: seat.id.clone(), server: wish.id, epoch });
    }
    let own = seats.iter().find(|seat| seat.host == Some(view.host) && seat.number < wish.replica_count);
    if let Some(seat) = own.filter(|seat| seat.free(view)) {
        return Some(Action::Claim { seat: seat.id.clone(), server: wish.id, revision: seat.revision });
    }
    // Whoever started it wrote this host into a record. If none has it, another host has taken that over: there our
    // clients belong.
    if own.is_none() && seats.iter().any(|seat| seat.host.is_some()) {
        return Some(Action::Stop { server: wish.id, slot: instance.slot, why: Why::Moved });
    }
    seat_of(view, &seats, wish)
}

fn start(view: &View<'_>, seat: &str, held: &Held, starting: &mut BTreeSet<Slot>) -> Option<Action> {
    let rests = view.resting.get(&held.server).is_some_and(|until| view.now < *until);
    if rests || !view.covered.contains(&held.server) {
        return None;
    }
    let used = |slot: &Slot| {
        starting.contains(slot)
            || view.attended.contains(slot)
            || view.running.iter().any(|instance| instance.slot == *slot)
    };
    let slot = Slot::all().find(|slot| !used(slot))?;
    starting.insert(slot);
    Some(Action::Start { seat: seat.to_owned(), server: held.server, epoch: held.epoch, slot })
}

/// It is wished and this host has none.
fn seat(view: &View<'_>, seats: &[Seat], wish: &Server) -> Option<Action> {
    let seats: Vec<&Seat> = seats.iter().filter(|seat| seat.server == wish.id).collect();
    let rests = view.resting.get(&wish.id).is_some_and(|until| view.now < *until);
    if rests { None } else { seat_of(view, &seats, wish) }
}

fn seat_of(view: &View<'_>, seats: &[&Seat], wish: &Server) -> Option<Action> {
    let own = seats.iter().find_map(|seat| Some((seat, seat.ours(view.host)?)));
    if let Some((seat, epoch)) = own {
        return Some(Action::Continue { seat: seat.id.clone(), server: wish.id, epoch });
    }
    for number in 0..wish.replica_count {
        match seats.iter().find(|seat| seat.number == number) {
            None => return Some(Action::Create { server: wish.id, number }),
            Some(seat) if seat.free(view) => {
                return Some(Action::Claim { seat: seat.id.clone(), server: wish.id, revision: seat.revision });
            }
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
