//! Leases, by the clock of the primary: `$$NOW` inside the update, so that no two hosts' clocks are compared
//! (`mechanisms.md` 4.1).

use culvert_model::{HostId, Kind, Millis};
use culvert_wire::bus::{Claim, Guard, Refusal, Row};
use mongodb::ClientSession;
use mongodb::bson::raw::RawDocument;
use mongodb::bson::{Bson, DateTime, Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::ReturnDocument;
use tokio::time::Instant;

use super::attempt::{Course, Failure, OPERATION};
use super::base::Base;
use super::plan::{binary, free, held, taken, unfulfilled};
use super::row::{self, Damaged, whole};
use crate::store::{Answer, Owner, Trouble};

/// A change to a record's lease.
struct Step<'s> {
    kind: Kind,
    id: &'s str,
    filter: Document,
    set: Document,
    /// How long it then lasts.
    lease: Millis,
    reason: Reason<'s>,
}

/// How it is told why a step found nothing.
enum Reason<'s> {
    /// A claim, and the word that it leaves in the record.
    Claim { word: u128, revision: Option<u64> },
    /// Something that takes a held lease.
    Held { host: HostId, claim: &'s Claim, releases: bool },
    /// A new word for a held lease, which it may have by now.
    Passed { host: HostId, claim: &'s Claim, word: &'s str },
}

/// What a record tells of a step that found nothing.
enum Verdict {
    Done(Row),
    Refused(Refusal),
    Again,
}

impl Base {
    /// Takes a lease that nobody holds.
    ///
    /// # Errors
    ///
    /// It is refused, or could not be done in time.
    pub async fn claim(
        &self,
        kind: Kind,
        id: &str,
        revision: Option<u64>,
        owner: &Owner,
        lease: Millis,
    ) -> Answer<Row> {
        let word = random();
        let mut filter = doc! { "_id": id };
        filter.extend(free());
        if let Some(revision) = revision {
            filter.insert("r", whole(revision));
        }
        let set = doc! {
            "host": { "$literal": owner.host.to_string() },
            "owner": { "$literal": &owner.name },
            // The first one comes from the clock: it is not to be one that an earlier record of this id had.
            "epoch": { "$add": [{ "$ifNull": ["$epoch", { "$toLong": "$$NOW" }] }, 1_i64] },
            "expires": { "$add": ["$$NOW", whole(lease)] },
            "claim": binary(word),
        };
        self.step(&Step { kind, id, filter, set, lease, reason: Reason::Claim { word, revision } }).await
    }

    /// Makes a held lease last longer.
    ///
    /// # Errors
    ///
    /// It is refused, or could not be done in time.
    pub async fn renew(&self, kind: Kind, id: &str, host: HostId, claim: &Claim, lease: Millis) -> Answer<Row> {
        let set = doc! { "expires": { "$add": ["$$NOW", whole(lease)] } };
        self.held(kind, id, set, lease, Reason::Held { host, claim, releases: false }).await
    }

    /// Makes a held lease last longer under another word.
    ///
    /// # Errors
    ///
    /// It is refused, or could not be done in time.
    pub async fn pass(
        &self,
        kind: Kind,
        id: &str,
        host: HostId,
        claim: &Claim,
        word: &str,
        lease: Millis,
    ) -> Answer<Row> {
        let set = doc! { "owner": { "$literal": word }, "expires": { "$add": ["$$NOW", whole(lease)] } };
        self.held(kind, id, set, lease, Reason::Passed { host, claim, word }).await
    }

    /// Gives a held lease up.
    ///
    /// # Errors
    ///
    /// It is refused, or could not be done in time.
    pub async fn release(&self, kind: Kind, id: &str, host: HostId, claim: &Claim) -> Answer<()> {
        // The beginning of time, so that a clock that goes back does not bring the lease to life again.
        let set = doc! { "expires": Bson::DateTime(DateTime::from_millis(0)) };
        self.held(kind, id, set, 0, Reason::Held { host, claim, releases: true }).await.map(drop)
    }

    async fn held(&self, kind: Kind, id: &str, set: Document, lease: Millis, reason: Reason<'_>) -> Answer<Row> {
        let mut filter = doc! { "_id": id };
        if let Reason::Held { host, claim, .. } | Reason::Passed { host, claim, .. } = &reason {
            filter.extend(held(*host, claim));
        }
        if let Reason::Passed { claim, word, .. } = &reason {
            // An attempt that got lost, or an earlier request, may have passed it.
            filter.insert("owner", doc! { "$in": [&claim.owner, *word] });
        }
        self.step(&Step { kind, id, filter, set, lease, reason }).await
    }

    async fn step(&self, step: &Step<'_>) -> Answer<Row> {
        let mut course = Course::write(self.is_away());
        let _place = self.place(&course).await?;
        let mut session = self.session().await.map_err(|_| course.given_up())?;
        loop {
            let failure = match self.step_once(step, &course, &mut session).await {
                Ok(Ok(Some(answer))) => {
                    self.learn(&session);
                    return answer;
                }
                Ok(Err(damage)) => return Err(Trouble::Damaged(damage.of(step.kind, step.id))),
                Ok(Ok(None)) => Failure::Away,
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Locked) {
                self.break_locks().await;
            }
            course.overcome(failure).await?;
        }
    }

    async fn step_once(
        &self,
        step: &Step<'_>,
        course: &Course,
        session: &mut ClientSession,
    ) -> Result<Result<Option<Answer<Row>>, Damaged>, Failure> {
        let asked = Instant::now();
        if let Some(raw) = course.attempt(self.take(step, session)).await? {
            let left = step.lease.saturating_sub(asked.elapsed().as_millis() as Millis);
            return Ok(row::read_leased(&raw, left).map(|row| Some(Ok(row))));
        }
        let raw = course.attempt(self.look_at_lease(step, session)).await.map_err(Failure::harmless)?;
        Ok(step.verdict(raw.as_deref(), course.unsure()).map(|verdict| match verdict {
            Verdict::Done(row) => Some(Ok(row)),
            Verdict::Refused(why) => Some(Err(Trouble::Refused { write: 0, why })),
            Verdict::Again => None,
        }))
    }

    /// Gives the whole record: to work out anything for a projection takes the database longer than the change itself, and
    /// what it keeps for an attempt that the driver repeats has no projection.
    async fn take(&self, step: &Step<'_>, session: &mut ClientSession) -> Result<Option<RawDocumentBuf>, Error> {
        self.records(step.kind)
            .find_one_and_update(step.filter.clone(), vec![doc! { "$set": step.set.clone() }])
            .return_document(ReturnDocument::After)
            .max_time(OPERATION)
            .session(session)
            .await
    }

    async fn look_at_lease(
        &self,
        step: &Step<'_>,
        session: &mut ClientSession,
    ) -> Result<Option<RawDocumentBuf>, Error> {
        let mut wanted = row::projection();
        wanted.insert("claim", 1);
        self.records(step.kind)
            .find_one(doc! { "_id": step.id })
            .projection(wanted)
            .max_time(OPERATION)
            .session(session)
            .await
    }
}

impl Step<'_> {
    fn verdict(&self, raw: Option<&RawDocument>, unsure: bool) -> Result<Verdict, Damaged> {
        let Some(raw) = raw else { return Ok(Verdict::Refused(Refusal::Missing)) };
        match &self.reason {
            Reason::Claim { word, revision } => {
                if matches!(raw.get("claim")?, Some(RawBsonRef::Binary(it)) if it.bytes == word.to_be_bytes()) {
                    return row::read(raw).map(Verdict::Done);
                }
                let guard = Guard { revision: *revision, claim: None };
                if let Some(refusal) = unfulfilled(&guard, raw, HostId::new())? {
                    return Ok(Verdict::Refused(refusal));
                }
                Ok(taken(raw)?.map_or(Verdict::Again, Verdict::Refused))
            }
            Reason::Held { host, claim, releases } => {
                let guard = Guard { revision: None, claim: Some((*claim).clone()) };
                match unfulfilled(&guard, raw, *host)? {
                    None => Ok(Verdict::Again),
                    // An attempt that got lost gave it up, or the lease ended: nobody holds it under this claim.
                    Some(_) if *releases && unsure => row::read(raw).map(Verdict::Done),
                    Some(refusal) => Ok(Verdict::Refused(refusal)),
                }
            }
            Reason::Passed { host, claim, word } => {
                let guard = |claim: Claim| Guard { revision: None, claim: Some(claim) };
                let passed = guard(Claim { owner: (*word).into(), epoch: claim.epoch });
                if unfulfilled(&passed, raw, *host)?.is_none() {
                    return Ok(Verdict::Again);
                }
                let refusal = unfulfilled(&guard((*claim).clone()), raw, *host)?;
                Ok(refusal.map_or(Verdict::Again, Verdict::Refused))
            }
        }
    }
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes to every process");
    u128::from_be_bytes(bytes)
}
