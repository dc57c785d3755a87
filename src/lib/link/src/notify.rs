//! systemd's notification protocol: datagrams from a process to the one who started it, told apart by the sender's pid.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, RecvMsg, UnixAddr, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::error::During;
use crate::{Error, socket};

/// The longest message in bytes.
pub const LONGEST: usize = 4096;

/// The most descriptors that the kernel lets into one message: with room for all of them none can be lost on the way in.
const DESCRIPTORS: usize = 253;

/// The sending side. It never blocks: a receiver that is frozen must not freeze those who report to it.
#[derive(Debug)]
pub struct Sender {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Sender {
    /// To whom `NOTIFY_SOCKET` names, if it is set. Abstract names are not understood.
    ///
    /// # Errors
    ///
    /// When no socket can be made.
    pub fn from_environment() -> Result<Option<Self>, Error> {
        std::env::var_os("NOTIFY_SOCKET").map(|path| Self::new(Path::new(&path))).transpose()
    }

    /// To the socket at `path`.
    ///
    /// # Errors
    ///
    /// When no socket can be made.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let socket = UnixDatagram::unbound().during(|| "making the notification socket".to_owned())?;
        socket.set_nonblocking(true).during(|| "making the notification socket".to_owned())?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the receiver does not read; otherwise when nobody listens.
    pub fn send(&self, message: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let Some(descriptor) = descriptor else {
            return self.socket.send_to(message.as_bytes(), &self.path).map(|_| ());
        };
        let address = UnixAddr::new(&self.path)?;
        let numbers = [descriptor.as_raw_fd()];
        let bytes = [io::IoSlice::new(message.as_bytes())];
        let control = [ControlMessage::ScmRights(&numbers)];
        sendmsg(self.socket.as_raw_fd(), &bytes, &control, MsgFlags::MSG_NOSIGNAL, Some(&address))?;
        Ok(())
    }
}

/// The receiving side.
#[derive(Debug)]
pub struct Receiver {
    socket: UnixDatagram,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Who sent it, as the kernel says.
    pub pid: i32,
    /// The sender's user.
    pub uid: u32,
    /// What it says: lines of `NAME=value`.
    pub text: String,
    /// What came along.
    pub descriptors: Vec<OwnedFd>,
}

impl Message {
    /// The value of a variable.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

impl Receiver {
    /// Binds a socket that only `owner` may send to: whoever else could would fill it, and what the owner says would be
    /// lost.
    ///
    /// # Errors
    ///
    /// When it cannot be bound.
    pub fn bind(path: &Path, owner: u32) -> Result<Self, Error> {
        let socket = socket::datagram(path, 0o600, Some(owner), None)?;
        setsockopt(&socket, sockopt::PassCred, &true).during(|| "asking for senders' pids".to_owned())?;
        socket.set_nonblocking(true).during(|| "making the notification socket".to_owned())?;
        Ok(Self { socket })
    }

    /// The next message, or `None` when there is none now. A message that is too long, is not text, or does not say who
    /// sent it is thrown away.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        loop {
            match self.next() {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(nix::Error::EAGAIN) => return Ok(None),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads one datagram; `None` when it was thrown away.
    fn next(&self) -> nix::Result<Option<Message>> {
        let mut bytes = [0; LONGEST];
        let mut slices = [io::IoSliceMut::new(&mut bytes)];
        let mut control = nix::cmsg_space!(nix::sys::socket::UnixCredentials, [i32; DESCRIPTORS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
        let received: RecvMsg<'_, '_, ()> = recvmsg(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags)?;
        let whole = !received.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let length = received.bytes;
        let (mut sender, mut descriptors) = (None, Vec::new());
        for part in received.cmsgs()? {
            match part {
                ControlMessageOwned::ScmCredentials(who) => sender = Some((who.pid(), who.uid())),
                ControlMessageOwned::ScmRights(numbers) => {
                    descriptors.extend(numbers.into_iter().map(crate::packet::own));
                }
                _ => {}
            }
        }
        let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).filter(|_| whole);
        Ok(match (sender, text) {
            (Some((pid, uid)), Some(text)) => Some(Message { pid, uid, text: text.to_owned(), descriptors }),
            _ => None,
        })
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
