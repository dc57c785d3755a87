//! One peer: its requests are carried out side by side and answered in any order.

use std::sync::Arc;

use culvert_model::Role;
use culvert_wire::bus::{Call, FRAME, Fault, Request};
use culvert_wire::decode;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet, yield_now};

use super::incoming::Incoming;
use super::outbox::{self, Outbox};
use super::{Server, answer, subscription, told};
use crate::request;
use crate::roles::{Verdict, judge};
use crate::store::Store;

/// The most open requests and subscriptions of a peer.
const OPEN: usize = 256;

/// With so many bytes of open requests, no more are read until some are answered.
const ROOM: usize = 2 * FRAME;

/// Attends to a peer until it goes, misbehaves or does not read, or until the bus ends.
pub async fn attend<S: Store>(server: Arc<Server<S>>, stream: UnixStream, role: Role, mut stop: watch::Receiver<bool>) {
    let (reader, writer) = match culvert_frames::split(stream, FRAME) {
        Ok(both) => both,
        Err(error) => {
            tracing::warn!(%role, "a peer was cut, because its socket cannot be watched: {error}");
            return;
        }
    };
    let mut calls = Incoming::new(reader);
    let (outbox, empty) = outbox::open(writer);
    let mut emptied = tokio::spawn(empty);
    let mut peer = Peer::new(server, role, outbox);
    loop {
        let frame = tokio::select! {
            // The peer is gone or does not read. What is open is dropped; a write that the store has begun is done.
            _ = &mut emptied => return,
            () = told(&mut stop) => break,
            Some(done) = peer.open.join_next(), if !peer.open.is_empty() => {
                if peer.bytes >= ROOM {
                    calls.excuse();
                }
                peer.bytes -= done.unwrap_or(0);
                continue;
            }
            frame = calls.next(), if peer.bytes < ROOM => frame,
        };
        let taken = match frame {
            Ok(None) => break,
            Ok(Some(frame)) => peer.take(frame).await,
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            tracing::warn!(%role, "a peer was cut: {why}");
            break;
        }
        // Who sends many frames at once has one turn for each, as the others do.
        yield_now().await;
    }
    // What was asked is still answered, and what is answered is still written.
    peer.finish().await;
    // It has a deadline of its own.
    let _ = emptied.await;
}

struct Peer<S> {
    server: Arc<Server<S>>,
    role: Role,
    outbox: Outbox,
    /// Its places at the store. Who asks for much waits for its own requests, not the others for them; this also bounds
    /// what waits for the peer to read it.
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    /// Requests and subscriptions, each with the length of its frame.
    open: JoinSet<usize>,
    subscriptions: Vec<AbortHandle>,
    /// How many bytes the open requests have.
    bytes: usize,
    /// Whether the log has it that this peer asks for what it may not.
    told: bool,
}

impl<S: Store> Peer<S> {
    fn new(server: Arc<Server<S>>, role: Role, outbox: Outbox) -> Self {
        let (reads, writes) = (Arc::new(Semaphore::new(S::READS)), Arc::new(Semaphore::new(S::WRITES)));
        Self {
            server,
            role,
            outbox,
            reads,
            writes,
            open: JoinSet::new(),
            subscriptions: Vec::new(),
            bytes: 0,
            told: false,
        }
    }

    /// Begins what a frame asks for. The error says why the peer is to be cut.
    async fn take(&mut self, frame: &[u8]) -> Result<(), &'static str> {
        let Call { number, request } =
            decode(frame).map_err(|_| "it sent a malformed request; is it of another version?")?;
        match self.admit(&request) {
            Ok(verdict) => self.begin(number, request, verdict, frame.len()),
            // Nothing is read meanwhile; a peer that does not take it is cut for that.
            Err(fault) => self.outbox.send(number, Err(fault)).await.map_err(|_| "it is gone")?,
        }
        Ok(())
    }

    fn admit(&mut self, request: &Request) -> Result<Verdict, Fault> {
        if self.open.len() >= OPEN {
            return Err(Fault::Busy);
        }
        let verdict = judge(self.role, request);
        if verdict == Verdict::Denied {
            if !std::mem::replace(&mut self.told, true) {
                tracing::warn!(role = %self.role, "a peer asked for what its role may not: {}", name(request));
            }
            return Err(Fault::Denied);
        }
        // What is written is looked at later: it may be long.
        if !matches!(request, Request::Write { .. }) {
            request::check(request)?;
        }
        Ok(verdict)
    }

    fn begin(&mut self, number: u64, request: Request, verdict: Verdict, length: usize) {
        let outbox = self.outbox.clone();
        if let Request::Subscribe(kinds) = request {
            let tail = self.server.store.tail();
            let hearing = subscription::run(outbox, number, kinds, tail);
            self.subscriptions.push(self.open.spawn(async {
                let _gone = hearing.await;
                0
            }));
            return;
        }
        self.bytes += length;
        let server = self.server.clone();
        let places = match request {
            Request::Get { .. } | Request::Find(_) | Request::Count(_) | Request::Here => self.reads.clone(),
            _ => self.writes.clone(),
        };
        self.open.spawn(async move {
            // Held until the answer is on its way.
            let _place = places.acquire_owned().await;
            let checked = match &request {
                Request::Write { writes, .. } => request::check_in_turns(writes).await,
                _ => Ok(()),
            };
            let reply = match checked {
                Ok(()) => answer::answer(&server, request, verdict).await,
                Err(fault) => Err(fault),
            };
            // Who asked may be gone.
            let _ = outbox.send(number, reply).await;
            length
        });
    }

    async fn finish(mut self) {
        self.subscriptions.iter().for_each(AbortHandle::abort);
        while self.open.join_next().await.is_some() {}
    }
}

/// What is asked, without what it is about: that may be secret.
fn name(request: &Request) -> String {
    match request {
        Request::Get { kind, .. } => format!("get {}", kind.name()),
        Request::Find(find) | Request::Count(find) => format!("find {}", find.kind.name()),
        Request::Write { writes, .. } | Request::WriteAgain { writes, .. } => {
            let kinds: Vec<&str> = writes.iter().map(|write| write.target().0.name()).collect();
            format!("write {}", kinds.join(", "))
        }
        Request::Claim { kind, .. }
        | Request::Renew { kind, .. }
        | Request::Pass { kind, .. }
        | Request::Release { kind, .. } => format!("lease {}", kind.name()),
        Request::Sweep { kind, .. } => format!("sweep {}", kind.name()),
        Request::Subscribe(kinds) => {
            format!("subscribe {}", kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", "))
        }
        Request::Here => "here".into(),
        Request::Standing => "standing".into(),
        Request::Restart => "restart".into(),
        Request::Adopt { .. } => "adopt".into(),
    }
}
