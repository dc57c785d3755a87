//! New certificates for those who have some: on demand, and where a profile is fetched whose certificate ends soon.

use std::time::Duration;

use culvert_contract::body::Renewal;
use culvert_contract::reply;
use culvert_jobs::demand;
use culvert_model::record::{
    Certificate, CertificateState, Job, JobState, Organization, Priority, Reason, Revocation, Server, User, Work,
};
use culvert_model::{Id, Kind, Millis};
use culvert_records::{BATCH, Failure, Key, Query};
use culvert_revocation::revocations;

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::caller::Caller;
use crate::user;

/// How long who fetches a profile waits for a new certificate: an RSA key takes a second or two. After that the old one
/// is given out, which is still good.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many certificates are looked at at a time: the first that end are seldom in a pool.
const PAGE: u16 = 20;

/// How often revocations are tried anew while others write the same records.
const TRIES: usize = 10;

const DAY: Millis = 24 * 3600 * 1000;

/// Has a user's certificate renewed.
///
/// # Errors
///
/// There is no such user, or the store can't be reached.
pub async fn user(api: &Api, caller: &Caller, organization: Id, id: Id, how: &Renewal) -> Answer<reply::Renewal> {
    user::find(api, organization, id).await?;
    revoke(api, organization, Query::by("by_subject").equal(id), how).await?;
    let user = user::find(api, organization, id).await?.record;
    let renewing = renew(api, vec![user.certificate], how, Priority::Normal).await?;
    note(api, caller, &format!("The certificate of user {} is", user.name), how).await;
    Ok(renewing)
}

/// Has the certificates of all users of an organisation renewed, a job for each: without haste, unless what there is is not
/// to be used any more.
///
/// # Errors
///
/// There is no such organisation, or the store can't be reached. What was enqueued by then stays.
pub async fn organization(api: &Api, caller: &Caller, id: Id, how: &Renewal) -> Answer<reply::Renewal> {
    let organization = user::organization(api, id).await?;
    revoke(api, id, Query::by("by_pool").equal(id).equal("client").equal("taken"), how).await?;
    let priority = if how.immediate || how.compromised { Priority::Normal } else { Priority::Lowest };
    let renewing = renew_all(api, id, how, priority).await.map_err(unfinished)?;
    note(api, caller, &format!("The certificates of all users of organization {} are", organization.name), how).await;
    Ok(renewing)
}

/// A page of users after the other: there may be any number.
async fn renew_all(api: &Api, organization: Id, how: &Renewal, priority: Priority) -> Answer<reply::Renewal> {
    let mut all = reply::Renewal { renewing: 0 };
    let mut pages = api.bus.pages::<User>(Query::by("by_organization").equal(organization));
    while let Some(users) = pages.next().await? {
        let certificates = users.into_iter().map(|user| user.record.certificate).collect();
        all.renewing += renew(api, certificates, how, priority).await?.renewing;
    }
    Ok(all)
}

/// Some may be enqueued already, and stay.
fn unfinished(no: No) -> No {
    No {
        text: format!("{} Some certificates may be renewed all the same: ask again for the rest.", no.text).into(),
        ..no
    }
}

/// Has a server's certificate renewed.
///
/// # Errors
///
/// There is no such server, it has no certificate, or the store can't be reached.
pub async fn server(api: &Api, caller: &Caller, id: Id, how: &Renewal) -> Answer<reply::Renewal> {
    let certificate = of(api, id).await?.1;
    if let Some(old) = api.bus.get::<Certificate>(certificate).await? {
        revoke(api, old.record.organization, Query::by("by_subject").equal(old.record.subject), how).await?;
    }
    let (server, certificate) = of(api, id).await?;
    let renewing = renew(api, vec![certificate], how, Priority::Normal).await?;
    note(api, caller, &format!("The certificate of server {} is", server.name), how).await;
    Ok(renewing)
}

/// A server with its certificate.
async fn of(api: &Api, id: Id) -> Answer<(Server, Id)> {
    let server = api.have::<Server>(id, "server").await?.record;
    let none = || No::bad("server_no_certificate", "The server has no certificate: attach an organization first.");
    let certificate = server.certificate.ok_or_else(none)?;
    Ok((server, certificate))
}

/// Tells administrators whose certificates are renewed, for whom, and what becomes of what there was.
async fn note(api: &Api, caller: &Caller, whose: &str, how: &Renewal) {
    let rest = match how {
        Renewal { compromised: true, .. } => {
            " Keys may be in wrong hands (compromised): all that there was is revoked."
        }
        Renewal { immediate: true, .. } => " What there was is revoked as soon as it is replaced.",
        _ => "",
    };
    api.note(format!("{whose} being renewed, as {} wants it.{rest}", caller.admin.username)).await;
}

/// Revokes what these are, if their keys may be in wrong hands: whoever has such a key is not to have it for as long as
/// new ones take. To be done before it is read what is to be renewed: what is made in between is not among these, or is
/// renewed, too.
async fn revoke(api: &Api, organization: Id, these: Query, how: &Renewal) -> Answer<()> {
    if !how.compromised {
        return Ok(());
    }
    let now = api.now().await?;
    let mut pages = api.bus.pages::<Certificate>(these);
    while let Some(page) = pages.next().await? {
        let all: Vec<&Certificate> = page.iter().map(|stored| &stored.record).collect();
        // With the job that signs the list.
        for some in all.chunks(BATCH - 1) {
            revoke_some(api, organization, some, now).await?;
        }
    }
    Ok(())
}

async fn revoke_some(api: &Api, organization: Id, some: &[&Certificate], now: Millis) -> Answer<()> {
    let mut tries = 1;
    loop {
        let writes = revocations(&api.bus, organization, some, Reason::KeyCompromise, now).await?;
        if writes.is_empty() {
            return Ok(());
        }
        match api.bus.write(writes).await {
            // Others revoke at the same time, or the list is being signed.
            Err(Failure::Refused { .. }) if tries < TRIES => tries += 1,
            done => return done.map(drop).map_err(No::from),
        }
    }
}

async fn renew(api: &Api, certificates: Vec<Id>, how: &Renewal, priority: Priority) -> Answer<reply::Renewal> {
    let Renewal { immediate, compromised } = *how;
    let now = api.now().await?;
    let renewing = certificates.len() as u64;
    let job = |certificate| {
        let work = Work::Renew { certificate, immediate: immediate || compromised, compromised };
        Job::new(key(certificate), work, priority, now)
    };
    demand(&api.bus, certificates.into_iter().map(job).collect()).await?;
    Ok(reply::Renewal { renewing })
}

/// The idempotency key of a certificate's renewal.
fn key(certificate: Id) -> String {
    format!("renew/{certificate}")
}

/// A user whose certificate ends soon, or is revoked, gets a new one now: its profile is being fetched. The user as it is
/// then.
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
    let lasting = found.record.expires > now + settings.expiry();
    // One that ends with its CA would not live longer by being renewed.
    let no_longer = ca_ends.is_some_and(|end| end < found.record.expires + DAY);
    if (lasting || no_longer) && !revoked(api, &found.record).await? {
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

async fn revoked(api: &Api, certificate: &Certificate) -> Answer<bool> {
    let Some(serial) = certificate.serial_number() else { return Ok(false) };
    let id = Revocation::name(certificate.organization, &serial);
    Ok(api.bus.get::<Revocation>(id).await?.is_some())
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
