//! Sequenced packets with at most one descriptor each.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, accept4, recvmsg, sendmsg};

/// The most descriptors that the kernel lets into one packet: with room for all of them none can be lost on the way in.
const DESCRIPTORS: usize = 253;

/// A connected socket of sequenced packets. All calls are non-blocking inside, so the socket may be shared with an
/// event loop; those with a deadline wait by `poll`.
#[derive(Debug)]
pub struct Packets(OwnedFd);

impl Packets {
    /// From a connected socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// A connected pair.
    ///
    /// # Errors
    ///
    /// When no socket can be made.
    pub fn pair() -> io::Result<(Self, Self)> {
        use nix::sys::socket::{AddressFamily, SockType, socketpair};
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(a), Self(b)))
    }

    /// Sends one packet, waiting at most until `deadline`.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline; `BrokenPipe` when the other end is gone.
    pub fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>, deadline: Instant) -> io::Result<()> {
        loop {
            match self.try_send(bytes, descriptor) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(self.0.as_fd(), PollFlags::POLLOUT, deadline)?
                }
                done => return done,
            }
        }
    }

    /// Receives one packet of at most `limit` bytes, waiting at most until `deadline`. `None` is the end.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline; `InvalidData` when the packet is longer or carries more than one descriptor.
    pub fn receive(&self, limit: usize, deadline: Instant) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        loop {
            match self.try_receive(limit) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(self.0.as_fd(), PollFlags::POLLIN, deadline)?
                }
                done => return done,
            }
        }
    }

    /// As [`Packets::send`], without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is no room now.
    pub fn try_send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let slices = [io::IoSlice::new(bytes)];
        let numbers: Vec<RawFd> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control: &[ControlMessage<'_>] = if numbers.is_empty() { &[] } else { &rights };
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let sent = again(|| sendmsg::<()>(self.0.as_raw_fd(), &slices, control, flags, None))?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::WriteZero, "half a packet was sent"))
        }
    }

    /// As [`Packets::receive`], without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none now.
    pub fn try_receive(&self, limit: usize) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
        let mut bytes = vec![0; limit];
        let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let (length, truncated, mut descriptors) = {
            let mut slices = [io::IoSliceMut::new(&mut bytes)];
            let received: RecvMsg<'_, '_, ()> = loop {
                match recvmsg(self.0.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                    Err(nix::Error::EINTR) => {}
                    result => break result?,
                }
            };
            let mut descriptors = Vec::new();
            for part in received.cmsgs()? {
                if let ControlMessageOwned::ScmRights(numbers) = part {
                    descriptors.extend(numbers.into_iter().map(own));
                }
            }
            (received.bytes, received.flags.contains(MsgFlags::MSG_TRUNC), descriptors)
        };
        if truncated || descriptors.len() > 1 {
            let why = if truncated { "the packet is too long" } else { "the packet carries more than one descriptor" };
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if length == 0 && descriptors.is_empty() {
            return Ok(None);
        }
        bytes.truncate(length);
        Ok(Some((bytes, descriptors.pop())))
    }
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Packets {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Packets> for OwnedFd {
    fn from(packets: Packets) -> Self {
        packets.0
    }
}

/// Accepts a connection, waiting at most until `deadline`.
///
/// # Errors
///
/// `TimedOut` at the deadline.
pub fn accept(listener: &impl AsFd, deadline: Instant) -> io::Result<Packets> {
    wait(listener.as_fd(), PollFlags::POLLIN, deadline)?;
    let number = again(|| accept4(listener.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC))?;
    Ok(Packets(own(number)))
}

/// Waits until `descriptor` can be read.
///
/// # Errors
///
/// `TimedOut` at the deadline.
pub fn readable(descriptor: BorrowedFd<'_>, deadline: Instant) -> io::Result<()> {
    wait(descriptor, PollFlags::POLLIN, deadline)
}

/// Waits for an event, or for what makes the next call fail.
fn wait(descriptor: BorrowedFd<'_>, event: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait does not spin through the rest of a millisecond.
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(descriptor, event)], left) {
            Ok(0) if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Repeats a call that a signal interrupted.
fn again<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            done => return done,
        }
    }
}

/// Takes over a descriptor that the kernel has just made for this process.
pub(crate) fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the number comes straight out of a system call that opened it, so it is open and nobody else owns it.
    #[allow(unsafe_code)]
    unsafe {
        OwnedFd::from_raw_fd(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    #[test]
    fn a_descriptor_goes_along() {
        let (a, b) = Packets::pair().expect("a pair");
        let file = std::fs::File::open("/proc/self/comm").expect("a file");
        a.send(b"here", Some(file.as_fd()), soon()).expect("sent");
        let (bytes, descriptor) = b.receive(10, soon()).expect("received").expect("a packet");
        let mut text = String::new();
        std::fs::File::from(descriptor.expect("a descriptor")).read_to_string(&mut text).expect("read");
        assert_eq!(bytes, b"here");
        assert!(!text.is_empty());
    }

    #[test]
    fn packets_keep_their_bounds_and_the_end_is_seen() {
        let (a, b) = Packets::pair().expect("a pair");
        a.send(b"one", None, soon()).expect("sent");
        a.send(b"two", None, soon()).expect("sent");
        drop(a);
        assert_eq!(b.receive(10, soon()).expect("received").expect("a packet").0, b"one");
        assert_eq!(b.receive(10, soon()).expect("received").expect("a packet").0, b"two");
        assert!(b.receive(10, soon()).expect("received").is_none());
    }

    #[test]
    fn a_long_packet_and_a_deadline_are_errors() {
        let (a, b) = Packets::pair().expect("a pair");
        a.send(b"too long", None, soon()).expect("sent");
        assert_eq!(b.receive(3, soon()).expect_err("too long").kind(), io::ErrorKind::InvalidData);
        assert_eq!(b.receive(3, soon()).expect_err("nothing there").kind(), io::ErrorKind::TimedOut);
        while a.try_send(&[0; 4096], None).is_ok() {}
        assert_eq!(a.send(&[0; 4096], None, soon()).expect_err("no room").kind(), io::ErrorKind::TimedOut);
    }
}
