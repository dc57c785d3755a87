//! Taking certificates back, and removing them.

use culvert_model::Id;
use culvert_model::record::{Certificate, CertificateKey};
use culvert_records::{Guard, Query, Write, delete};

use crate::answer::Answer;
use crate::api::Api;

/// Revokes all certificates of this subject, and removes them with their keys.
///
/// # Errors
///
/// The store can't be reached.
pub async fn revoke(api: &Api, subject: Id) -> Answer<()> {
    let now = api.now().await?;
    for found in api.bus.list::<Certificate>(Query::by("by_subject").equal(subject)).await? {
        culvert_revocation::withdraw(&api.bus, found.record.id, now).await?;
    }
    Ok(())
}

/// The writes that revoke a certificate and remove it with its key; none if it is gone.
///
/// # Errors
///
/// The store can't be reached.
pub async fn withdrawal(api: &Api, id: Id) -> Answer<Vec<Write>> {
    let Some(found) = api.bus.get::<Certificate>(id).await? else { return Ok(Vec::new()) };
    let mut writes = culvert_revocation::withdrawal(&api.bus, &found, api.now().await?).await?;
    writes.push(delete::<CertificateKey>(id, Guard::default()));
    Ok(writes)
}

/// The writes that remove a certificate and its key.
pub fn removal(id: Id) -> Vec<Write> {
    vec![delete::<Certificate>(id, Guard::default()), delete::<CertificateKey>(id, Guard::default())]
}
