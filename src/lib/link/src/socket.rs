//! Listening sockets and who is at the other end of one.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, connect, getsockopt, listen,
    setsockopt, socket, sockopt,
};
use nix::unistd::{Gid, Uid, chown};

use crate::Error;
use crate::error::During;

/// How many connections may wait for `accept`.
const BACKLOG: i32 = 512;

/// The process at the other end of a unix socket, as it was when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

/// Who is at the other end of a unix socket.
///
/// # Errors
///
/// When it is no unix socket.
pub fn peer(socket: &impl AsFd) -> Result<Peer, Error> {
    let who = getsockopt(socket, sockopt::PeerCredentials).during(|| "asking for a socket's peer".to_owned())?;
    Ok(Peer { pid: who.pid(), uid: who.uid(), gid: who.gid() })
}

/// Binds a listening stream socket at `path`, replacing what was left there by another. It has `mode`, and belongs to
/// `owner` and `group` if they are given.
///
/// # Errors
///
/// When it cannot be bound.
pub fn stream(path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>) -> Result<UnixListener, Error> {
    Ok(bound(path, SockType::Stream, mode, owner, group)?.into())
}

/// As [`stream`], with sequenced packets.
///
/// # Errors
///
/// When it cannot be bound.
pub fn packets(path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>) -> Result<OwnedFd, Error> {
    bound(path, SockType::SeqPacket, mode, owner, group)
}

/// As [`stream`], with datagrams.
///
/// # Errors
///
/// When it cannot be bound.
pub fn datagram(path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>) -> Result<UnixDatagram, Error> {
    Ok(bound(path, SockType::Datagram, mode, owner, group)?.into())
}

/// Connects to a socket of sequenced packets.
///
/// # Errors
///
/// When nobody listens there.
pub fn connect_packets(path: &Path) -> Result<OwnedFd, Error> {
    let doing = || format!("connecting to {}", path.display());
    let socket = unix(SockType::SeqPacket).during(doing)?;
    let address = UnixAddr::new(path).during(doing)?;
    connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address).during(doing)?;
    Ok(socket)
}

/// Binds a listening TCP socket. An IPv6 address takes IPv6 only, except `[::]`, which takes both.
///
/// # Errors
///
/// When it cannot be bound: [`Error::kind`] is `AddrInUse` when another has the port.
pub fn tcp(address: SocketAddr) -> Result<TcpListener, Error> {
    let doing = || format!("listening on {address}");
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during(doing)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true).during(doing)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &!address.ip().is_unspecified()).during(doing)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(address)).during(doing)?;
    listen(&socket, Backlog::new(BACKLOG).during(doing)?).during(doing)?;
    Ok(socket.into())
}

fn unix(kind: SockType) -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)
}

fn bound(path: &Path, kind: SockType, mode: u32, owner: Option<u32>, group: Option<u32>) -> Result<OwnedFd, Error> {
    let doing = || format!("binding {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::new(doing(), error)),
        _ => {}
    }
    let socket = unix(kind).during(doing)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(path).during(doing)?).during(doing)?;
    // The owner first: until the mode is set below only those may connect whom the umask lets, and nobody is listening.
    chown(path, owner.map(Uid::from_raw), group.map(Gid::from_raw)).during(doing)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).during(doing)?;
    if kind != SockType::Datagram {
        listen(&socket, Backlog::new(BACKLOG).during(doing)?).during(doing)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_socket_is_who_connected() {
        let (a, _b) = UnixDatagram::pair().expect("a pair");
        let peer = peer(&a).expect("a peer");
        assert_eq!((peer.pid, peer.uid), (std::process::id().cast_signed(), nix::unistd::getuid().as_raw()));
    }

    #[test]
    fn a_port_that_is_taken_is_told_apart() {
        let first = tcp("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let error = tcp(first.local_addr().expect("its address")).expect_err("the port is taken");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
