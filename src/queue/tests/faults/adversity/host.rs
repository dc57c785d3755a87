//! A host that suffers, and what its processes ask.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use culvert_bus::store::mongo::Mongo;
use culvert_model::{HostId, Kind, Role};
use culvert_records::Guard;
use culvert_wire::bus::{Request, Write};
use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use super::{Dice, LONG};
use crate::kit::Stage;
use crate::kit::process::Process;
use crate::kit::proxy::{End, Moment, Proxy, ends_a_job, writes};

/// Under which epochs processes held jobs, as their requests tell.
pub type Grants = Arc<Mutex<BTreeSet<Grant>>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    pub job: String,
    pub epoch: u64,
    pub host: HostId,
}

/// The jobs that this is asked for under a claim, and the claims' epochs.
fn claimed(request: &Request) -> impl Iterator<Item = (&str, u64)> {
    let kept = match request {
        Request::Renew { kind: Kind::Job, id, claim, .. } | Request::Release { kind: Kind::Job, id, claim } => {
            Some((id.as_str(), claim.epoch))
        }
        _ => None,
    };
    let guarded = writes(request).iter().filter_map(|write| {
        let (Kind::Job, id) = write.target() else { return None };
        let (Write::Update { guard, .. } | Write::Delete { guard, .. } | Write::Check { guard, .. }) = write else {
            return None;
        };
        let Guard { claim, .. } = guard;
        Some((id, claim.as_ref()?.epoch))
    });
    kept.into_iter().chain(guarded)
}

/// Whether a request is one of those that are held up.
type Which = fn(&Request) -> bool;

/// What begins or ends a job.
fn changes(request: &Request) -> bool {
    matches!(request, Request::Write { .. } | Request::Claim { .. })
}

/// What the task of slots notes.
fn notes(request: &Request) -> bool {
    writes(request).iter().any(|write| matches!(write, Write::Insert { kind: Kind::Log, .. }))
}

/// What a process asks its bus through.
struct Door {
    proxy: Proxy,
    /// When a request is held up, and which: the next of these.
    hold: Arc<Mutex<Option<(Moment, Which)>>>,
}

impl Door {
    fn to(bus: &Path, host: HostId, grants: &Grants) -> Self {
        let (hold, grants) = (Arc::<Mutex<Option<(Moment, Which)>>>::default(), grants.clone());
        let held = hold.clone();
        let proxy = Proxy::start(bus, move |request| {
            let of = claimed(request).map(|(job, epoch)| Grant { job: job.to_owned(), epoch, host });
            grants.lock().expect("nobody panicked").extend(of);
            held.lock().expect("nobody panicked").take_if(|(_, which)| which(request)).map(|(moment, _)| moment)
        });
        Self { proxy, hold }
    }

    /// Holds up the next of these requests, if there is one soon. Whether there was.
    async fn holds(&self, moment: Moment, which: Which) -> bool {
        *self.hold.lock().expect("nobody panicked") = Some((moment, which));
        let reached = timeout(Duration::from_secs(5), self.proxy.reached()).await.is_ok();
        // Held meanwhile, it is let go as if it had been in time.
        reached || self.hold.lock().expect("nobody panicked").take().is_none()
    }
}

/// One host of a run.
pub struct Host {
    queue: Door,
    tasks: Door,
    process: Mutex<Option<Process>>,
}

impl Host {
    pub fn new(stage: &Stage<Mongo>, grants: &Grants) -> Self {
        let [queue, tasks] = [Role::Queue, Role::Tasks].map(|role| Door::to(&stage.socket(role), stage.host, grants));
        let host = Self { queue, tasks, process: Mutex::default() };
        host.start();
        host
    }

    fn start(&self) {
        let process = Process::start_with_tasks(&self.queue.proxy.socket, &self.tasks.proxy.socket);
        // The one before is killed as it is dropped.
        *self.process.lock().expect("nobody panicked") = Some(process);
    }

    fn kill(&self) {
        *self.process.lock().expect("nobody panicked") = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &*self.process.lock().expect("nobody panicked") {
            process.signal(signal);
        }
    }

    /// Every end of a job that its queue wrote.
    pub fn ends(&self) -> Vec<End> {
        self.queue.proxy.ends()
    }

    /// What its process logged so far, if there is one.
    pub fn log(&self) -> Option<String> {
        self.process.lock().expect("nobody panicked").as_ref().map(Process::log)
    }

    /// Something goes wrong, and is over in the end.
    pub async fn suffer(&self, mut dice: Dice) {
        sleep(dice.millis(8_000)).await;
        match dice.below(4) {
            // Started again at once, or after others could take over.
            0 => {
                self.kill();
                sleep(if dice.below(2) == 0 { dice.millis(1_000) } else { LONG + dice.millis(2_000) }).await;
                self.start();
            }
            1 => {
                self.signal(Signal::SIGSTOP);
                sleep(if dice.below(3) == 0 { dice.millis(2_000) } else { LONG + dice.millis(2_000) }).await;
                self.signal(Signal::SIGCONT);
            }
            // Something that it asks for is held up, before or after the bus has done it. The host dies or stops meanwhile, and
            // its request comes all the same, or it asks again.
            kind => {
                let moment = if kind == 2 { Moment::Before } else { Moment::After };
                let (door, which): (_, Which) = match dice.below(3) {
                    0 => (&self.queue, changes),
                    // Where it hurts most: late, they would take effect beside another's.
                    1 => (&self.queue, ends_a_job),
                    _ => (&self.tasks, notes),
                };
                let held = door.holds(moment, which).await;
                let meanwhile = dice.below(3);
                match meanwhile {
                    0 => self.kill(),
                    1 => self.signal(Signal::SIGSTOP),
                    _ => {}
                }
                sleep(if dice.below(3) == 0 { dice.millis(2_000) } else { LONG + dice.millis(2_000) }).await;
                if held {
                    door.proxy.go();
                }
                match meanwhile {
                    0 => self.start(),
                    1 => self.signal(Signal::SIGCONT),
                    _ => {}
                }
            }
        }
    }
}
