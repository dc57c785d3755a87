//! Tun devices and the machine's interfaces and addresses.

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc::{self, Ioctl, c_int, ifreq, sockaddr_in};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, socket};

use crate::Error;
use crate::error::During;

/// The device that makes tun devices.
pub const NODE: &str = "/dev/net/tun";

/// Makes a tun device that stays until it is removed, and that `owner` may attach to without any privilege. One that is
/// there and attached to nobody is taken over.
///
/// # Errors
///
/// When the kernel has no tun devices, or one of that name is in use.
pub fn make(name: &str, owner: u32) -> Result<(), Error> {
    let device = attach(name)?;
    let doing = || format!("making the tun device {name}");
    set(&device, libc::TUNSETOWNER, u64::from(owner)).during(doing)?;
    set(&device, libc::TUNSETPERSIST, 1).during(doing)
}

/// Removes a tun device. One that is not there is as good as removed.
///
/// # Errors
///
/// When a process is still attached to it.
pub fn remove(name: &str) -> Result<(), Error> {
    if !exists(name) {
        return Ok(());
    }
    let device = attach(name)?;
    set(&device, libc::TUNSETPERSIST, 0).during(|| format!("removing the tun device {name}"))
}

/// Whether an interface of that name is there.
#[must_use]
pub fn exists(name: &str) -> bool {
    if_nametoindex(name).is_ok()
}

/// Gives an interface its IPv4 address and MTU in bytes, and sets it up.
///
/// # Errors
///
/// When it is not there, or the kernel refuses a value.
pub fn configure(name: &str, address: Ipv4Addr, prefix: u8, mtu: u16) -> Result<(), Error> {
    let control = control().during(|| format!("configuring the interface {name}"))?;
    let mask = Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0));
    let mut mtu_request = request(name)?;
    mtu_request.ifr_ifru.ifru_mtu = c_int::from(mtu);
    ask(&control, libc::SIOCSIFMTU, &mut mtu_request).during(|| format!("setting the MTU of {name} to {mtu}"))?;
    for (command, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        let mut address_request = request(name)?;
        address_request.ifr_ifru.ifru_addr = socket_address(value);
        let doing = || format!("giving {name} the address {address}/{prefix}");
        ask(&control, command, &mut address_request).during(doing)?;
    }
    up(name)
}

/// Sets an interface up.
///
/// # Errors
///
/// When it is not there, or the caller may not.
pub fn up(name: &str) -> Result<(), Error> {
    let doing = || format!("setting the interface {name} up");
    let control = control().during(doing)?;
    let mut flags_request = request(name)?;
    ask(&control, libc::SIOCGIFFLAGS, &mut flags_request).during(doing)?;
    // SAFETY: SIOCGIFFLAGS has just written this member of the union; every bit pattern is a value of it anyway.
    #[allow(unsafe_code)]
    let flags = unsafe { flags_request.ifr_ifru.ifru_flags };
    let up =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(|_| Error::other(doing(), "no such flag"))?;
    flags_request.ifr_ifru.ifru_flags = flags | up;
    ask(&control, libc::SIOCSIFFLAGS, &mut flags_request).during(doing)
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The interface's name.
    pub interface: String,
    /// Whether the interface is up.
    pub up: bool,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// The address.
    pub address: IpAddr,
    /// How many bits of it name the network.
    pub prefix: u8,
}

/// All addresses of all interfaces.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn addresses() -> Result<Vec<Address>, Error> {
    let all = nix::ifaddrs::getifaddrs().during(|| "listing the machine's addresses".to_owned())?;
    Ok(all
        .filter_map(|one| {
            let address = ip(&one.address?)?;
            let prefix = prefix(ip(&one.netmask?)?);
            let has = |flag| one.flags.contains(flag);
            let (up, loopback) = (has(InterfaceFlags::IFF_UP), has(InterfaceFlags::IFF_LOOPBACK));
            Some(Address { interface: one.interface_name, up, loopback, address, prefix })
        })
        .collect())
}

/// The interface that the default route goes out of, the one with the smallest metric if there are several.
///
/// # Errors
///
/// When `/proc` is not there.
pub fn default_route() -> Result<Option<String>, Error> {
    let path = "/proc/thread-self/net/route";
    Ok(default_of(&std::fs::read_to_string(path).during(|| format!("reading {path}"))?))
}

fn default_of(table: &str) -> Option<String> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (interface, destination, metric, mask) = (fields.first()?, fields.get(1)?, fields.get(6)?, fields.get(7)?);
        let everything = *destination == "00000000" && *mask == "00000000";
        everything.then_some((metric.parse::<u32>().ok()?, (*interface).to_owned()))
    });
    routes.min().map(|(_, interface)| interface)
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    match address.family()? {
        AddressFamily::Inet => Some(IpAddr::V4(address.as_sockaddr_in()?.ip())),
        AddressFamily::Inet6 => Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())),
        _ => None,
    }
}

fn prefix(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    u8::try_from(ones).unwrap_or(0)
}

/// Opens the tun device of that name; the kernel makes it if it is not there.
fn attach(name: &str) -> Result<File, Error> {
    let device = OpenOptions::new().read(true).write(true).open(NODE).during(|| format!("opening {NODE}"))?;
    let mut tun_request = request(name)?;
    let flags = libc::c_short::try_from(libc::IFF_TUN | libc::IFF_NO_PI);
    tun_request.ifr_ifru.ifru_flags = flags.map_err(|_| Error::other("opening a tun device", "no such flag"))?;
    ask(&device, libc::TUNSETIFF, &mut tun_request).during(|| format!("opening the tun device {name}"))?;
    Ok(device)
}

/// The socket through which interfaces are asked and told.
fn control() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

/// An empty request about an interface.
fn request(name: &str) -> Result<ifreq, Error> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(Error::other(format!("naming the interface {name:?}"), "a name has 1 to 15 bytes"));
    }
    // SAFETY: ifreq is made of integers, arrays and unions of such; all zeros is a value of each.
    #[allow(unsafe_code)]
    let mut empty: ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in empty.ifr_name.iter_mut().zip(bytes) {
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    Ok(empty)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
    let inner = sockaddr_in {
        sin_family: family,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain structures of integers of 16 bytes, and the kernel reads one as the other by its family.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<sockaddr_in, libc::sockaddr>(inner)
    }
}

/// An ioctl that takes a request by pointer.
fn ask(descriptor: &impl AsFd, command: Ioctl, request: &mut ifreq) -> nix::Result<()> {
    // SAFETY: every command that this file passes takes a pointer to an ifreq, which is valid for the call.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(descriptor.as_fd().as_raw_fd(), command, std::ptr::from_mut(request)) };
    nix::errno::Errno::result(result).map(|_| ())
}

/// An ioctl that takes a number.
fn set(descriptor: &impl AsFd, command: Ioctl, value: u64) -> nix::Result<()> {
    // SAFETY: every command that this file passes takes a number and no pointer.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(descriptor.as_fd().as_raw_fd(), command, value) };
    nix::errno::Errno::result(result).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns;

    /// Runs a test in a network namespace of its own.
    fn apart(test: impl FnOnce() + Send + 'static) {
        let namespace = netns::make(true).expect("a namespace");
        let inside = move || {
            netns::enter(&namespace).expect("entered");
            test();
        };
        std::thread::spawn(inside).join().expect("the test holds");
    }

    #[test]
    fn a_device_is_made_configured_found_again_and_removed() {
        apart(|| {
            make("linktest0", 1234).expect("made");
            make("linktest0", 1235).expect("taken over");
            configure("linktest0", Ipv4Addr::new(10, 99, 0, 1), 24, 1400).expect("configured");
            let all = addresses().expect("a list");
            let ours = all.iter().find(|one| one.interface == "linktest0").expect("it is listed");
            assert_eq!((ours.address, ours.prefix, ours.up), (Ipv4Addr::new(10, 99, 0, 1).into(), 24, true));
            let routes = std::fs::read_to_string("/proc/thread-self/net/route").expect("routes");
            assert!(routes.lines().any(|line| line.starts_with("linktest0\t0000630A")), "{routes}");
            remove("linktest0").expect("removed");
            assert!(!exists("linktest0"));
            remove("linktest0").expect("nothing to remove");
        });
    }

    #[test]
    fn a_device_in_use_is_not_removed() {
        apart(|| {
            make("linktest1", 0).expect("made");
            let held = attach("linktest1").expect("attached");
            assert!(remove("linktest1").is_err());
            drop(held);
            remove("linktest1").expect("removed");
        });
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for name in ["", "a-name-that-is-too-long", "a\0b"] {
            assert!(make(name, 0).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_default_route_with_the_smallest_metric_counts() {
        let table = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            eth1 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n\
            eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n\
            eth2 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        assert_eq!(default_of(table).as_deref(), Some("eth0"));
        assert_eq!(default_of("Iface\n"), None);
    }
}
