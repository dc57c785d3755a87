//! What this host has to do so that its servers run: a pure function from what is wished and what is seen to actions.
//!
//! A crash anywhere is healed by the next plan: nothing is remembered that can't be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use culvert_lease::{Last, may_claim};
use culvert_model::record::{Instance as Record, Server};
use culvert_model::{HostId, Id, Millis, Slot};
use culvert_records::{Claim, Stored};
use culvert_wire::helper;

/// In whose name instances are claimed: every claim's word begins with it.
pub const OWNER: &str = "vpn";

/// How long a claim lasts, by the store's clock, in milliseconds.
pub const LEASE: Millis = 10_000;

/// An instance that this process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The server.
    pub server: Id,
    /// Under which claim; nothing while it has run out and is asked for again.
    pub claim: Option<Claim>,
}

/// An instance's record with its lease, as it was when it was read.
pub type Seat = Stored<Record>;

/// The claim under which this host's vpn holds it, if it does.
fn ours(seat: &Seat, host: HostId) -> Option<Claim> {
    let here = seat.lease.as_ref().is_some_and(|lease| lease.host == host && lease.left > 0);
    seat.claim().filter(|claim| here && claim.owner.starts_with(OWNER))
}

fn is_free(seat: &Seat, view: &View<'_>) -> bool {
    let last = match seat.record.host {
        None => Last::Nobody,
        Some(host) if host == view.host => Last::Us,
        Some(_) => Last::Another,
    };
    may_claim(last, seat.held_for(), LEASE, view.contact)
}

/// Whether the server is to have an instance of this id.
fn is_wanted(seat: &str, wish: &Server) -> bool {
    Record::number(seat).is_some_and(|number| number < wish.replica_count)
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

/// What is to be done. At most one at a time for each server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the record of an instance.
    Create {
        /// The server.
        server: Id,
        /// Which of its instances.
        number: u16,
    },
    /// Claim an instance, if its record is still as it was found.
    Claim(Box<Seat>),
    /// Go on with what this host's vpn before us held, or what this one was granted without hearing of it.
    Continue {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// The claim under which it is held.
        former: Claim,
    },
    /// Start OpenVPN.
    Start {
        /// The record.
        seat: String,
        /// The server.
        server: Id,
        /// The claim under which it is held.
        claim: Claim,
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
        /// The claim under which it is held.
        claim: Claim,
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
    /// The server that is busy with it.
    #[must_use]
    pub fn server(&self) -> Id {
        match self {
            Self::Claim(seat) => seat.record.server,
            Self::Create { server, .. }
            | Self::Continue { server, .. }
            | Self::Start { server, .. }
            | Self::Attach { server, .. }
            | Self::Bury { server, .. }
            | Self::Stop { server, .. }
            | Self::Retire { server, .. } => *server,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { server, number } => write!(f, "make the record of instance {number} of server {server}"),
            Self::Claim(seat) => write!(f, "claim the instance {}", seat.record.id),
            Self::Continue { seat, former, .. } => {
                write!(f, "go on with the instance {seat} under epoch {}", former.epoch)
            }
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
    let Some(seats) = view.seats else { return Vec::new() };
    let mut starting = BTreeSet::new();
    let idle = servers(view, seats).into_iter().filter(|server| !view.busy.contains(server));
    idle.filter_map(|server| step(view, seats, server, &mut starting)).collect()
}

/// Every server that this host has to do with.
fn servers(view: &View<'_>, seats: &[Seat]) -> BTreeSet<Id> {
    let wished = view.servers.values().filter(|server| wished(view, server)).map(|server| server.id);
    let running = view.running.iter().map(|instance| instance.server);
    let held = view.held.values().map(|held| held.server);
    let seated = seats.iter().filter(|seat| seat.record.host == Some(view.host)).map(|seat| seat.record.server);
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
    let is_surplus = |seat: &str| wish.is_none_or(|wish| !is_wanted(seat, wish));
    match (wish, instance, held) {
        (None, Some(instance), _) => Some(Action::Stop { server, slot: instance.slot, why: Why::NotWished }),
        (Some(_), Some(instance), Some((seat, _))) if is_surplus(seat) => {
            Some(Action::Stop { server, slot: instance.slot, why: Why::NotWished })
        }
        (_, None, Some((seat, held))) if is_surplus(seat) => {
            Some(Action::Retire { seat: seat.clone(), server, claim: held.claim.clone()? })
        }
        (None, None, _) => leftover(view, seats, server),
        (Some(_), Some(instance), held) if !instance.running => {
            Some(Action::Bury { seat: held.map(|(seat, _)| seat.clone()), server, slot: instance.slot })
        }
        (Some(_), Some(instance), Some((seat, _))) => attend(view, seat, instance),
        (Some(wish), Some(instance), None) => regain(view, seats, wish, instance),
        (Some(_), None, Some((seat, held))) => start(view, seat, held, starting),
        (Some(wish), None, None) => seat(view, seats, wish),
    }
}

/// What this host's vpn before us held and did not give up: it is held first, and then retired.
fn leftover(view: &View<'_>, seats: &[Seat], server: Id) -> Option<Action> {
    take(view, seats.iter().find(|seat| seat.record.server == server && seat.record.host == Some(view.host))?)
}

/// Goes on with an instance, or claims it, if one of the two may be.
fn take(view: &View<'_>, seat: &Seat) -> Option<Action> {
    match ours(seat, view.host) {
        Some(former) => Some(Action::Continue { seat: seat.record.id.clone(), server: seat.record.server, former }),
        None => is_free(seat, view).then(|| Action::Claim(Box::new(seat.clone()))),
    }
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
    let seats = of_server(seats, wish.id);
    if seats.iter().any(|seat| ours(seat, view.host).is_some()) {
        return seat_of(view, &seats, wish);
    }
    let own = seats.iter().find(|seat| seat.record.host == Some(view.host) && is_wanted(&seat.record.id, wish));
    // Whoever started it wrote this host into a record. If all have others by now, ours was taken over: there our clients
    // belong. One that has nobody was only freed, since this host could not be reached for so long.
    let elsewhere =
        |number| seats.iter().any(|seat| seat.record.id == Record::name(wish.id, number) && seat.record.host.is_some());
    if own.is_none() && (0..wish.replica_count).all(elsewhere) {
        return Some(Action::Stop { server: wish.id, slot: instance.slot, why: Why::Moved });
    }
    own.and_then(|seat| take(view, seat)).or_else(|| seat_of(view, &seats, wish))
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
    let claim = held.claim.clone()?;
    starting.insert(slot);
    Some(Action::Start { seat: seat.to_owned(), server: held.server, claim, slot })
}

/// It is wished and this host has none.
fn seat(view: &View<'_>, seats: &[Seat], wish: &Server) -> Option<Action> {
    let rests = view.resting.get(&wish.id).is_some_and(|until| view.now < *until);
    if rests { None } else { seat_of(view, &of_server(seats, wish.id), wish) }
}

fn of_server(seats: &[Seat], server: Id) -> Vec<&Seat> {
    seats.iter().filter(|seat| seat.record.server == server).collect()
}

/// The one that is ours already, or the first that may be.
fn seat_of(view: &View<'_>, seats: &[&Seat], wish: &Server) -> Option<Action> {
    if let Some(seat) = seats.iter().find(|seat| ours(seat, view.host).is_some()) {
        return take(view, seat);
    }
    (0..wish.replica_count).find_map(|number| {
        match seats.iter().find(|seat| seat.record.id == Record::name(wish.id, number)) {
            None => Some(Action::Create { server: wish.id, number }),
            Some(seat) => take(view, seat),
        }
    })
}

#[cfg(test)]
mod tests;
