//! An organisation's CA, and one for an organisation that is still to be made.

use culvert_keys::{Pair, Recipe};
use culvert_model::record::{CaKey, Job, Organization, Purpose, Settings};
use culvert_model::{Bytes, Id};
use culvert_records::{Write, insert, update};

use super::{Need, Trouble, certificate, settings};
use crate::Desk;

pub async fn look(desk: &Desk, organization: Id) -> Result<Need, Trouble> {
    let (_, now) = desk.bus.here().await?;
    Ok(match super::organization(desk, organization).await? {
        None => Need::Nothing("the organisation is gone"),
        Some(Organization { ca: Some(_), .. }) => Need::Nothing("the organisation has a CA"),
        Some(_) => {
            let Settings { ca_key: key, ca_days: days, .. } = settings(desk).await?;
            Need::Make(vec![Recipe::Ca { organization, key, days, now }])
        }
    })
}

pub async fn writes(desk: &Desk, organization: Id, pair: &Pair) -> Result<Vec<Write>, Trouble> {
    let Some(mut stored) = desk.bus.get::<Organization>(organization).await? else {
        return Ok(Vec::new());
    };
    if stored.record.ca.is_some() {
        return Ok(Vec::new());
    }
    stored.record.ca = Some(Bytes(pair.der.clone()));
    stored.record.ca_expires = Some(pair.expires);
    let key = CaKey { id: organization, key: Bytes(pair.key.to_vec()) };
    Ok(vec![insert(&key), update(&stored.record, stored.unchanged())])
}

/// The organisation will have the id that its CA has.
pub async fn look_spare(desk: &Desk) -> Result<Need, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let Settings { ca_key: key, ca_days: days, .. } = settings(desk).await?;
    Ok(Need::Make(vec![Recipe::Ca { organization: Id::new(), key, days, now }]))
}

pub fn writes_spare(job: &Job, pair: &Pair) -> Vec<Write> {
    let key = CaKey { id: pair.subject, key: Bytes(pair.key.to_vec()) };
    vec![insert(&key), insert(&certificate::record(job, pair.subject, Purpose::Authority, pair))]
}
