//! The addresses that a server's network has for its clients.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The server's own address in its clients' network.
#[must_use]
pub fn gateway(network: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network.network()).saturating_add(1))
}

/// Whether a client can have this address: any of the network's but its first, the server's and the broadcast address.
#[must_use]
pub fn usable(network: Ipv4Net, address: Ipv4Addr) -> bool {
    let edge = address == network.network() || address == network.broadcast();
    network.contains(&address) && !edge && address != gateway(network)
}

/// Whether two networks share addresses.
#[must_use]
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// How many clients can have an address.
#[must_use]
pub const fn room(network: Ipv4Net) -> u64 {
    (1_u64 << (32 - network.prefix_len())).saturating_sub(3)
}

/// The addresses that nobody has, the lowest first.
pub fn free(network: Ipv4Net, used: &BTreeSet<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> {
    let mut used = used.range(network.network()..).peekable();
    network.hosts().filter(move |address| {
        while used.next_if(|other| *other < address).is_some() {}
        used.peek() != Some(&address) && usable(network, *address)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_network_has_none() {
        let network: Ipv4Net = "10.0.0.0/29".parse().expect("a network");
        let mut used = BTreeSet::new();
        for last in 2..7 {
            let address = free(network, &used).next().expect("one is free");
            assert_eq!(address, Ipv4Addr::new(10, 0, 0, last));
            used.insert(address);
        }
        assert_eq!(free(network, &used).next(), None);
        assert_eq!(room(network), 5);
    }

    #[test]
    fn the_end_of_all_addresses() {
        let network: Ipv4Net = "255.255.255.248/29".parse().expect("a network");
        let used = (249..255).map(|last| Ipv4Addr::new(255, 255, 255, last)).collect();
        assert_eq!(free(network, &used).next(), None);
    }

    proptest! {
        #[test]
        fn free_usable_and_in_order(base in any::<u32>(), prefix in 20u8..=29, offsets in proptest::collection::btree_set(0u32..40, 0..40)) {
            let network = Ipv4Net::new(Ipv4Addr::from(base), prefix).expect("a prefix").trunc();
            let start = u32::from(network.network());
            let used: BTreeSet<_> = offsets.iter().filter_map(|offset| start.checked_add(*offset)).map(Ipv4Addr::from).collect();
            let all: Vec<_> = network.hosts().filter(|address| usable(network, *address)).collect();
            prop_assert_eq!(all.len() as u64, room(network));
            let expected: Vec<_> = all.into_iter().filter(|address| !used.contains(address)).collect();
            prop_assert_eq!(free(network, &used).collect::<Vec<_>>(), expected);
        }
    }
}
