//! The descriptors that the process was started with, by name.

use std::os::fd::OwnedFd;

use nix::sys::socket::{AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};
use tokio::net::{TcpListener, UnixListener};

use crate::Error;

/// The descriptors that the process was started with.
#[derive(Debug, Default)]
pub struct Sockets {
    by_name: Vec<(String, OwnedFd)>,
}

impl Sockets {
    pub(crate) fn new(by_name: Vec<(String, OwnedFd)>) -> Self {
        Self { by_name }
    }

    /// Takes the first descriptor of that name.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let place = self.by_name.iter().position(|(known, _)| known == name)?;
        Some(self.by_name.remove(place).1)
    }

    /// Takes all descriptors whose name begins with `prefix`.
    pub fn take_prefix(&mut self, prefix: &str) -> Vec<(String, OwnedFd)> {
        self.by_name.extract_if(.., |(name, _)| name.starts_with(prefix)).collect()
    }

    /// Takes a listening unix stream socket. Must be called inside the runtime.
    ///
    /// # Errors
    ///
    /// When none of that name was handed over, or it is something else.
    pub fn unix_listener(&mut self, name: &str) -> Result<UnixListener, Error> {
        let Some(descriptor) = self.take(name) else {
            let text = format!(
                "the socket `{name}` was not handed over; `culvert run` and systemd start this process with it"
            );
            return Err(Error::Start(text));
        };
        expect(name, &descriptor, &[AddressFamily::Unix])?;
        let listener = std::os::unix::net::UnixListener::from(descriptor);
        let doing = |error| Error::system(format!("taking over the socket `{name}`"), error);
        listener.set_nonblocking(true).map_err(doing)?;
        UnixListener::from_std(listener).map_err(doing)
    }

    /// Takes a listening TCP socket, if one of that name was handed over. Must be called inside the runtime.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn tcp_listener(&mut self, name: &str) -> Result<Option<TcpListener>, Error> {
        let Some(descriptor) = self.take(name) else { return Ok(None) };
        expect(name, &descriptor, &[AddressFamily::Inet, AddressFamily::Inet6])?;
        let listener = std::net::TcpListener::from(descriptor);
        let doing = |error| Error::system(format!("taking over the socket `{name}`"), error);
        listener.set_nonblocking(true).map_err(doing)?;
        TcpListener::from_std(listener).map(Some).map_err(doing)
    }
}

/// Refuses a descriptor that is no listening stream socket of one of the families.
fn expect(name: &str, descriptor: &OwnedFd, families: &[AddressFamily]) -> Result<(), Error> {
    let wrong = || Error::Start(format!("the socket `{name}` is of the wrong kind; check who starts this process"));
    let number = std::os::fd::AsRawFd::as_raw_fd(descriptor);
    let address: SockaddrStorage = getsockname(number).map_err(|_| wrong())?;
    let family = address.family().ok_or_else(wrong)?;
    let kind = getsockopt(descriptor, sockopt::SockType).map_err(|_| wrong())?;
    let listens = getsockopt(descriptor, sockopt::AcceptConn).map_err(|_| wrong())?;
    if families.contains(&family) && kind == SockType::Stream && listens { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_taken_once_and_only_as_what_it_is() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let file = std::fs::File::open("/dev/null").expect("a file");
        let mut sockets = Sockets::new(vec![("https".into(), tcp.into()), ("instance-1".into(), file.into())]);
        assert!(sockets.tcp_listener("https").expect("a listener").is_some());
        assert!(sockets.tcp_listener("https").expect("none left").is_none());
        assert!(sockets.unix_listener("cli").is_err());
        assert_eq!(sockets.take_prefix("instance-").len(), 1);
        assert!(sockets.take_prefix("instance-").is_empty());
    }

    #[tokio::test]
    async fn another_kind_of_socket_is_refused() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let mut sockets = Sockets::new(vec![("cli".into(), tcp.into())]);
        assert!(sockets.unix_listener("cli").is_err());
    }
}
