//! Certificates whose organisation, user or server is gone, and figures of hosts that are.
//!
//! Certificates, which are revoked as well, are looked at twice, some time apart, as users are. Those that were replaced go when they are no longer
//! good, which is another task's business.

use std::collections::BTreeSet;

use culvert_model::record::{
    CaKey, Certificate, CertificateKey, CertificateState, Host, Organization, Output, Purpose, Server, Usage, User,
};
use culvert_records::{Failure, Query, Stored};

use super::{Done, certificates, counted, users};
use crate::desk::{Desk, WATCHED};

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let suspects = suspects(desk).await?;
    let mut removed = 0;
    if !suspects.is_empty() {
        desk.watch().await;
        let lost = lost(desk, &suspects).await?;
        for certificate in suspects.iter().filter(|suspect| lost.certificates.contains(&suspect.record.id.to_string()))
        {
            removed += u64::from(match certificate.record.purpose {
                Purpose::Authority => desk.remove_with::<Certificate, CaKey>(certificate).await?,
                _ if lost.organizations.contains(&certificate.record.organization.to_string()) => {
                    desk.remove_with::<Certificate, CertificateKey>(certificate).await?
                }
                // Its CA is still trusted.
                _ => certificates::withdraw(desk, certificate).await?,
            });
        }
        for organization in &lost.organizations {
            users::forget_organization(desk, organization).await?;
        }
    }
    let figures = figures(desk).await? + outputs(desk).await?;
    let text = format!("{} and {} removed", counted(removed, "certificate"), counted(figures, "other record"));
    Ok(Done::of(text).or_more(suspects.len() >= WATCHED))
}

/// As many as can be watched, in the order of their subjects.
async fn suspects(desk: &Desk<'_>) -> Result<Vec<Stored<Certificate>>, Failure> {
    let mut suspects = Vec::new();
    let mut pages = desk.bus.pages::<Certificate>(Query::by("by_subject"));
    while let Some(page) = pages.next().await? {
        let lost = lost(desk, &page).await?.certificates;
        suspects.extend(page.into_iter().filter(|certificate| lost.contains(&certificate.record.id.to_string())));
        if suspects.len() >= WATCHED {
            suspects.truncate(WATCHED);
            break;
        }
    }
    Ok(suspects)
}

/// What nobody has any more.
struct Lost {
    certificates: BTreeSet<String>,
    /// Those of their organisations that are gone.
    organizations: BTreeSet<String>,
}

/// Those of these certificates whose owner is gone. Owners are read after the certificates: each is there as long as its
/// certificate is its own.
async fn lost(desk: &Desk<'_>, certificates: &[Stored<Certificate>]) -> Result<Lost, Failure> {
    let all = || certificates.iter().map(|stored| &stored.record).filter(|certificate| certificate.replaced.is_none());
    let taken = |purpose| all().filter(move |one| one.state == CertificateState::Taken && one.purpose == purpose);
    let subjects = |purpose| taken(purpose).map(|certificate| certificate.subject.to_string()).collect();
    // The CA of an organisation that is still to be made is nobody's yet.
    let leaves = all().filter(|certificate| certificate.purpose != Purpose::Authority);
    let owners = leaves.map(|certificate| certificate.organization.to_string()).collect();
    let mut organizations = desk.absent::<Organization>(&owners).await?;
    organizations.extend(desk.absent::<Organization>(&subjects(Purpose::Authority)).await?);
    let users = desk.absent::<User>(&subjects(Purpose::Client)).await?;
    let servers = desk.every::<Server>().await?;
    let has = |server: &Stored<Server>, certificate: &Certificate| server.record.certificate == Some(certificate.id);
    let nobodys = |certificate| servers.iter().any(|all| !all.iter().any(|server| has(server, certificate)));
    let certificates = all().filter(|certificate| {
        let (subject, taken) = (certificate.subject.to_string(), certificate.state == CertificateState::Taken);
        match certificate.purpose {
            Purpose::Authority => taken && organizations.contains(&subject),
            _ if organizations.contains(&certificate.organization.to_string()) => true,
            Purpose::Client => taken && users.contains(&subject),
            Purpose::Server => taken && nobodys(certificate),
        }
    });
    let certificates = certificates.map(|certificate| certificate.id.to_string()).collect();
    Ok(Lost { certificates, organizations })
}

/// The figures of hosts that were removed while they were being written.
async fn figures(desk: &Desk<'_>) -> Result<u64, Failure> {
    let mut removed = 0;
    let mut pages = desk.bus.pages::<Usage>(Query::by("by_host"));
    while let Some(mut page) = pages.next().await? {
        let hosts = page.iter().map(|usage| usage.record.host.to_string()).collect();
        let gone = desk.absent::<Host>(&hosts).await?;
        page.retain(|usage| gone.contains(&usage.record.host.to_string()));
        removed += desk.remove(&page, &[]).await?;
    }
    Ok(removed)
}

/// What instances of servers that are gone have printed.
async fn outputs(desk: &Desk<'_>) -> Result<u64, Failure> {
    let mut removed = 0;
    let mut pages = desk.bus.pages::<Output>(Query::by("by_server"));
    while let Some(mut page) = pages.next().await? {
        let servers = page.iter().map(|output| output.record.server.to_string()).collect();
        let gone = desk.absent::<Server>(&servers).await?;
        page.retain(|output| gone.contains(&output.record.server.to_string()));
        removed += desk.remove(&page, &[]).await?;
    }
    Ok(removed)
}
