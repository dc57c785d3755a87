//! Whatever is held and wherever a server is moved: nobody ever has two addresses, and no two the same.

use culvert_model::{Kind, Record};
use proptest::prelude::*;

use super::*;

/// A server with an unimportant rest.
fn server(network: Ipv4Net) -> Server {
    let rest = serde_json::json!({
        "id": Id::from_bytes([1; 12]), "name": "", "online": false, "started": null, "network": network, "bind_address": null,
        "protocol": "udp", "port": 1194, "organizations": [], "hosts": [], "replica_count": 1, "routes": [],
        "certificate": null, "groups": [], "dns_servers": [], "search_domain": null, "cipher": "aes256",
        "hash": "sha256", "dh_param_bits": 2048, "multi_device": false, "inter_client": false,
        "restrict_routes": false, "otp_auth": false, "ping_interval": 10, "ping_timeout": 60, "inactive_timeout": null,
        "session_timeout": null, "max_clients": 1, "max_devices": 0, "tun_mtu": null, "mss_fix": null, "debug": false,
        "block_outside_dns": false, "pre_connect_msg": null,
    });
    serde_json::from_value(rest).expect("a server")
}

/// As many are read at a time.
const PAGE: usize = 7;

/// All that is written for a server, if nobody writes meanwhile.
fn settle(server: &Server, members: &BTreeSet<Id>, held: &[Stored<Address>]) -> Vec<Write> {
    let mut roster = Roster::new(server, members.clone());
    let mut writes: Vec<_> = held.chunks(PAGE).flat_map(|page| roster.read(page)).collect();
    let (used, mut settling) = roster.close();
    let mut free = free(server.network, &used);
    for page in held.chunks(PAGE) {
        writes.extend(settling.settle(page, &mut free));
    }
    writes.extend(settling.give(free));
    writes
}

fn stage(held: &[Stored<Address>], [old, new]: [Ipv4Net; 2]) -> Option<Vec<Write>> {
    let plan = Move::plan(&held.iter().map(|held| Move::current(old, &held.record)).collect(), [old, new])?;
    Some(held.chunks(PAGE).flat_map(|page| plan.stage(page)).collect())
}

/// The page behind this address, in the order of the store's index.
fn page(held: &[Stored<Address>], after: Option<Ipv4Addr>) -> Vec<Stored<Address>> {
    let mut page: Vec<_> = held.iter().filter(|held| Some(held.record.address) > after).cloned().collect();
    page.sort_by_key(|held| held.record.address);
    page.truncate(PAGE);
    page
}

/// Reads and writes by turns, as the queue does: what is read may be what was written before.
fn settle_by_pages(
    server: &Server,
    members: &BTreeSet<Id>,
    held: &mut Vec<Stored<Address>>,
) -> Result<(), TestCaseError> {
    let mut roster = Roster::new(server, members.clone());
    let last = |page: &[Stored<Address>]| page.last().map(|held| held.record.address);
    let mut after = None;
    while let Some(end) = last(&page(held, after)) {
        let writes = roster.read(&page(held, after));
        apply(held, writes)?;
        after = Some(end);
    }
    let (used, mut settling) = roster.close();
    let mut free = free(server.network, &used);
    let mut after = None;
    while let Some(end) = last(&page(held, after)) {
        let writes = settling.settle(&page(held, after), &mut free);
        apply(held, writes)?;
        after = Some(end);
    }
    apply(held, settling.give(free).collect())
}

fn user(number: usize) -> Id {
    let mut bytes = [0; 12];
    bytes[11] = number as u8;
    Id::from_bytes(bytes)
}

/// Does the writes one after the other, as the store does, with its unique index.
fn apply(held: &mut Vec<Stored<Address>>, writes: Vec<Write>) -> Result<(), TestCaseError> {
    for write in writes {
        prop_assert_eq!(write.target().0, Kind::Address);
        match write {
            Write::Insert { body, .. } => {
                let record: Address = serde_json::from_slice(&body).expect("an address");
                prop_assert!(held.iter().all(|held| held.record.id != record.id), "{} is there", record.id);
                held.push(Stored { record, revision: 1, lease: None });
            }
            Write::Update { body, .. } => {
                let record: Address = serde_json::from_slice(&body).expect("an address");
                let place = held.iter_mut().find(|held| held.record.id() == record.id).expect("it is there");
                place.record = record;
            }
            Write::Delete { id, .. } => held.retain(|held| held.record.id != id),
            _ => prop_assert!(false, "another write"),
        }
        let different: BTreeSet<_> = held.iter().map(|held| held.record.address).collect();
        prop_assert_eq!(different.len(), held.len(), "the index refuses two of the same");
    }
    Ok(())
}

/// Everybody's address in a network, all different.
fn within(held: &[Stored<Address>], network: Ipv4Net) -> Result<BTreeMap<Id, Ipv4Addr>, TestCaseError> {
    let all: Vec<_> = held.iter().filter_map(|held| Some((held.record.user, held.record.within(network)?))).collect();
    let different: BTreeSet<_> = all.iter().map(|(_, address)| *address).collect();
    prop_assert_eq!((all.len(), different.len()), (held.len(), held.len()));
    Ok(all.into_iter().collect())
}

/// Networks of 10.0.0.0/16: some hold others.
fn network() -> impl Strategy<Value = Ipv4Net> {
    (0..8_u8, 23..=26_u8, any::<u8>()).prop_map(|(third, prefix, last)| {
        Ipv4Net::new(Ipv4Addr::new(10, 0, third, last), prefix).expect("a prefix").trunc()
    })
}

proptest! {
    #[test]
    fn moved_or_taken_back(
        old in network(),
        new in network(),
        places in prop::collection::btree_set(0_usize..500, 0..60),
        written in 0_usize..80,
    ) {
        let clients: Vec<_> = old.hosts().filter(|address| usable(old, *address)).collect();
                let addresses: BTreeSet<_> = places.iter().map(|place| clients[place % clients.len()]).collect();
        let members: BTreeSet<Id> = (0..addresses.len()).map(user).collect();
        let mut held: Vec<_> = addresses.iter().zip(&members).map(|(address, user)| {
            let record = Address::new(Id::from_bytes([1; 12]), *user, 0, *address);
            Stored { record, revision: 1, lease: None }
        }).collect();
        let before = within(&held, old)?;
        let Some(mut writes) = stage(&held, [old, new]) else {
            prop_assert!(addresses.len() as u64 > culvert_model::network::room(new));
            return Ok(());
        };

        // Killed in the middle: the old ones count. Taken back from there, it is as if nothing had been.
        let rest = writes.split_off(written.min(writes.len()));
        apply(&mut held, writes)?;
        prop_assert_eq!(&within(&held, old)?, &before);
        let mut back = held.clone();
        let settled = settle(&server(old), &members, &back);
        apply(&mut back, settled)?;
        prop_assert_eq!(&within(&back, old)?, &before);
        prop_assert!(back.iter().all(|held| held.record.next.is_none()));

        // Begun again by another, it is what it would have been.
        let again = stage(&held, [old, new]).expect("as before");
        prop_assert_eq!(again.len(), rest.len());
        apply(&mut held, again)?;
        prop_assert_eq!(&within(&held, old)?, &before);
        let after = within(&held, new)?;
        for (user, address) in &before {
            prop_assert!(!usable(new, *address) || after[user] == *address);
        }
        let mut by_pages = held.clone();
        settle_by_pages(&server(new), &members, &mut by_pages)?;
        prop_assert_eq!(&within(&by_pages, new)?, &after);
        prop_assert!(by_pages.iter().all(|held| held.record.next.is_none()));
        let mut settled = settle(&server(new), &members, &held);
        settled.truncate(written);
        apply(&mut held, settled)?;
        prop_assert_eq!(&within(&held, new)?, &after, "settled in part");
        let rest = settle(&server(new), &members, &held);
        apply(&mut held, rest)?;
        prop_assert_eq!(&within(&held, new)?, &after);
        prop_assert!(held.iter().all(|held| held.record.next.is_none()));
        prop_assert!(settle(&server(new), &members, &held).is_empty());
    }

    #[test]
    fn members_have_addresses_and_nobody_else(
        network in network(),
        held in prop::collection::btree_map(0_usize..60, 0_usize..100, 0..40),
        members in prop::collection::btree_set(0_usize..60, 0..60),
    ) {
        let clients: Vec<_> = network.hosts().filter(|address| usable(network, *address)).collect();
        let places: BTreeMap<_, _> = held.iter().map(|(number, place)| (clients[place % clients.len()], *number)).collect();
        let members: BTreeSet<Id> = members.into_iter().map(user).collect();
        let mut held: Vec<_> = places.into_iter().map(|(address, number)| {
            let record = Address::new(Id::from_bytes([1; 12]), user(number), 0, address);
            Stored { record, revision: 1, lease: None }
        }).collect();
        let before: BTreeMap<_, _> = within(&held, network)?.into_iter().filter(|(user, _)| members.contains(user)).collect();
        let mut by_pages = held.clone();
        settle_by_pages(&server(network), &members, &mut by_pages)?;
        let settled = settle(&server(network), &members, &held);
        apply(&mut held, settled)?;
        let after = within(&held, network)?;
        prop_assert_eq!(&within(&by_pages, network)?, &after);
        let expected = members.len().min(culvert_model::network::room(network) as usize);
        prop_assert_eq!(after.len(), expected);
        prop_assert!(after.keys().all(|user| members.contains(user)));
        prop_assert!(before.iter().all(|(user, address)| after[user] == *address));
    }
}
