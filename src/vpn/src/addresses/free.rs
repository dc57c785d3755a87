//! Which address a new client gets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::grant::gateway;

/// The addresses that clients of this network can have: all but the network's, the server's and the broadcast address.
#[must_use]
pub fn usable(network: Ipv4Net, address: Ipv4Addr) -> bool {
    let edge = address == network.network() || address == network.broadcast();
    network.contains(&address) && !edge && address != gateway(network)
}

/// The lowest address that nobody has.
#[must_use]
pub fn lowest_free(network: Ipv4Net, used: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let first = u32::from(network.network()).checked_add(2)?;
    let mut free = first;
    for address in used.range(Ipv4Addr::from(first)..) {
        if u32::from(*address) != free {
            break;
        }
        free = free.checked_add(1)?;
    }
    Some(Ipv4Addr::from(free)).filter(|address| usable(network, *address))
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
            let address = lowest_free(network, &used).expect("one is free");
            assert_eq!(address, Ipv4Addr::new(10, 0, 0, last));
            used.insert(address);
        }
        assert_eq!(lowest_free(network, &used), None);
    }

    #[test]
    fn the_end_of_all_addresses() {
        let network: Ipv4Net = "255.255.255.248/29".parse().expect("a network");
        let used = (249..255).map(|last| Ipv4Addr::new(255, 255, 255, last)).collect();
        assert_eq!(lowest_free(network, &used), None);
    }

    proptest! {
        #[test]
        fn free_usable_and_lowest(base in any::<u32>(), prefix in 10u8..=29, offsets in proptest::collection::btree_set(0u32..40, 0..40)) {
            let network = Ipv4Net::new(Ipv4Addr::from(base), prefix).expect("a prefix").trunc();
            let start = u32::from(network.network());
            let used: BTreeSet<_> = offsets.iter().filter_map(|offset| start.checked_add(*offset)).map(Ipv4Addr::from).collect();
            let found = lowest_free(network, &used);
            let expected = network.hosts().find(|address| usable(network, *address) && !used.contains(address));
            prop_assert_eq!(found, expected);
        }
    }
}
