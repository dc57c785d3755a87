//! Users whose organisation is gone, with all that was theirs.
//!
//! It is looked twice, some time apart: a user is the last thing that may go by mistake. The user goes first, together
//! with the secrets; what is left by a run that ends in the middle then has no owner, and the other sweeps find it.

use std::collections::BTreeSet;

use culvert_model::Id;
use culvert_model::record::{
    Address, CaKey, Certificate, CertificateKey, Crl, Organization, OrganizationSecret, Revocation, User, UserSecret,
};
use culvert_records::{Failure, Query, Stored};

use super::{Done, counted};
use crate::desk::{Desk, WATCHED};

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let suspects = suspects(desk).await?;
    let mut removed = 0;
    if !suspects.is_empty() {
        desk.watch().await;
        let gone = desk.absent::<Organization>(&organizations(&suspects)).await?;
        for user in suspects.iter().filter(|user| gone.contains(&user.record.organization.to_string())) {
            if desk.remove_with::<User, UserSecret>(user).await? {
                forget(desk, user.record.id).await?;
                removed += 1;
            }
        }
        for organization in &gone {
            forget_organization(desk, organization).await?;
        }
    }
    Ok(Done::of(format!("{} removed", counted(removed, "user"))).or_more(suspects.len() >= WATCHED))
}

/// Users without an organisation, as many as can be watched. They are in the order of their organisations.
async fn suspects(desk: &Desk<'_>) -> Result<Vec<Stored<User>>, Failure> {
    let mut suspects = Vec::new();
    let mut pages = desk.bus.pages::<User>(Query::by("by_organization"));
    while let Some(users) = pages.next().await? {
        let gone = desk.absent::<Organization>(&organizations(&users)).await?;
        suspects.extend(users.into_iter().filter(|user| gone.contains(&user.record.organization.to_string())));
        if suspects.len() >= WATCHED {
            suspects.truncate(WATCHED);
            break;
        }
    }
    Ok(suspects)
}

fn organizations(users: &[Stored<User>]) -> BTreeSet<String> {
    users.iter().map(|user| user.record.organization.to_string()).collect()
}

/// Removes what a user who is gone had. The links to profiles, which nobody can list, end by themselves within a day.
async fn forget(desk: &Desk<'_>, user: Id) -> Result<(), Failure> {
    desk.remove(&desk.all::<Address>(Query::by("by_user").equal(user)).await?, &[]).await?;
    for certificate in desk.all::<Certificate>(Query::by("by_subject").equal(user)).await? {
        desk.remove_with::<Certificate, CertificateKey>(&certificate).await?;
    }
    Ok(())
}

/// Removes what an organisation that is gone may have left under its own id.
pub async fn forget_organization(desk: &Desk<'_>, organization: &str) -> Result<(), Failure> {
    desk.erase::<CaKey>(organization).await?;
    desk.erase::<OrganizationSecret>(organization).await?;
    desk.erase::<Crl>(organization).await?;
    let mut pages = desk.bus.pages::<Revocation>(Query::by("by_organization").equal(organization));
    while let Some(page) = pages.next().await? {
        desk.remove(&page, &[]).await?;
    }
    Ok(())
}
