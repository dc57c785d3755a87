//! Removing an organisation with everything under it. Each step can be repeated: who is interrupted asks again.

use culvert_model::Id;
use culvert_model::record::{
    CaKey, Certificate, CertificateKey, Crl, Job, Organization, OrganizationSecret, Revocation, Server, User, Work,
};
use culvert_records::{Failure, Query};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::{certificate, server, user};

/// Removes an organisation: servers that it is attached to are stopped and let go of it, its users are cut off.
///
/// # Errors
///
/// It was not there (what is left of it is removed nevertheless), or the store can't be reached.
pub async fn remove(api: &Api, id: Id) -> Answer<()> {
    let organization = api.bus.get::<Organization>(id).await?;
    let servers = api.bus.list::<Server>(Query::by("by_name")).await?;
    for attached in servers.iter().filter(|server| server.record.organizations.contains(&id)) {
        server::halt(api, attached.record.id).await?;
        server::detach(api, attached.record.id, id, true).await?;
    }
    remove_users(api, id).await?;
    api.bus.delete::<Organization>(id).await?;
    api.bus.delete::<CaKey>(id).await?;
    api.bus.delete::<OrganizationSecret>(id).await?;
    // A user that somebody made meanwhile: from here on nobody can.
    remove_users(api, id).await?;
    remove_jobs(api, id).await?;
    remove_certificates(api, id).await?;
    api.bus.delete::<Crl>(id).await?;
    for revocation in api.bus.list::<Revocation>(Query::by("by_organization").equal(id)).await? {
        api.bus.delete::<Revocation>(&revocation.record.id).await?;
    }
    match organization {
        Some(organization) => {
            api.note(format!("Organization {} was deleted.", organization.record.name)).await;
            Ok(())
        }
        None => Err(No::missing("organization")),
    }
}

async fn remove_users(api: &Api, organization: Id) -> Answer<()> {
    loop {
        let page = api.bus.find::<User>(Query::by("by_organization").equal(organization).limit(100)).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        for found in page.items {
            user::erase(api, &found.record).await?;
        }
    }
}

async fn remove_jobs(api: &Api, id: Id) -> Answer<()> {
    for job in api.bus.list::<Job>(Query::by("by_state")).await? {
        if job.record.work.organization() == Some(id) {
            if let Work::Users { users, .. } = &job.record.work {
                user::forget(api, users).await?;
            }
            api.bus.delete::<Job>(&job.record.id).await?;
        }
    }
    Ok(())
}

async fn remove_certificates(api: &Api, organization: Id) -> Answer<()> {
    loop {
        let page = api.bus.find::<Certificate>(Query::by("by_pool").equal(organization).limit(40)).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        let writes: Vec<_> =
            page.items.iter().flat_map(|certificate| certificate::removal(certificate.record.id)).collect();
        match api.bus.write(writes).await {
            Ok(_) => {}
            // One of them is gone already: one by one.
            Err(Failure::Refused { .. }) => {
                for certificate in page.items {
                    api.bus.delete::<CertificateKey>(certificate.record.id).await?;
                    api.bus.delete::<Certificate>(certificate.record.id).await?;
                }
            }
            Err(failure) => return Err(failure.into()),
        }
    }
}
