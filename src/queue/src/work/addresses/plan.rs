//! What becomes of the addresses that are given away. No I/O: whoever asks reads them page by page, twice, and what is kept
//! of each in between is a few bytes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use culvert_model::Id;
use culvert_model::network::{free, usable};
use culvert_model::record::{Address, Server};
use culvert_records::{Stored, Write, delete, insert, update};
use ipnet::Ipv4Net;

/// From what is held to what is to be: who is to have an address on a server, and which are given away.
pub struct Roster {
    server: Id,
    network: Ipv4Net,
    /// Whether each has an own address.
    members: BTreeMap<Id, bool>,
    used: BTreeSet<Ipv4Addr>,
    /// What those from a former network become.
    next: BTreeSet<Ipv4Addr>,
}

impl Roster {
    /// Of these users, of whom nothing is known yet.
    pub fn new(server: &Server, members: BTreeSet<Id>) -> Self {
        let members = members.into_iter().map(|user| (user, false)).collect();
        Self { server: server.id, network: server.network, members, used: BTreeSet::new(), next: BTreeSet::new() }
    }

    /// Whose addresses these are, as far as they are not among those who are to have one.
    pub fn strangers(&self, held: &[Stored<Address>]) -> BTreeSet<Id> {
        held.iter().map(|held| held.record.user).filter(|user| !self.members.contains_key(user)).collect()
    }

    /// One more is to have an address.
    pub fn admit(&mut self, user: Id) {
        self.members.entry(user).or_default();
    }

    /// The first reading: takes in who has what, and takes away what is nobody's.
    pub fn read(&mut self, held: &[Stored<Address>]) -> Vec<Write> {
        let mut writes = Vec::new();
        for held in held {
            let Address { id, user, address, next, .. } = &held.record;
            let Some(has) = self.members.get_mut(user) else {
                writes.push(delete::<Address>(id, held.unchanged()));
                continue;
            };
            *has |= *id == Address::name(self.server, *user, 0);
            if usable(self.network, *address) {
                self.used.insert(*address);
            } else {
                self.next.extend(next.filter(|next| usable(self.network, *next)));
            }
        }
        writes
    }

    /// Who has none, as far as those can be read.
    pub fn without(&self) -> Vec<Id> {
        self.members.iter().filter(|(_, has)| !**has).map(|(user, _)| *user).collect()
    }

    /// Somebody has one that can't be read.
    pub fn has(&mut self, user: Id) {
        self.members.insert(user, true);
    }

    /// When all were read: what is given away, and who gets the rest.
    pub fn close(mut self) -> (BTreeSet<Ipv4Addr>, Settling) {
        self.next.retain(|next| self.used.insert(*next));
        let Self { server, network, members, used, next } = self;
        (used, Settling { server, network, members, next })
    }
}

/// The rest of it, with the addresses that are free.
pub struct Settling {
    server: Id,
    network: Ipv4Net,
    members: BTreeMap<Id, bool>,
    next: BTreeSet<Ipv4Addr>,
}

impl Settling {
    /// The second reading: each address is in the network now. When that is full, some are left as they are. An address
    /// that is read again behind its own change is right.
    pub fn settle(&mut self, held: &[Stored<Address>], free: &mut impl Iterator<Item = Ipv4Addr>) -> Vec<Write> {
        let mut writes = Vec::new();
        for held in held.iter().filter(|held| self.members.contains_key(&held.record.user)) {
            let Address { address, next, .. } = held.record;
            let kept = Some(address).filter(|address| usable(self.network, *address));
            let kept = kept.or_else(|| next.filter(|next| self.next.remove(next)));
            let Some(address) = kept.or_else(|| free.next()) else { continue };
            let settled = Address { address, next: None, ..held.record.clone() };
            if settled != held.record {
                writes.push(update(&settled, held.unchanged()));
            }
        }
        writes
    }

    /// Who has none gets one, as long as some are free.
    pub fn give(&self, free: impl Iterator<Item = Ipv4Addr>) -> impl Iterator<Item = Write> {
        let without = self.members.iter().filter(|(_, has)| !**has);
        without.zip(free).map(|((user, _), address)| insert(&Address::new(self.server, *user, 0, address)))
    }
}

/// A move into another network: what each address becomes.
pub struct Move {
    old: Ipv4Net,
    next: BTreeMap<Ipv4Addr, Ipv4Addr>,
}

impl Move {
    /// Of the addresses that are given away, as [`Self::current`] says. None, if the new network has too few.
    pub fn plan(current: &BTreeSet<Ipv4Addr>, [old, new]: [Ipv4Net; 2]) -> Option<Self> {
        Some(Self { old, next: successors(current, [old, new])? })
    }

    /// What it is in the network that the server had.
    pub fn current(old: Ipv4Net, held: &Address) -> Ipv4Addr {
        held.within(old).unwrap_or(held.address)
    }

    /// What writes beside each address the one that it becomes.
    pub fn stage(&self, held: &[Stored<Address>]) -> Vec<Write> {
        let staged = held.iter().map(|held| {
            let address = Self::current(self.old, &held.record);
            let next = self.next.get(&address).copied().filter(|next| *next != address);
            (Address { address, next, ..held.record.clone() }, held)
        });
        let changed = staged.filter(|(staged, held)| *staged != held.record);
        changed.map(|(staged, held)| update(&staged, held.unchanged())).collect()
    }
}

/// Which address each becomes: itself if it lies in the new network, too, so that no two ever want the same one while some
/// are moved and some are not; or else the one at the same place, if that is free; or else the lowest that is.
fn successors(current: &BTreeSet<Ipv4Addr>, [old, new]: [Ipv4Net; 2]) -> Option<BTreeMap<Ipv4Addr, Ipv4Addr>> {
    let (stay, go): (BTreeSet<_>, BTreeSet<_>) = current.iter().partition(|address| usable(new, **address));
    let mut next: BTreeMap<_, _> = stay.iter().map(|address| (*address, *address)).collect();
    let mut used = stay;
    for address in &go {
        let place = u32::from(*address).checked_sub(u32::from(old.network()));
        let same = place.and_then(|place| u32::from(new.network()).checked_add(place)).map(Ipv4Addr::from);
        if let Some(same) = same.filter(|same| usable(new, *same) && used.insert(*same)) {
            next.insert(*address, same);
        }
    }
    let mut free = free(new, &used);
    for address in go {
        if let Entry::Vacant(place) = next.entry(address) {
            place.insert(free.next()?);
        }
    }
    Some(next)
}

#[cfg(test)]
mod tests;
