//! Revoking certificates: who takes one back (api, queue, tasks) does it here, so that no revocation goes without being
//! listed.
//!
//! Each batch that revokes also writes the job that signs the organisation's list, whether the job is new or there
//! already ([`anew`]): an attempt that is just signing, and may have read the revocations before, finds the job changed,
//! can't end it with what it has, and reads them again.

use culvert_jobs::anew;
use culvert_model::record::{Certificate, CertificateKey, Job, Priority, Reason, Revocation, Work};
use culvert_model::{Id, Millis};
use culvert_records::{Bus, Failure, Stored, Write, delete, insert};

/// How long after the first revocation the list is signed, milliseconds: many at once are one list.
const TOGETHER: Millis = 500;

/// How often a removal is tried anew while others write the same records.
const TRIES: usize = 10;

/// The write that has the list of an organisation's revoked certificates signed anew.
///
/// # Errors
///
/// The store can't be reached.
pub async fn listing(bus: &Bus, organization: Id, now: Millis) -> Result<Write, Failure> {
    anew(bus, job(organization, now)).await
}

/// Likewise for an organisation that is made in the same batch.
#[must_use]
pub fn first_listing(organization: Id, now: Millis) -> Write {
    insert(&job(organization, now))
}

fn job(organization: Id, now: Millis) -> Job {
    let job = Job::new(format!("crl/{organization}"), Work::Crl { organization }, Priority::Normal, now);
    Job { not_before: now + TOGETHER, ..job }
}

/// The writes that revoke certificates of an organisation for this reason: none for those that have expired or are revoked already.
///
/// # Errors
///
/// The store can't be reached.
pub async fn revocations(
    bus: &Bus,
    organization: Id,
    certificates: &[&Certificate],
    reason: Reason,
    now: Millis,
) -> Result<Vec<Write>, Failure> {
    let mut writes = Vec::new();
    for revocation in certificates.iter().filter_map(|certificate| Revocation::of(certificate, now, reason)) {
        if revocation.expires > now && bus.get::<Revocation>(&revocation.id).await?.is_none() {
            writes.push(insert(&revocation));
        }
    }
    if !writes.is_empty() {
        writes.push(listing(bus, organization, now).await?);
    }
    Ok(writes)
}

/// The writes that revoke a certificate and remove it: it was replaced, or nobody needs it any more. Its key is not among
/// them.
///
/// # Errors
///
/// The store can't be reached.
pub async fn withdrawal(bus: &Bus, certificate: &Stored<Certificate>, now: Millis) -> Result<Vec<Write>, Failure> {
    let reason = if certificate.record.replaced.is_some() { Reason::Superseded } else { Reason::CessationOfOperation };
    let mut writes = revocations(bus, certificate.record.organization, &[&certificate.record], reason, now).await?;
    writes.push(delete::<Certificate>(certificate.record.id, certificate.unchanged()));
    Ok(writes)
}

/// Revokes a certificate and removes it with its key. One that is gone is passed over.
///
/// # Errors
///
/// The store can't be reached, or others write the same records all the time.
pub async fn withdraw(bus: &Bus, certificate: Id, now: Millis) -> Result<(), Failure> {
    // First, since it is found by nothing but the certificate: who is interrupted asks again.
    bus.delete::<CertificateKey>(certificate).await?;
    let mut tries = 1;
    loop {
        let Some(stored) = bus.get::<Certificate>(certificate).await? else { return Ok(()) };
        match bus.write(withdrawal(bus, &stored, now).await?).await {
            Err(Failure::Refused { .. }) if tries < TRIES => tries += 1,
            done => return done.map(drop),
        }
    }
}
