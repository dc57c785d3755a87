//! Getting hold of a management connection: one that somebody kept for us, or a new one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use culvert_daemon::Notify;
use culvert_model::Slot;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// Where the connection to an instance's OpenVPN is to be had.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) socket: PathBuf,
    pub(super) slot: Slot,
    /// OpenVPN's process: a connection to another one is of no use.
    pub(super) pid: u32,
    pub(super) kept: Option<OwnedFd>,
    pub(super) notify: Option<Notify>,
}

impl Attachment {
    /// A connection, and whether it was kept for us.
    pub(super) async fn open(&mut self) -> io::Result<(UnixStream, bool)> {
        if let Some(stream) = self.kept.take().and_then(|kept| self.adopt(kept)) {
            return Ok((stream, true));
        }
        let stream = timeout(CONNECT, UnixStream::connect(&self.socket)).await??;
        Ok((stream, false))
    }

    fn adopt(&self, kept: OwnedFd) -> Option<UnixStream> {
        let stream = std::os::unix::net::UnixStream::from(kept);
        stream.set_nonblocking(true).ok()?;
        let stream = UnixStream::from_std(stream).ok()?;
        let peer = stream.peer_cred().ok()?.pid()?;
        (u32::try_from(peer) == Ok(self.pid)).then_some(stream)
    }

    /// Has a duplicate kept outside, so that what OpenVPN asks while this process is away waits for the next one.
    pub(super) fn keep(&self, stream: &UnixStream) {
        self.forget();
        let Some(notify) = &self.notify else { return };
        if let Err(error) = notify.store(&self.name(), stream.as_fd()) {
            tracing::warn!(slot = %self.slot, %error, "nobody keeps the management connection for the next start");
        }
    }

    /// Has the duplicate closed: of a connection that has ended, or that somebody else's process holds open.
    pub(super) fn forget(&self) {
        // One that could not be told is told with the next connection.
        let _ = self.notify.as_ref().map(|notify| notify.remove(&self.name()));
    }

    fn name(&self) -> String {
        format!("instance-{}", self.slot)
    }
}
