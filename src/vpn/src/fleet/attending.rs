//! The tasks of instances: begun, looked after, given up.

use std::sync::Arc;

use culvert_model::{Id, Millis, Slot};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Fleet, HEALTHY, acts, retire};
use crate::instance::{Phase, Printout, Task};

/// An instance with its task.
pub(super) struct Attended {
    pub(super) server: Id,
    pub(super) seat: String,
    pub(super) task: JoinHandle<()>,
    pub(super) phase: watch::Receiver<Phase>,
    printout: Arc<Printout>,
    since: Millis,
    pub(super) recorded: bool,
}

impl Fleet {
    /// Notices what became of the instances.
    pub(super) fn tend(&mut self) {
        let now = self.now();
        let mut online = Vec::new();
        for (slot, attended) in &mut self.attended {
            let is_online = matches!(*attended.phase.borrow(), Phase::Online(_));
            if is_online
                && !attended.recorded
                && !self.busy.contains(&attended.server)
                && let Some(claim) = self.held.get(&attended.seat).and_then(|holding| holding.held().claim)
            {
                online.push((attended.seat.clone(), attended.server, claim, *slot));
                attended.recorded = true;
            }
            if is_online && now >= attended.since + HEALTHY {
                self.failures.remove(&attended.server);
            }
        }
        for (seat, server, claim, slot) in online {
            self.busy.insert(server);
            self.work.spawn(acts::online(self.setup.clone(), seat, server, claim, slot));
        }
        self.attended.retain(|_, attended| !attended.task.is_finished());
    }

    pub(super) fn attach(&mut self, seat: String, server: Id, slot: Slot, pid: u32) {
        self.busy.remove(&server);
        let (phase, phases) = watch::channel(Phase::Starting);
        let printout = Arc::new(Printout::default());
        let task = Task {
            setup: self.setup.clone(),
            server,
            seat: seat.clone(),
            slot,
            pid,
            kept: self.kept.remove(&slot),
            printed: self.printed.remove(&slot),
            phase,
            last: printout.clone(),
            stop: self.stop.subscribe(),
        };
        tracing::info!(%server, %slot, pid, kept = task.kept.is_some(), "attending to an instance");
        let task = tokio::spawn(task.run());
        let since = self.now();
        self.attended.insert(slot, Attended { server, seat, task, phase: phases, printout, since, recorded: false });
    }

    pub(super) fn bury(&mut self, seat: Option<String>, server: Id, slot: Slot) {
        let reason = match self.abandon(slot) {
            Some(attended) => attended.printout.reason(),
            None => "openvpn ended while nobody attended to it".into(),
        };
        tracing::warn!(%server, %slot, reason, "an instance has ended by itself");
        let known = self.setup.directory.read().servers.get(&server).cloned();
        self.fail(server, known);
        let held = seat.and_then(|seat| Some((self.claim(&seat)?, seat)));
        self.work.spawn(retire::bury(self.setup.clone(), server, slot, held, reason));
    }

    /// No longer attends to a slot.
    pub(super) fn abandon(&mut self, slot: Slot) -> Option<Attended> {
        // A connection that was kept for us is of no use for the next instance in this slot.
        self.kept.remove(&slot);
        self.forget(slot);
        let attended = self.attended.remove(&slot);
        if let Some(attended) = &attended {
            attended.task.abort();
        }
        attended
    }

    /// Has the management connection of a slot, if somebody keeps one, closed.
    pub(super) fn forget(&self, slot: Slot) {
        if let Some(notify) = &self.setup.notify {
            // One that could not be told is told when the slot is used again.
            let _ = notify.remove(&format!("instance-{slot}"));
        }
    }
}
