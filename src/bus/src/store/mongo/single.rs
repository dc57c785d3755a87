//! One write: one operation on one document, tried again until its outcome is known.

use std::time::Duration;

use culvert_wire::bus::{Fault, Refusal};
use mongodb::ClientSession;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::error::Error;

use super::attempt::{Course, Failure, OPERATION};
use super::base::Base;
use super::plan::{Done, Plan, Verdict, binary};
use super::remembered::{self, Memory};
use super::row::{self, Damaged};
use crate::store::{Answer, Trouble};

impl Base {
    /// Carries a write out that leaves a document behind, and was asked for so long ago or is new.
    ///
    /// # Errors
    ///
    /// It is refused, or could not be done in time.
    pub async fn single(&self, id: u128, plan: &Plan, begun: Option<Duration>) -> Answer<Done> {
        let mut course = Course::write(self.is_away()).begun(begun);
        let _place = self.place(&course).await?;
        let mut session = self.session().await.map_err(|_| course.given_up())?;
        loop {
            let failure = match self.single_once(id, plan, &course, &mut session).await {
                Ok(Some(outcome)) => {
                    self.learn(&session);
                    return outcome;
                }
                Ok(None) => Failure::Away,
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Locked) {
                self.break_locks().await;
            }
            course.overcome(failure).await?;
        }
    }

    /// One attempt. Nothing is given if what was in the way is gone again.
    async fn single_once(
        &self,
        id: u128,
        plan: &Plan,
        course: &Course,
        session: &mut ClientSession,
    ) -> Result<Option<Answer<Done>>, Failure> {
        if course.unsure() {
            // The record may be gone by now that an earlier attempt made or changed.
            let gone = course.attempt(self.recall_gone(id, session)).await.map_err(Failure::harmless)?;
            if let Some(done) = gone.and_then(|raw| of_the_gone(&raw, id).transpose()) {
                return Ok(Some(done.map_err(|damage| plan.damaged(damage))));
            }
        }
        let records = self.records(plan.kind);
        let since = course.unsure().then(|| course.age());
        let taken = match course.attempt(plan.carry_out(&records, session, since)).await {
            Ok(Some(raw)) => return Ok(Some(plan.done(&raw).map_err(|damage| plan.damaged(damage)))),
            Ok(None) => None,
            Err(Failure::Duplicate(index)) => Some(index),
            Err(failure) => return Err(failure),
        };
        // An earlier attempt may have got through, so this looks before it refuses.
        let raw = course.attempt(self.look(plan, session)).await.map_err(Failure::harmless)?;
        Ok(self.judge(id, plan, course, raw.as_ref(), taken).unwrap_or_else(|damage| Some(Err(plan.damaged(damage)))))
    }

    /// The deletion of a record that remembered this write.
    async fn recall_gone(&self, id: u128, session: &mut ClientSession) -> Result<Option<RawDocumentBuf>, Error> {
        self.writes().find_one(doc! { "of.i": binary(id) }).max_time(OPERATION).session(session).await
    }

    /// The record with what it remembers.
    pub async fn look(&self, plan: &Plan, session: &mut ClientSession) -> Result<Option<RawDocumentBuf>, Error> {
        let mut wanted = row::projection();
        wanted.extend(doc! { "w": 1, "now": "$$NOW" });
        self.records(plan.kind)
            .find_one(doc! { "_id": &plan.id })
            .projection(wanted)
            .max_time(OPERATION)
            .session(session)
            .await
    }

    fn judge(
        &self,
        id: u128,
        plan: &Plan,
        course: &Course,
        raw: Option<&RawDocumentBuf>,
        taken: Option<String>,
    ) -> Result<Option<Answer<Done>>, Damaged> {
        if let Some(raw) = raw {
            match remembered::recall(raw, id, course.age())? {
                Memory::Done(revision) => {
                    let done = Done { revision, scope: None, at: row::millis(raw, "now")?, past: Vec::new() };
                    return Ok(Some(Ok(done)));
                }
                Memory::Faded if course.unsure() => return Ok(Some(Err(Trouble::Fault(Fault::Unknown)))),
                Memory::Faded | Memory::NotDone => {}
            }
        }
        Ok(match (plan.verdict(raw.map(AsRef::as_ref), self.host)?, taken) {
            (Verdict::Refused(why), _) => Some(refused(why)),
            (Verdict::Invalid(fault), _) => Some(Err(Trouble::Fault(fault))),
            (Verdict::Again, Some(index)) if plan.kind.index(&index).is_some() => {
                Some(refused(Refusal::Taken { index }))
            }
            (Verdict::Again, _) => None,
        })
    }
}

fn of_the_gone(raw: &RawDocumentBuf, id: u128) -> Result<Option<Done>, Damaged> {
    let Some(revision) = remembered::of_the_gone(raw, id)? else { return Ok(None) };
    Ok(Some(Done { revision, scope: None, at: row::millis(raw, "at")?, past: Vec::new() }))
}

fn refused(why: Refusal) -> Answer<Done> {
    Err(Trouble::Refused { write: 0, why })
}
