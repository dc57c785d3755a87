//! The host's addresses, and whether it forwards packets.

use std::fs;
use std::net::IpAddr;

use culvert_link::pidfd::boot_id;
use culvert_link::tun::{self, Address};
use culvert_wire::helper::{Refusal, Reply};
use ipnet::{IpNet, Ipv4Net};

use crate::bounds;
use crate::failure::{During, Failure};
use crate::record::Folder;

/// Where the kernel says whether it forwards IPv4 packets.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What the names of our tun devices begin with.
pub const TUNNELS: &str = "culvert";

/// The file that remembers what was there before us.
const REMEMBERED: &str = "forwarding";

/// The host's addresses but those of loopback, of link-local use and of our tunnels.
///
/// # Errors
///
/// When the kernel doesn't tell.
pub fn addresses() -> Result<Reply, Failure> {
    let all = tun::addresses().during("listing the host's addresses")?;
    let outside: Vec<Address> = all.into_iter().filter(outside).collect();
    let interface = tun::default_route().during("asking for the default route")?;
    let first = |interface: String| {
        let found = outside.iter().find(|one| one.interface == interface && one.address.is_ipv4());
        found.map(|one| one.address)
    };
    let default = interface.and_then(first);
    let all = outside.iter().filter_map(|one| IpNet::new(one.address, one.prefix).ok()).collect();
    Ok(Reply::Addresses { default, all })
}

/// Refuses a network that has addresses in common with one of the host's interfaces, our tunnels included.
///
/// # Errors
///
/// Such an interface, or that the kernel doesn't tell.
pub fn unused(network: Ipv4Net) -> Result<(), Failure> {
    let all = tun::addresses().during("listing the host's addresses")?;
    let overlaps = |one: &&Address| match one.address {
        IpAddr::V4(address) => Ipv4Net::new(address, one.prefix).is_ok_and(|other| bounds::overlap(network, other)),
        IpAddr::V6(_) => false,
    };
    match all.iter().find(overlaps) {
        None => Ok(()),
        Some(Address { interface, address, prefix, .. }) => {
            Err(Failure::new(Refusal::NetworkInUse, format!("{network}, because of {address}/{prefix} on {interface}")))
        }
    }
}

/// Has the kernel forward packets, and writes down what it did before, once in each boot.
///
/// # Errors
///
/// When it can't be changed.
pub fn forward(folder: &Folder) -> Result<(), Failure> {
    let now = fs::read_to_string(FORWARDING).during("asking whether the kernel forwards packets")?;
    if now.trim() == "1" {
        return Ok(());
    }
    let boot = boot_id().during("reading the boot id")?;
    folder.write(REMEMBERED, boot.as_bytes()).during("writing down that the kernel did not forward packets")?;
    fs::write(FORWARDING, "1").during("having the kernel forward packets (net.ipv4.ip_forward)")
}

/// Undoes [`forward`], if it was we who changed it.
///
/// # Errors
///
/// When it can't be changed.
pub fn restore_forwarding(folder: &Folder) -> Result<(), Failure> {
    let boot = boot_id().during("reading the boot id")?;
    match folder.read(REMEMBERED) {
        Some(bytes) if bytes == boot.as_bytes() => fs::write(FORWARDING, "0").during("restoring net.ipv4.ip_forward"),
        _ => Ok(()),
    }
}

/// Whether others can reach the host at an address.
fn outside(one: &Address) -> bool {
    let local = match one.address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !one.loopback && !local && !one.interface.starts_with(TUNNELS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_address_of_the_host() {
        let Ok(Reply::Addresses { all, .. }) = addresses() else { panic!("addresses") };
        assert!(all.iter().all(|network| !network.addr().is_loopback()), "{all:?}");
    }
}
