//! An organisation's CA.

use culvert_keys::{Made, Recipe};
use culvert_model::record::{CaKey, Organization, Settings};
use culvert_model::{Bytes, Id};
use culvert_records::{Write, insert, update};

use super::{Need, Trouble, settings};
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

pub async fn writes(desk: &Desk, organization: Id, made: &Made) -> Result<Vec<Write>, Trouble> {
    let Some(mut stored) = desk.bus.get::<Organization>(organization).await? else {
        return Ok(Vec::new());
    };
    if stored.record.ca.is_some() {
        return Ok(Vec::new());
    }
    stored.record.ca = Some(Bytes(made.der.clone()));
    stored.record.ca_expires = Some(made.expires);
    let key = CaKey { id: organization, key: Bytes(made.key.to_vec()) };
    Ok(vec![insert(&key), update(&stored.record, stored.unchanged())])
}
