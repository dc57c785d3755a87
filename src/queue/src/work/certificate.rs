//! A certificate of a user or a server, for a pool or for whoever waits.

use culvert_keys::{Pair, Recipe};
use culvert_model::record::{Certificate, CertificateKey, CertificateState, Job, Organization, Purpose, Settings};
use culvert_model::{Bytes, Id};
use culvert_records::{Write, insert};

use super::{Need, Trouble, settings};
use crate::Desk;

pub async fn look(desk: &Desk, organization: Id, purpose: Purpose) -> Result<Need, Trouble> {
    match super::organization(desk, organization).await? {
        Some(found) => Ok(Need::Make(recipes(desk, found, purpose, [Id::new()]).await?)),
        None => Ok(Need::Nothing("the organisation is gone")),
    }
}

/// One for each subject.
pub async fn recipes(
    desk: &Desk,
    found: Organization,
    purpose: Purpose,
    subjects: impl IntoIterator<Item = Id>,
) -> Result<Vec<Recipe>, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let organization = found.id;
    let issuer = super::issuer(desk, found).await?;
    let Settings { user_key, server_key, leaf_days: days, .. } = settings(desk).await?;
    let key = if purpose == Purpose::Client { user_key } else { server_key };
    let recipe =
        |subject| Recipe::Certificate { organization, subject, purpose, issuer: issuer.clone(), key, days, now };
    Ok(subjects.into_iter().map(recipe).collect())
}

pub fn writes(job: &Job, organization: Id, purpose: Purpose, pair: &Pair) -> Vec<Write> {
    let key = CertificateKey { id: pair.subject, key: Bytes(pair.key.to_vec()) };
    vec![insert(&key), insert(&record(job, organization, purpose, pair))]
}

/// The record of what was made for a pool, or for whoever waits.
pub fn record(job: &Job, organization: Id, purpose: Purpose, pair: &Pair) -> Certificate {
    Certificate {
        id: pair.subject,
        organization,
        purpose,
        state: if job.reserved.is_some() { CertificateState::Reserved } else { CertificateState::Ready },
        reserved: job.reserved.clone(),
        subject: pair.subject,
        der: Bytes(pair.der.clone()),
        fingerprint: pair.fingerprint.clone(),
        expires: pair.expires,
        serial: pair.serial.clone(),
        replaced: None,
    }
}
