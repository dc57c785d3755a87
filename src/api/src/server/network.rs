//! Which networks and ports servers may have, and choosing free ones (`semantics.md` section f).

use std::net::Ipv4Addr;

use std::time::Duration;

use culvert_model::network::{overlap, room};
use culvert_model::record::{Networks, Server};
use culvert_model::{Port, Protocol};
use culvert_records::Write;
use ipnet::Ipv4Net;
use tokio::sync::MutexGuard;
use tokio::time::timeout;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::random;

/// A server's network lies inside one of these.
const ALLOWED: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "6.0.0.0/8",
    "7.0.0.0/8",
    "11.0.0.0/8",
    "21.0.0.0/8",
    "22.0.0.0/8",
    "26.0.0.0/8",
    "28.0.0.0/8",
    "29.0.0.0/8",
    "30.0.0.0/8",
    "33.0.0.0/8",
];

/// From the largest network that the helper makes to the smallest, as prefix lengths.
const SIZES: std::ops::RangeInclusive<u8> = 10..=29;

/// How long others that choose are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A choice of a network or a port that no other server has, from before the look at the others until it is written.
#[derive(Debug)]
pub struct Place<'a> {
    turn: Write,
    /// The first to be done has all others look again, so here they come one after the other. Between hosts, and when that
    /// takes too long, only the write decides.
    _alone: Option<MutexGuard<'a, ()>>,
}

impl<'a> Place<'a> {
    /// Begins to choose.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn choose(api: &'a Api) -> Answer<Self> {
        let alone = timeout(PATIENCE, api.choosing.lock()).await.ok();
        Ok(Self { turn: api.bus.turn::<Networks>().await?, _alone: alone })
    }

    /// The write that goes along with what was chosen: it is refused if others have chosen meanwhile.
    pub fn taken(&self) -> Write {
        self.turn.clone()
    }
}

/// The network that an administrator wrote.
///
/// # Errors
///
/// It is none that a server may have.
pub fn read(text: &str) -> Answer<Ipv4Net> {
    let text = text.trim();
    let network = text.parse::<Ipv4Net>().ok().or_else(|| dotted(text));
    let network = network.filter(|network| network.trunc() == *network && allowed(*network));
    network.ok_or_else(|| {
        let text =
            "The network must be a private IPv4 network without host bits, from /10 to /29, such as 10.20.0.0/24.";
        No::field("network", "network_invalid", text)
    })
}

/// A network with its mask written out: `10.20.0.0/255.255.255.0`.
fn dotted(text: &str) -> Option<Ipv4Net> {
    let (address, mask) = text.split_once('/')?;
    Ipv4Net::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()
}

fn allowed(network: Ipv4Net) -> bool {
    let within = |range: &str| range.parse::<Ipv4Net>().is_ok_and(|range| range.contains(&network));
    SIZES.contains(&network.prefix_len()) && ALLOWED.iter().any(|range| within(range))
}

/// The prefix length of the smallest network that has addresses for so many clients, if there is any.
pub fn fitting(clients: u64) -> Option<u8> {
    let network = |prefix| Ipv4Net::new(Ipv4Addr::UNSPECIFIED, prefix).expect("at most 32 bits");
    SIZES.rev().find(|prefix| room(network(*prefix)) >= clients)
}

/// A network that no other server has: 192.168.N.0/24, N by chance in 215 to 249, or else in 15 to 214.
///
/// # Errors
///
/// None is left.
pub fn choose<'a>(others: impl Iterator<Item = &'a Server>) -> Answer<Ipv4Net> {
    let taken: Vec<Ipv4Net> = others.map(|server| server.network).collect();
    let network =
        |number: u32| Ipv4Net::new(Ipv4Addr::new(192, 168, number as u8, 0), 24).expect("24 bits are a prefix");
    let free = |number: &u32| taken.iter().all(|other| !overlap(*other, network(*number)));
    for range in [215..250, 15..215] {
        let free: Vec<u32> = range.filter(free).collect();
        if !free.is_empty() {
            return Ok(network(free[random::below(free.len() as u32) as usize]));
        }
    }
    Err(No::field("network", "network_in_use", "No network of 192.168.0.0/16 is left. Name one."))
}

/// A port that no other server has with this protocol: by chance in 10000 to 19998.
///
/// # Errors
///
/// None is left.
pub fn choose_port<'a>(protocol: Protocol, others: impl Iterator<Item = &'a Server>) -> Answer<Port> {
    let taken: Vec<u16> = others.filter(|server| server.protocol == protocol).map(|server| server.port.get()).collect();
    let start = random::below(9999);
    let port = (0..9999).map(|step| 10_000 + (start + step) % 9999).find(|port| !taken.contains(&(*port as u16)));
    port.and_then(|port| Port::try_from(i64::from(port)).ok())
        .ok_or_else(|| No::field("port", "port_protocol_in_use", "No port from 10000 to 19998 is left. Name one."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for good in ["10.20.0.0/24", " 192.168.5.0/24", "100.64.0.0/10", "10.0.0.0/255.255.0.0", "11.0.0.0/29"] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in ["10.20.0.1/24", "10.0.0.0/8", "8.8.8.0/24", "10.0.0.0/30", "10.0.0.0", "fd00::/64", "", "x/24"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_smallest_that_fits() {
        for (clients, prefix) in [(0, 29), (5, 29), (6, 28), (253, 24), (254, 23), (4_194_301, 10)] {
            assert_eq!(fitting(clients), Some(prefix), "{clients}");
        }
        assert_eq!(fitting(4_194_302), None);
    }
}
