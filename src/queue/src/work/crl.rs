//! The signed list of an organisation's revoked certificates.
//!
//! Who revokes a certificate changes this job in the same batch, so that what is signed here is either of all
//! revocations, or can't be written: then they are read again.

use culvert_keys::crl;
use culvert_model::record::{Crl, Revocation};
use culvert_model::{Bytes, Id, Millis};
use culvert_records::{Query, Write, insert, update};

use super::Trouble;
use crate::Desk;

const HOUR: Millis = 3600 * 1000;

/// A list is signed anew at the latest after this time: those that have expired leave it.
const PERIOD: Millis = 7 * 24 * HOUR;

/// So much earlier than it is signed a list begins: clocks of those who read it may be slow.
const BACKDATED: Millis = HOUR;

pub async fn writes(desk: &Desk, organization: Id) -> Result<Vec<Write>, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let Some(record) = super::organization(desk, organization).await? else { return Ok(Vec::new()) };
    let ends = record.ca_expires.unwrap_or_default();
    let issuer = super::issuer(desk, record).await?;
    let before = desk.bus.get::<Crl>(organization).await?;
    let (number, signed) = before.as_ref().map_or((0, 0), |before| (before.record.number, before.record.signed));
    let all = desk.bus.list::<Revocation>(Query::by("by_organization").equal(organization)).await?;
    // A certificate that has expired is on one more list (RFC 5280, section 3.3).
    let all = all.into_iter().map(|stored| stored.record);
    let revoked: Vec<_> = all.filter(|revocation| revocation.expires > signed).collect();
    // It is good as long as the CA is: one that ended before would lock everybody out.
    let der =
        crl(&issuer, &revoked, number + 1, now.saturating_sub(BACKDATED), ends).map_err(|fault| fault.to_string())?;
    let list = Crl { id: organization, number: number + 1, der: Bytes(der), signed: now, next: now + PERIOD };
    Ok(vec![match before {
        Some(before) => update(&list, before.unchanged()),
        None => insert(&list),
    }])
}
