//! The task of one instance: what the session wants is done here.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use culvert_daemon::Notify;
use culvert_model::record::Connection;
use culvert_model::{HostId, Id, Slot};
use culvert_records::Bus;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::attach::Attachment;
use super::client::Found;
use super::ledger::Ledger;
use super::output::Printout;
use super::session::{Act, Session};
use super::stream::Stream;
use crate::addresses::Addresses;
use crate::authority::{Authority, Denial, PATIENCE, Pins, Question, Verdict, standing};
use crate::directory::Shared;
use crate::gate::Gate;
use crate::helper::Helper;
use crate::management::Row;

/// OpenVPN must greet a controller within this time; if it does not, somebody else is attached.
const GREETING: Duration = Duration::from_secs(1);

/// Between two attempts to attach.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the addresses of a server may take to be read before its clients are served without.
const LOAD: Duration = Duration::from_secs(3);

/// How long decisions that are under way may take when the process ends.
const FAREWELL: Duration = Duration::from_millis(1200);

/// The most decisions at a time; OpenVPN asks for no more than it has clients.
const DECISIONS: usize = 4096;

/// What all instances share.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The store.
    pub bus: Bus,
    /// The helper.
    pub helper: Helper,
    /// What is known of users and servers.
    pub directory: Arc<Shared>,
    /// The checker of PINs.
    pub pins: Arc<Pins>,
    /// Where descriptors are kept, if anybody keeps them.
    pub notify: Option<Notify>,
    /// The run folder.
    pub run: PathBuf,
    /// This host.
    pub host: HostId,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// OpenVPN does not serve yet, or is not attached.
    Starting,
    /// It serves, its clients are known and its rules are in place. The number of clients.
    Online(usize),
}

/// An instance that runs, to be attended to.
#[derive(Debug)]
pub struct Task {
    /// What all instances share.
    pub setup: Setup,
    /// The server.
    pub server: Id,
    /// The instance's record.
    pub seat: String,
    /// Its slot.
    pub slot: Slot,
    /// OpenVPN's process.
    pub pid: u32,
    /// A management connection that was kept for us.
    pub kept: Option<OwnedFd>,
    /// The end of what it prints, if it was just started.
    pub printed: Option<OwnedFd>,
    /// Where it says how far it is.
    pub phase: watch::Sender<Phase>,
    /// Its last lines, for whoever buries it.
    pub last: Arc<Printout>,
    /// Becomes true when the process is to end.
    pub stop: watch::Receiver<bool>,
}

impl Task {
    /// Attends to the instance until it is aborted, or the process is to end.
    pub async fn run(self) {
        let Self { setup, server, seat, slot, pid, kept, printed, phase, last, stop } = self;
        let Some(network) = setup.directory.read().servers.get(&server).map(|server| server.network) else { return };
        let addresses = Arc::new(Addresses::new(setup.bus.clone(), server, network));
        if !matches!(timeout(LOAD, addresses.load()).await, Ok(Ok(()))) {
            tracing::warn!(%server, "the addresses of a server cannot be read; its clients are served all the same");
        }
        let gate = Arc::new(Gate::new(setup.helper.clone(), slot));
        let ledger = Arc::new(Ledger::new(setup.bus.clone(), setup.directory.clone(), setup.host, server));
        let mut aides = JoinSet::new();
        aides.spawn({
            let gate = gate.clone();
            async move { gate.run().await }
        });
        aides.spawn({
            let ledger = ledger.clone();
            async move { ledger.run().await }
        });
        aides.spawn(last.clone().run(setup.bus.clone(), setup.helper.clone(), server, seat, slot, printed));
        let socket = setup.run.join("instances").join(slot.to_string()).join("management.sock");
        let mut attachment = Attachment { socket, slot, pid, kept, notify: setup.notify.clone() };
        let authority = Arc::new(Authority {
            bus: setup.bus.clone(),
            directory: setup.directory.clone(),
            addresses: addresses.clone(),
            pins: setup.pins.clone(),
            server,
            patience: PATIENCE,
        });
        loop {
            match attachment.open().await {
                Ok((socket, kept)) => {
                    let mut desk = Desk {
                        session: Session::new(kept, mark(), 0),
                        stream: Stream::new(socket),
                        begun: Instant::now(),
                        stored: kept,
                        decisions: JoinSet::new(),
                        memories: JoinSet::new(),
                        authority: authority.clone(),
                        gate: gate.clone(),
                        ledger: ledger.clone(),
                        attachment: &attachment,
                        phase: &phase,
                        stop: stop.clone(),
                    };
                    match desk.serve().await {
                        Ok(()) => return,
                        Err(error) => tracing::info!(%server, %slot, %error, "the management connection has ended"),
                    }
                    attachment.forget();
                }
                Err(error) => tracing::debug!(%server, %slot, %error, "openvpn cannot be reached yet"),
            }
            phase.send_replace(Phase::Starting);
            sleep(PAUSE).await;
        }
    }
}

/// A number that no session before had: an answer with it is to this session's command.
fn mark() -> u32 {
    let [.., a, b, c, d] = Id::new().bytes();
    // OpenVPN reads it as a signed number; small levels mean something to it.
    (u32::from_be_bytes([a, b, c, d]) & 0x3fff_ffff) | 0x4000_0000
}

/// Seconds since 1970.
pub(super) fn seconds() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}

/// A decision that was made.
struct Decided {
    client: u64,
    key: u64,
    verdict: Verdict,
}

/// One management connection at work.
struct Desk<'a> {
    session: Session,
    stream: Stream,
    begun: Instant,
    stored: bool,
    decisions: JoinSet<Decided>,
    /// Where it is looked up which certificates clients came with that a controller before us let in.
    memories: JoinSet<Vec<Connection>>,
    authority: Arc<Authority>,
    gate: Arc<Gate>,
    ledger: Arc<Ledger>,
    attachment: &'a Attachment,
    phase: &'a watch::Sender<Phase>,
    stop: watch::Receiver<bool>,
}

impl Desk<'_> {
    /// Until the connection ends (an error), or the process is to end.
    async fn serve(&mut self) -> io::Result<()> {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut versions = self.authority.directory.versions();
        let mut buffer = vec![0; 64 << 10];
        let mut farewell: Option<Instant> = None;
        loop {
            self.act();
            let leaving = farewell.is_some();
            let done = self.session.idle() && self.stream.written();
            if leaving && (done || farewell < Some(Instant::now())) {
                return Ok(());
            }
            let stopping = self.stop.clone();
            tokio::select! {
                read = self.stream.read(&mut buffer) => self.session.receive(&buffer[..read?], self.now()),
                Some(Ok(decided)) = self.decisions.join_next() => self.decided(decided),
                Some(Ok(recorded)) = self.memories.join_next() => self.recall(recorded),
                Ok(()) = versions.changed() => self.recheck(),
                _ = ticks.tick() => self.tick()?,
                () = stopped(stopping), if !leaving => farewell = Some(Instant::now() + FAREWELL),
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tick(&mut self) -> io::Result<()> {
        if !self.session.greeted() && self.begun.elapsed() >= GREETING {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another controller is attached"));
        }
        self.session.tick(self.now());
        Ok(())
    }

    /// Does what the session wants until it wants nothing.
    fn act(&mut self) {
        if !self.stored && self.session.greeted() {
            self.attachment.keep(&self.stream.socket);
            self.stored = true;
        }
        loop {
            let acts = self.session.acts();
            if acts.is_empty() {
                return;
            }
            for act in acts {
                match act {
                    Act::Write(block) => self.stream.write(block),
                    Act::Ask(question) => self.ask(*question),
                    Act::Survey(rows) => self.survey(rows),
                    Act::Changed => self.changed(),
                    Act::Joined(client) => self.joined(client),
                    Act::Left(client) => {
                        self.gate.shut_out(client.number);
                        self.authority.addresses.leave(client.number);
                    }
                }
            }
        }
    }

    fn ask(&mut self, question: Question) {
        if self.decisions.len() >= DECISIONS {
            return self.session.answer(question.client, question.key, Verdict::Later);
        }
        let (authority, gate) = (self.authority.clone(), self.gate.clone());
        self.decisions.spawn(async move {
            let mut verdict = authority.decide(&question).await;
            if let Verdict::Allowed { address: Some(address), .. } = &verdict {
                // The rule is in place before OpenVPN lets the client in.
                gate.let_in(question.client, *address);
                if !gate.through(*address).await {
                    verdict = Verdict::Later;
                }
            }
            Decided { client: question.client, key: question.key, verdict }
        });
    }

    fn decided(&mut self, Decided { client, key, mut verdict }: Decided) {
        let serial = self.session.client(client).and_then(|client| client.serial.as_deref());
        if let Verdict::Allowed { user, .. } = verdict
            && let Err(denial) = standing(&self.authority.directory.read(), self.authority.server, user, serial)
        {
            verdict = Verdict::Denied(denial);
        }
        // A server that is being stopped turns its clients away; it does not tell them that they are wrong.
        if matches!(verdict, Verdict::Denied(Denial::NoServer)) {
            verdict = Verdict::Later;
        }
        if let Verdict::Denied(denial) = verdict {
            tracing::info!(server = %self.authority.server, client, reason = denial.text(), "a client is refused");
        }
        self.session.answer(client, key, verdict);
    }

    fn recheck(&mut self) {
        let directory = self.authority.directory.read();
        let server = self.authority.server;
        // A server that is being stopped is stopped whole, and tells its clients so itself.
        let verdict = |user, serial: Option<&str>| match standing(&directory, server, user, serial) {
            Ok(_) | Err(Denial::NoServer) => Ok(()),
            Err(denial) => Err(denial),
        };
        let cut = self.session.recheck(verdict);
        drop(directory);
        for (client, denial) in cut {
            tracing::info!(%server, client = client.number, reason = denial.text(), "a client is cut off");
        }
    }

    fn survey(&mut self, rows: Vec<Row>) {
        let (found, renegotiate) = {
            let directory = self.authority.directory.read();
            let who = |row: &Row| {
                let user = row.common_name.parse().map_err(|_| Denial::UnknownCertificate)?;
                standing(&directory, self.authority.server, user, None).map(|(_, user)| (user.id, user.organization))
            };
            let found = rows.into_iter().map(|row| Found { who: who(&row), row }).collect();
            (found, directory.settings.renegotiate)
        };
        self.session.adopt(found, renegotiate, seconds());
        for client in self.session.connected() {
            if let (Some(user), Some(address)) = (client.user, client.address) {
                self.gate.let_in(client.number, address);
                self.authority.addresses.adopt(client.number, user, address);
            }
        }
        self.gate.open();
        self.ledger.open();
        if self.session.forgetful() && self.memories.is_empty() {
            let ledger = self.ledger.clone();
            // A store that is away is asked again after the next list.
            self.memories.spawn(async move { ledger.recorded().await.unwrap_or_default() });
        }
    }

    /// A client whose certificate was revoked while nobody attended to it is found now.
    fn recall(&mut self, recorded: Vec<Connection>) {
        for Connection { client, user, serial, .. } in recorded {
            if let Some(serial) = serial {
                self.session.recall(client, user, serial);
            }
        }
        self.recheck();
    }

    fn changed(&mut self) {
        let count = self.session.connected().count();
        self.ledger.set(self.session.connected());
        if self.session.serving() {
            self.phase.send_replace(Phase::Online(count));
        }
    }

    fn joined(&self, number: u64) {
        if let Some(client) = self.session.client(number) {
            self.ledger.joined(client);
        }
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone belongs to a process that ends.
    let _ = stop.wait_for(|stop| *stop).await;
}
