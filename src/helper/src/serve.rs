//! The loop: one thread, one request at a time, nothing that waits without a deadline.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use culvert_link::packet::{self, Packets};
use culvert_link::socket;
use culvert_wire::helper::{PACKET, Reply, Request};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::{During, Failure};
use crate::host;
use crate::instances::Instances;

/// The most connections at a time: `vpn` has one, and its successor another while the first is not noticed to be gone.
const CONNECTIONS: usize = 4;

/// Signals, which are read like everything else.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals that the loop handles, so that none is lost from here on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn block() -> Result<Self, Failure> {
        let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
        signals.thread_block().during("blocking signals")?;
        let descriptor = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self(descriptor.during("reading signals")?))
    }

    fn next(&self) -> Option<Signal> {
        let information = self.0.read_signal().ok().flatten()?;
        Signal::try_from(information.ssi_signo.cast_signed()).ok()
    }
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// To be started again: everything stays.
    Restart,
    /// For good: everything is to be removed.
    Removal,
}

/// What the loop works on.
#[derive(Debug)]
pub struct Server {
    listener: OwnedFd,
    /// The only user who is answered.
    vpn: u32,
    connections: Vec<Packets>,
    instances: Instances,
}

impl Server {
    /// Serves `vpn` on a listener of sequenced packets.
    pub fn new(listener: OwnedFd, vpn: u32, instances: Instances) -> Self {
        Self { listener, vpn, connections: Vec::new(), instances }
    }

    /// What it served.
    pub fn into_instances(self) -> Instances {
        self.instances
    }

    /// Answers requests until a signal says to end.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to wait.
    pub fn run(&mut self, signals: &Signals) -> Result<Ending, Failure> {
        loop {
            self.wait(signals)?;
            while let Some(signal) = signals.next() {
                match signal {
                    Signal::SIGTERM => return Ok(Ending::Restart),
                    Signal::SIGINT => return Ok(Ending::Removal),
                    _ => self.instances.bury(),
                }
            }
            self.instances.tend();
            self.accept();
            self.connections.retain(|connection| answer(&mut self.instances, connection));
        }
    }

    /// Waits until something is to be done. What it is, is found out by trying: no call behind it waits.
    fn wait(&self, signals: &Signals) -> Result<(), Failure> {
        let fixed = [signals.0.as_fd(), self.listener.as_fd()];
        let more = self.instances.changes().into_iter().chain(self.connections.iter().map(Packets::as_fd));
        let all = fixed.into_iter().chain(more);
        let mut all: Vec<PollFd<'_>> = all.map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        let pause = self.instances.due().saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait does not spin through the rest of a millisecond.
        let pause = PollTimeout::try_from(pause + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut all, pause) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).during("waiting for requests"),
        }
    }

    /// Takes the connection that waits, if it is `vpn`'s.
    fn accept(&mut self) {
        let Ok(connection) = packet::accept(&self.listener, Instant::now()) else { return };
        match socket::peer(&connection) {
            Ok(peer) if peer.uid == self.vpn => self.connections.push(connection),
            Ok(peer) => eprintln!("a connection by user {} (process {}) is refused", peer.uid, peer.pid),
            Err(error) => eprintln!("a connection is refused: {error}"),
        }
        if self.connections.len() > CONNECTIONS {
            self.connections.remove(0);
        }
    }
}

/// Answers the request that a connection has, if it has one. Whether the connection goes on.
fn answer(instances: &mut Instances, connection: &Packets) -> bool {
    let bytes = match connection.try_receive(PACKET) {
        // There may be keys in it.
        Ok(Some((bytes, _))) => Zeroizing::new(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
        Ok(None) | Err(_) => return false,
    };
    let Ok(request) = culvert_wire::decode::<Request>(&bytes) else {
        eprintln!("a request has no known form: its connection is closed");
        return false;
    };
    let (reply, descriptor) = handle(instances, request).unwrap_or_else(|failure| {
        eprintln!("refused: {failure}");
        (Reply::Refused(failure.refusal), None)
    });
    let Ok(bytes) = culvert_wire::encode(&reply) else { return false };
    instances.beat();
    // A peer that does not take its answers is none.
    connection.try_send(&bytes, descriptor.as_ref().map(AsFd::as_fd)).is_ok()
}

/// Does what is asked. A descriptor goes with some replies.
fn handle(instances: &mut Instances, request: Request) -> Result<(Reply, Option<OwnedFd>), Failure> {
    let done = |descriptor| (Reply::Done, descriptor);
    match request {
        Request::List => Ok((Reply::Instances(instances.list()), None)),
        Request::Addresses => Ok((host::addresses()?, None)),
        Request::Start(mut start) => {
            let started = instances.start(&start);
            start.key.zeroize();
            start.tls_crypt.zeroize();
            started.map(Some).map(done)
        }
        Request::Stop(slot) => instances.stop(slot).map(|()| done(None)),
        Request::Output(slot) => instances.output(slot).map(Some).map(done),
        Request::Clients { slot, addresses } => instances.set_clients(slot, &addresses).map(|()| done(None)),
        Request::Change { slot, add, remove } => instances.change_clients(slot, &add, &remove).map(|()| done(None)),
    }
}
