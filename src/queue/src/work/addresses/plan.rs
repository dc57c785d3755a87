//! What becomes of the addresses that are given away. No I/O.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use culvert_model::Id;
use culvert_model::network::{free, usable};
use culvert_model::record::{Address, Server};
use culvert_records::{Stored, Write, delete, insert, update};
use ipnet::Ipv4Net;

/// From what is held to what is to be. When the network is full, some are left without.
pub fn settle(server: &Server, members: &BTreeSet<Id>, held: &[Stored<Address>]) -> Vec<Write> {
    let (stay, go): (Vec<_>, Vec<_>) = held.iter().partition(|held| members.contains(&held.record.user));
    let mut used = BTreeSet::new();
    let mut kept = |held: &Stored<Address>| held.record.within(server.network).filter(|address| used.insert(*address));
    let kept: Vec<_> = stay.iter().map(|held| kept(held)).collect();
    let mut free = free(server.network, &used);
    let mut writes: Vec<_> = go.iter().map(|held| delete::<Address>(&held.record.id, held.unchanged())).collect();
    for (held, kept) in stay.iter().zip(kept) {
        let Some(address) = kept.or_else(|| free.next()) else { break };
        let settled = Address { address, next: None, ..held.record.clone() };
        if settled != held.record {
            writes.push(update(&settled, held.unchanged()));
        }
    }
    let have: BTreeSet<&str> = stay.iter().map(|held| held.record.id.as_str()).collect();
    let without = members.iter().filter(|user| !have.contains(Address::name(server.id, **user, 0).as_str()));
    writes.extend(without.zip(free).map(|(user, address)| insert(&Address::new(server.id, *user, 0, address))));
    writes
}

/// What writes beside each address the one that it becomes. None, if the new network has too few.
pub fn stage(held: &[Stored<Address>], [old, new]: [Ipv4Net; 2]) -> Option<Vec<Write>> {
    let current = |held: &Stored<Address>| held.record.within(old).unwrap_or(held.record.address);
    let next = successors(&held.iter().map(current).collect(), [old, new])?;
    let staged = held.iter().map(|held| {
        let address = current(held);
        Address { address, next: Some(next[&address]).filter(|next| *next != address), ..held.record.clone() }
    });
    let changed = staged.zip(held).filter(|(staged, held)| *staged != held.record);
    Some(changed.map(|(staged, held)| update(&staged, held.unchanged())).collect())
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
