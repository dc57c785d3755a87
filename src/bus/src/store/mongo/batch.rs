//! Several writes, or one that removes a record: a transaction that also writes down its own id.
//!
//! The records are written first, claims are only touched last, and the commit follows at once (`mechanisms.md` 4.2): a
//! transaction that merely read a claim would let a stale owner through, and one that writes it locks it.

use std::collections::HashSet;
use std::time::Duration;

use culvert_wire::bus::{Fault, Refusal};
use mongodb::bson::{Bson, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::{Error, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::ReadConcern;
use mongodb::{ClientSession, Collection};
use tokio::time::timeout;

use super::attempt::{Course, Failure, OPERATION};
use super::base::{Base, majority};
use super::plan::{Done, Plan, Verdict, binary};
use super::row;
use crate::store::{Answer, Trouble};

/// How long a server may take to commit before it says so.
const COMMIT: Duration = Duration::from_millis(2000);

/// The time for telling a server that a transaction is over; it finds out by itself otherwise.
const ABORT: Duration = Duration::from_millis(300);

/// Why a transaction was not committed.
enum Stop {
    /// It may be tried again.
    Failed(Failure),
    /// One of the writes may not happen.
    Refused { write: usize, why: Refusal },
    /// A unique index has the values of this write.
    Taken { write: usize, index: String },
    /// It was committed before.
    Repeated,
    /// It cannot be answered.
    Trouble(Trouble),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Base {
    /// Carries writes out, all or none.
    ///
    /// # Errors
    ///
    /// One is refused, or they could not be done in time.
    pub async fn batch(&self, id: u128, plans: &[Plan]) -> Answer<Vec<Done>> {
        let mut course = Course::write(self.is_away());
        let _place = self.place(&course).await?;
        let mut session = self.session().await.map_err(|_| course.given_up())?;
        loop {
            let stop = match self.transact(id, plans, &mut course, &mut session).await {
                Ok(done) => {
                    self.learn(&session);
                    return Ok(done);
                }
                Err(stop) => stop,
            };
            // After this, nothing of the transaction can happen any more, unless it was being committed.
            let _ = timeout(ABORT, session.abort_transaction()).await;
            let failure = match self.settle(id, plans, stop, &course, &mut session).await {
                Ok(answer) => {
                    self.learn(&session);
                    return answer;
                }
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Locked) {
                self.break_locks().await;
            }
            course.overcome(failure).await?;
        }
    }

    /// What is answered to a transaction that was stopped, if anything can be yet.
    async fn settle(
        &self,
        id: u128,
        plans: &[Plan],
        stop: Stop,
        course: &Course,
        session: &mut ClientSession,
    ) -> Result<Answer<Vec<Done>>, Failure> {
        let refused = match stop {
            Stop::Failed(failure) => return Err(failure),
            Stop::Trouble(trouble) => return Ok(Err(trouble)),
            Stop::Repeated => None,
            Stop::Refused { write, why } => Some((write, why)),
            Stop::Taken { write, index } => Some((write, Refusal::Taken { index })),
        };
        // An earlier attempt may have got through, so this looks before it refuses.
        if let Some(done) = course.attempt(self.recall(id, session)).await.map_err(Failure::harmless)? {
            return Ok(remembered(&done, plans));
        }
        let (write, mut why) = refused.ok_or(Failure::Away)?;
        if matches!(why, Refusal::Taken { .. })
            && let Some(plan) = plans.get(write)
            && let Some(raw) = course.attempt(self.look(plan, session)).await.map_err(Failure::harmless)?
            && let Ok(Verdict::Refused(earlier)) = plan.verdict(Some(&raw), self.host)
        {
            why = earlier;
        }
        Ok(Err(Trouble::Refused { write: write as u16, why }))
    }

    async fn transact(
        &self,
        id: u128,
        plans: &[Plan],
        course: &mut Course,
        session: &mut ClientSession,
    ) -> Result<Vec<Done>, Stop> {
        let begun = session
            .start_transaction()
            .read_concern(ReadConcern::majority())
            .write_concern(majority())
            .max_commit_time(COMMIT);
        course.attempt(async { begun.await }).await.map_err(Failure::harmless)?;
        let mut done: Vec<Option<Done>> = plans.iter().map(|_| None).collect();
        let (first, last) = order(plans);
        for write in first {
            done[write] = Some(self.carry_out(write, &plans[write], course, session).await?);
        }
        self.remember(id, &done, course, session).await?;
        for write in last {
            done[write] = Some(self.carry_out(write, &plans[write], course, session).await?);
        }
        commit(course, session).await?;
        Ok(done.into_iter().flatten().collect())
    }

    async fn carry_out(
        &self,
        write: usize,
        plan: &Plan,
        course: &Course,
        session: &mut ClientSession,
    ) -> Result<Done, Stop> {
        let records = self.records(plan.kind);
        match course.attempt(plan.carry_out(&records, session, None)).await {
            Ok(Some(raw)) => return plan.done(&raw).map_err(|damage| Stop::Trouble(plan.damaged(damage))),
            Ok(None) => {}
            Err(Failure::Duplicate(index)) if index == "_id_" => {
                return Err(Stop::Refused { write, why: Refusal::Exists });
            }
            Err(Failure::Duplicate(index)) if plan.kind.index(&index).is_some() => {
                return Err(Stop::Taken { write, index });
            }
            Err(failure) => return Err(failure.harmless().into()),
        }
        let raw = course.attempt(self.look(plan, session)).await.map_err(Failure::harmless)?;
        match plan.verdict(raw.as_deref(), self.host).map_err(|damage| Stop::Trouble(plan.damaged(damage)))? {
            Verdict::Refused(why) => Err(Stop::Refused { write, why }),
            Verdict::Invalid(fault) => Err(Stop::Trouble(Trouble::Fault(fault))),
            Verdict::Again => Err(Failure::Away.into()),
        }
    }

    /// Writes down, in the transaction, that it was done.
    async fn remember(
        &self,
        id: u128,
        done: &[Option<Done>],
        course: &Course,
        session: &mut ClientSession,
    ) -> Result<(), Stop> {
        let revisions: Vec<Bson> = done.iter().map(|it| row::whole(it.as_ref().map_or(0, |it| it.revision))).collect();
        let past: Vec<Bson> = done.iter().flatten().flat_map(|done| done.past.clone()).collect();
        let mut entry = doc! { "at": "$$NOW", "v": { "$literal": revisions } };
        if !past.is_empty() {
            entry.insert("of", doc! { "$literal": past });
        }
        let writes = self.writes();
        let written = writes
            .find_one_and_update(
                // Never there: what is there has the time, and is met in the index on _id.
                doc! { "_id": binary(id), "at": { "$exists": false } },
                vec![doc! { "$set": entry }],
            )
            .upsert(true)
            .projection(doc! { "_id": 1 })
            .max_time(OPERATION)
            .session(session);
        match course.attempt(async { written.await }).await {
            Ok(_) => Ok(()),
            Err(Failure::Duplicate(_)) => Err(Stop::Repeated),
            Err(failure) => Err(failure.harmless().into()),
        }
    }

    /// What was written down about a transaction that was done.
    async fn recall(&self, id: u128, session: &mut ClientSession) -> Result<Option<RawDocumentBuf>, Error> {
        let writes: Collection<RawDocumentBuf> = self.writes();
        writes.find_one(doc! { "_id": binary(id) }).max_time(OPERATION).session(session).await
    }
}

/// The numbers of the writes in the order in which they are carried out: records that are only looked at come last,
/// unless another write of the batch changes them, too.
fn order(plans: &[Plan]) -> (Vec<usize>, Vec<usize>) {
    let written: HashSet<_> = plans.iter().filter(|plan| !plan.checks()).map(|plan| (plan.kind, &plan.id)).collect();
    (0..plans.len())
        .partition(|write| !plans[*write].checks() || written.contains(&(plans[*write].kind, &plans[*write].id)))
}

/// Commits, and asks again until the outcome is known.
async fn commit(course: &mut Course, session: &mut ClientSession) -> Result<(), Stop> {
    loop {
        let (failure, unknown) = match timeout(course.left().min(COMMIT), session.commit_transaction()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => {
                let unknown = error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT);
                (Failure::of(error), unknown)
            }
            Err(_) => (Failure::Unsure, true),
        };
        if !unknown {
            return Err(failure.into());
        }
        course.overcome(Failure::Unsure).await.map_err(Stop::Trouble)?;
    }
}

/// The answer of a transaction that was done before.
fn remembered(raw: &RawDocumentBuf, plans: &[Plan]) -> Answer<Vec<Done>> {
    let read = || {
        let at = row::millis(raw, "at")?;
        let mut done = Vec::with_capacity(plans.len());
        for revision in raw.get_array("v").map_err(|error| row::Damaged(error.to_string()))? {
            let RawBsonRef::Int64(revision) = revision? else { return Err(row::Damaged("v holds no numbers".into())) };
            done.push(Done { revision: revision.try_into().unwrap_or(0), scope: None, at, past: Vec::new() });
        }
        Ok(done)
    };
    read().map_err(|damage: row::Damaged| {
        Trouble::Fault(Fault::Invalid(format!("what is remembered of a batch is damaged: {}", damage.0)))
    })
}
