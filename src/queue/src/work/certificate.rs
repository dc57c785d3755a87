//! A certificate of a user or a server, for a pool or for whoever waits.

use culvert_keys::{Issuer, Made, Recipe};
use culvert_model::record::{CaKey, Certificate, CertificateKey, CertificateState, Job, Purpose, Settings};
use culvert_model::{Bytes, Id};
use culvert_records::{Write, insert};
use zeroize::Zeroizing;

use super::{Need, Trouble, settings};
use crate::Desk;

pub async fn look(desk: &Desk, organization: Id, purpose: Purpose) -> Result<Need, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let Some(record) = super::organization(desk, organization).await? else {
        return Ok(Need::Nothing("the organisation is gone"));
    };
    let signing = desk.bus.get::<CaKey>(organization).await?;
    let (Some(certificate), Some(signing)) = (record.ca, signing) else {
        return Err(Trouble::NotYet("The organisation's CA is not made yet."));
    };
    let Settings { user_key, server_key, leaf_days: days, .. } = settings(desk).await?;
    let key = if purpose == Purpose::Client { user_key } else { server_key };
    let issuer = Issuer { certificate: certificate.0, key: Zeroizing::new(signing.record.key.0) };
    Ok(Need::Make(vec![Recipe::Certificate { organization, subject: Id::new(), purpose, issuer, key, days, now }]))
}

pub fn writes(job: &Job, organization: Id, purpose: Purpose, made: &Made) -> Vec<Write> {
    let state = if job.reserved.is_some() { CertificateState::Reserved } else { CertificateState::Ready };
    let certificate = Certificate {
        id: made.subject,
        organization,
        purpose,
        state,
        reserved: job.reserved.clone(),
        subject: made.subject,
        der: Bytes(made.der.clone()),
        fingerprint: made.fingerprint.clone(),
        expires: made.expires,
        serial: made.serial.clone(),
        replaced: None,
    };
    vec![insert(&CertificateKey { id: made.subject, key: Bytes(made.key.to_vec()) }), insert(&certificate)]
}
