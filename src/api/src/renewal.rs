//! New certificates for those who have some: on demand, and where a profile is fetched whose certificate ends soon.

use std::time::Duration;

use culvert_contract::body::Renewal;
use culvert_contract::reply;
use culvert_jobs::enqueue;
use culvert_model::record::{Certificate, CertificateState, Job, JobState, Organization, Priority, Server, User, Work};
use culvert_model::{Id, Kind, Millis};
use culvert_records::{Failure, Key, Query};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::user;

/// How long who fetches a profile waits for a new certificate: an RSA key takes a second or two. After that the old one
/// is given out, which is still good.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many certificates are looked at at a time: the first that end are seldom in a pool.
const PAGE: u16 = 20;

const DAY: Millis = 24 * 3600 * 1000;

/// Has a user's certificate renewed.
///
/// # Errors
///
/// There is no such user, or the store can't be reached.
pub async fn user(api: &Api, organization: Id, id: Id, how: &Renewal) -> Answer<reply::Renewal> {
    let user = user::find(api, organization, id).await?.record;
    let renewing = renew(api, vec![user.certificate], how, Priority::Normal).await?;
    api.note(format!("The certificate of user {} is being renewed.", user.name)).await;
    Ok(renewing)
}

/// Has the certificates of all users of an organisation renewed, without haste: a job for each.
///
/// # Errors
///
/// There is no such organisation, or the store can't be reached.
pub async fn organization(api: &Api, id: Id, how: &Renewal) -> Answer<reply::Renewal> {
    let organization = user::organization(api, id).await?;
    let users = api.bus.list::<User>(Query::by("by_organization").equal(id)).await?;
    let certificates = users.into_iter().map(|user| user.record.certificate).collect();
    let renewing = renew(api, certificates, how, Priority::Low).await?;
    api.note(format!("The certificates of all users of organization {} are being renewed.", organization.name)).await;
    Ok(renewing)
}

/// Has a server's certificate renewed.
///
/// # Errors
///
/// There is no such server, it has no certificate, or the store can't be reached.
pub async fn server(api: &Api, id: Id, how: &Renewal) -> Answer<reply::Renewal> {
    let server = api.have::<Server>(id, "server").await?.record;
    let certificate = server.certificate.ok_or_else(no_certificate)?;
    let renewing = renew(api, vec![certificate], how, Priority::Normal).await?;
    api.note(format!("The certificate of server {} is being renewed.", server.name)).await;
    Ok(renewing)
}

fn no_certificate() -> No {
    No::bad("server_no_certificate", "The server has no certificate: attach an organization first.")
}

async fn renew(api: &Api, certificates: Vec<Id>, how: &Renewal, priority: Priority) -> Answer<reply::Renewal> {
    let now = api.now().await?;
    let renewing = certificates.len() as u64;
    let jobs: Vec<Job> = certificates.iter().map(|one| Job::new(key(*one), work(*one, how), priority, now)).collect();
    let done = enqueue(&api.bus, jobs).await?;
    if (how.immediate || how.compromised) && done.there > 0 {
        for certificate in certificates {
            hasten(api, certificate, how).await?;
        }
    }
    Ok(reply::Renewal { renewing })
}

const fn work(certificate: Id, how: &Renewal) -> Work {
    let Renewal { immediate, compromised } = *how;
    Work::Renew { certificate, immediate: immediate || compromised, compromised }
}

/// The idempotency key of a certificate's renewal.
fn key(certificate: Id) -> String {
    format!("renew/{certificate}")
}

/// A renewal that was to leave the old certificate good for a while is to revoke it at once.
async fn hasten(api: &Api, certificate: Id, how: &Renewal) -> Answer<()> {
    for _ in 0..5 {
        let Some(mut job) = api.bus.get::<Job>(key(certificate)).await? else { return Ok(()) };
        if matches!(job.record.work, Work::Renew { compromised: true, .. }) {
            return Ok(());
        }
        job.record.work = work(certificate, how);
        match api.bus.update(&mut job).await {
            // It was begun, or ended: look again.
            Err(Failure::Refused { .. }) => {}
            done => return Ok(done?),
        }
    }
    Err(No::raced())
}

/// A user whose certificate ends soon gets a new one now: its profile is being fetched. The user as it is then.
///
/// # Errors
///
/// The store can't be reached.
pub async fn in_time(api: &Api, organization: Id, id: Id) -> Answer<User> {
    let user = user::find(api, organization, id).await?.record;
    let settings = user::settings(api).await?;
    let ca_ends = api.have::<Organization>(organization, "organization").await?.record.ca_expires;
    let now = api.now().await?;
    let Some(found) = api.bus.get::<Certificate>(user.certificate).await? else { return Ok(user) };
    // One that ends with its CA would not live longer by being renewed.
    let lasting = found.record.expires > now + settings.expiry();
    if lasting || ca_ends.is_some_and(|end| end < found.record.expires + DAY) {
        return Ok(user);
    }
    let mut watch = api.watch(&[Kind::User], PATIENCE);
    renew(api, vec![user.certificate], &Renewal::default(), Priority::High).await?;
    loop {
        let job = api.bus.get::<Job>(key(user.certificate)).await?;
        let after = user::find(api, organization, id).await?.record;
        let ended = job.is_none_or(|job| job.record.state == JobState::Dead);
        if ended || after.certificate != user.certificate || !watch.next().await {
            return Ok(after);
        }
    }
}

/// A user's certificates.
///
/// # Errors
///
/// There is no such user, or the store can't be reached.
pub async fn of_user(api: &Api, organization: Id, id: Id) -> Answer<Vec<reply::Certificate>> {
    user::find(api, organization, id).await?;
    of_subject(api, id).await
}

/// A server's certificates.
///
/// # Errors
///
/// There is no such server, or the store can't be reached.
pub async fn of_server(api: &Api, id: Id) -> Answer<Vec<reply::Certificate>> {
    let Some(certificate) = api.have::<Server>(id, "server").await?.record.certificate else { return Ok(Vec::new()) };
    of_subject(api, api.have::<Certificate>(certificate, "certificate").await?.record.subject).await
}

async fn of_subject(api: &Api, subject: Id) -> Answer<Vec<reply::Certificate>> {
    let all = api.bus.list::<Certificate>(Query::by("by_subject").equal(subject)).await?;
    let show = |certificate: Certificate| reply::Certificate {
        id: certificate.id,
        purpose: certificate.purpose,
        serial: certificate.serial_number(),
        fingerprint: certificate.fingerprint,
        expires: certificate.expires,
        replaced: certificate.replaced,
    };
    let mut shown: Vec<_> = all.into_iter().map(|stored| show(stored.record)).collect();
    shown.sort_by_key(|certificate| (certificate.replaced.is_some(), certificate.replaced));
    Ok(shown)
}

/// The end of the certificate that is the next to end of those that somebody has, milliseconds since 1970.
///
/// # Errors
///
/// The store can't be reached.
pub async fn next_end(api: &Api) -> Answer<Option<Millis>> {
    let now = i64::try_from(api.now().await?).unwrap_or(i64::MAX);
    let mut query = Query::by("by_expiry").from(Key::Int(now)).limit(PAGE);
    loop {
        let page = api.bus.find::<Certificate>(query.clone()).await?;
        let mut all = page.items.into_iter().map(|stored| stored.record);
        let counts = |one: &Certificate| one.state == CertificateState::Taken && one.replaced.is_none();
        match (all.find(counts), page.next) {
            (Some(certificate), _) => return Ok(Some(certificate.expires)),
            (None, Some(next)) => query = query.after(Some(next)),
            (None, None) => return Ok(None),
        }
    }
}
