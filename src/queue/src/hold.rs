//! Keeping a job's lease: carries out what the lease's state machine decides.

use std::sync::Arc;
use std::time::Duration;

use culvert_lease::{Action, Answer, Lease, Ticket};
use culvert_model::record::Job;
use culvert_records::{Claim, Failure, Kept, Stored};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::{Desk, TERMS};

/// The lease of a job that this process claimed.
pub struct Hold {
    desk: Arc<Desk>,
    job: String,
    lease: Lease,
    epoch: watch::Sender<Option<u64>>,
}

impl Hold {
    /// Claims the job, if it is still as it was found and nobody was quicker.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn claim(desk: Arc<Desk>, found: &Stored<Job>) -> Result<Option<(Self, Stored<Job>)>, Failure> {
        let mut lease = Lease::new(TERMS, desk.clock());
        let Some(Action::Claim(ticket)) = lease.poll(desk.clock()) else { return Ok(None) };
        let asked = desk.bus.claim::<Job>(&found.record.id, Some(found.revision), &desk.owner, TERMS.length).await;
        let Kept::Held(job) = asked? else { return Ok(None) };
        lease.answer(ticket, held(&job), desk.clock());
        let epoch = watch::Sender::new(lease.held(desk.clock()));
        Ok(Some((Self { desk, job: found.record.id.clone(), lease, epoch }, job)))
    }

    /// The epoch under which the job is held, at any time.
    pub fn epochs(&self) -> watch::Receiver<Option<u64>> {
        self.epoch.subscribe()
    }

    /// Until the job is another's, or gone. Cancel safe.
    pub async fn keep(&mut self) {
        loop {
            match self.lease.poll(self.desk.clock()) {
                Some(Action::Claim(ticket)) => self.ask(ticket, None).await,
                Some(Action::Renew(ticket, epoch)) => self.ask(ticket, Some(epoch)).await,
                Some(Action::Begin(epoch)) => drop(self.epoch.send_replace(Some(epoch))),
                Some(Action::Pause(epoch)) => {
                    tracing::warn!(job = self.job, epoch, "the job's lease ran out; asking for it again");
                    self.epoch.send_replace(None);
                }
                Some(Action::Release(epoch)) => self.give_back(epoch).await,
                Some(Action::End) => return,
                None => match self.lease.wake() {
                    Some(at) => sleep(Duration::from_millis(at.saturating_sub(self.desk.clock()))).await,
                    None => return,
                },
            }
        }
    }

    /// Asks until the lease ends by our own clock: then that is to be noticed, whatever the bus does.
    async fn ask(&mut self, ticket: Ticket, renew: Option<u64>) {
        let patience = self.lease.wake().unwrap_or_default().saturating_sub(self.desk.clock());
        let asked = async {
            match renew {
                Some(epoch) => self.desk.bus.renew::<Job>(&self.job, &self.under(epoch), TERMS.length).await,
                None => self.desk.bus.claim::<Job>(&self.job, None, &self.desk.owner, TERMS.length).await,
            }
        };
        let kept = timeout(Duration::from_millis(patience), asked).await.unwrap_or(Err(Failure::Unavailable));
        let answer = match kept {
            Ok(Kept::Held(job)) => held(&job),
            Ok(Kept::Lost) if renew.is_some() => Answer::Expired,
            Ok(Kept::Lost) => Answer::Refused,
            Err(_) => Answer::Silence,
        };
        self.lease.answer(ticket, answer, self.desk.clock());
    }

    fn under(&self, epoch: u64) -> Claim {
        Claim { owner: self.desk.owner.clone(), epoch }
    }

    async fn give_back(&self, epoch: u64) {
        // Failing that, it runs out.
        let _ = self.desk.bus.release::<Job>(&self.job, &self.under(epoch)).await;
    }

    /// Gives the lease up, so that another needn't wait for its end.
    pub async fn release(mut self) {
        if let Some(epoch) = self.lease.release() {
            self.give_back(epoch).await;
        }
    }
}

fn held(job: &Stored<Job>) -> Answer {
    job.lease.as_ref().map_or(Answer::Refused, |lease| Answer::Held { epoch: lease.epoch })
}
