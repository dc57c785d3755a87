//! Which values the helper accepts. Their types exclude most of what is bad; the rest is refused here, before anything
//! is made.

use std::net::Ipv4Addr;

use culvert_wire::helper::{BLOB, CAS, CLIENTS, DH, ROUTES, Start};
use ipnet::{IpNet, Ipv4Net};

/// The length of a tls-crypt key in bytes.
const TLS_CRYPT: usize = 256;

/// The most addresses that may be let in at one instance: its clients, and as many that are just being replaced.
const ADMITTED: usize = 2 * 4096;

/// Why a request was refused.
pub type Reason = &'static str;

/// Checks all of a request to start an instance.
///
/// # Errors
///
/// What is outside its range.
pub fn start(start: &Start) -> Result<(), Reason> {
    network(start.network)?;
    let checks = [
        ((1..=4096).contains(&start.max_clients), "max_clients is not between 1 and 4096"),
        ((576..=9000).contains(&start.mtu), "mtu is not between 576 and 9000"),
        (start.ping > 0 && start.ping < start.ping_restart, "ping is not between 1 and ping_restart"),
        (start.routes.len() <= ROUTES, "there are too many routes"),
        (start.routes.iter().all(|route| route.network == route.network.trunc()), "a route has host bits"),
        ((1..=CAS).contains(&start.ca.len()), "there is no CA, or there are too many"),
        (start.ca.iter().all(|ca| blob(ca)), "a CA's certificate is empty or too long"),
        (blob(&start.certificate), "the certificate is empty or too long"),
        (blob(&start.key), "the key is empty or too long"),
        (start.tls_crypt.len() == TLS_CRYPT, "the tls-crypt key does not have 256 bytes"),
        (start.dh.as_ref().is_none_or(|dh| (1..=DH).contains(&dh.len())), "the DH parameters are empty or too long"),
        (start.bind.is_none_or(|address| !address.is_multicast()), "the address to listen on is a multicast address"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, reason)| Err(reason))
}

/// Checks addresses of clients in `network`.
///
/// # Errors
///
/// When one can't be a client's, or there are too many.
pub fn clients(network: Ipv4Net, addresses: &[Ipv4Addr]) -> Result<(), Reason> {
    few(addresses)?;
    let taken = [network.network(), server_address(network), network.broadcast()];
    let client = |address: &Ipv4Addr| network.contains(address) && !taken.contains(address);
    if addresses.iter().all(client) { Ok(()) } else { Err("an address is not one of the network's clients") }
}

/// Checks how many addresses there are in one request.
///
/// # Errors
///
/// When they are too many.
pub fn few(addresses: &[Ipv4Addr]) -> Result<(), Reason> {
    if addresses.len() <= CLIENTS { Ok(()) } else { Err("there are too many addresses in one request") }
}

/// Checks how many clients are let in at once.
///
/// # Errors
///
/// When they are too many.
pub fn admitted(count: usize) -> Result<(), Reason> {
    if count <= ADMITTED { Ok(()) } else { Err("too many clients are let in") }
}

/// The server's own address in the tunnel: the first of its network.
pub fn server_address(network: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network.network()).wrapping_add(1))
}

/// Whether two networks have an address in common.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

fn network(network: Ipv4Net) -> Result<(), Reason> {
    if !(10..=29).contains(&network.prefix_len()) {
        return Err("the network's prefix is not between /10 and /29");
    }
    if network != network.trunc() {
        return Err("the network has host bits");
    }
    // "This network", loopback, link-local, and everything from multicast on.
    let reserved = [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([169, 254, 0, 0], 16), ([224, 0, 0, 0], 3)];
    let reserved = reserved.map(|(address, prefix)| Ipv4Net::new_assert(Ipv4Addr::from(address), prefix));
    if reserved.into_iter().any(|other| overlap(network, other)) {
        return Err("the network is one that is never routed");
    }
    Ok(())
}

fn blob(bytes: &[u8]) -> bool {
    (1..=BLOB).contains(&bytes.len())
}

/// The IPv4 networks among routes: a tunnel carries nothing else.
pub fn version_4(network: IpNet) -> Option<Ipv4Net> {
    match network {
        IpNet::V4(network) => Some(network),
        IpNet::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    fn refused(change: impl FnOnce(&mut Start)) -> bool {
        let mut request = example::start();
        change(&mut request);
        start(&request).is_err()
    }

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a network")
    }

    #[test]
    fn the_example_is_accepted() {
        assert_eq!(start(&example::start()), Ok(()));
    }

    #[test]
    fn networks_outside_the_ranges_are_refused() {
        for bad in ["10.0.0.0/9", "10.0.0.0/30", "10.8.0.1/16", "127.0.0.0/16", "169.254.8.0/24", "224.0.0.0/16"] {
            assert!(refused(|start| start.network = net(bad)), "{bad}");
        }
        for good in ["10.0.0.0/10", "192.168.7.8/29", "172.16.0.0/12"] {
            assert!(!refused(|start| start.network = net(good)), "{good}");
        }
    }

    #[test]
    fn numbers_outside_the_ranges_are_refused() {
        assert!(refused(|start| start.max_clients = 0));
        assert!(refused(|start| start.max_clients = 4097));
        assert!(refused(|start| start.mtu = 575));
        assert!(refused(|start| start.mtu = 9001));
        assert!(refused(|start| start.ping = 0));
        assert!(refused(|start| start.ping_restart = start.ping));
    }

    #[test]
    fn key_material_has_a_length() {
        assert!(refused(|start| start.tls_crypt = vec![0; 255]));
        assert!(refused(|start| start.key = vec![0; BLOB + 1]));
        assert!(refused(|start| start.certificate = Vec::new()));
        assert!(refused(|start| start.ca = Vec::new()));
        assert!(refused(|start| start.ca = vec![vec![1]; CAS + 1]));
        assert!(refused(|start| start.ca = vec![Vec::new()]));
        assert!(refused(|start| start.dh = Some(vec![0; DH + 1])));
        assert!(refused(|start| start.dh = Some(Vec::new())));
        assert!(!refused(|start| start.dh = None));
    }

    #[test]
    fn a_client_is_inside_its_network_and_none_of_the_three_others() {
        let network = net("10.8.0.0/29");
        assert_eq!(clients(network, &[[10, 8, 0, 2].into(), [10, 8, 0, 6].into()]), Ok(()));
        for bad in [[10, 8, 0, 0], [10, 8, 0, 1], [10, 8, 0, 7], [10, 8, 0, 8], [127, 0, 0, 1]] {
            assert!(clients(network, &[bad.into()]).is_err(), "{bad:?}");
        }
        assert!(clients(network, &vec![[10, 8, 0, 2].into(); CLIENTS + 1]).is_err());
    }
}
