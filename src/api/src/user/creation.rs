//! Making users: each with a certificate out of the pool, or many of them in the background.

use culvert_contract::body::UserNew;
use culvert_contract::reply::{self, Background, Done};
use culvert_model::record::{Certificate, Job, Log, NewUser, Organization, Priority, Settings, User, UserSecret, Work};
use culvert_model::{Id, KeyKind, Kind, Record};
use culvert_pool::Stock;
use culvert_records::{BATCH, Guard, Query, Write, insert};
use http::StatusCode;

use super::check::{self, Wish, some};
use super::{organization, otp_secret, settings, show_whole};
use crate::answer::{Answer, No};
use crate::api::Api;
use crate::password::Cost;
use crate::take::take;
use crate::{filter, random, server};

/// So many users are made while one waits (`semantics.md`, `user_multi_post`); more are in the background.
const AT_ONCE: usize = 10;

/// The users of one job: what it makes of each, three records, becomes visible in one batch.
const CHUNK: usize = BATCH / 3 - 1;

/// The same, if each takes a second or more of a processor: hosts share them evenly, and little is lost with one.
const SLOW_CHUNK: usize = 8;

/// When there are so many jobs that make users, no more are taken on in the background.
const WAITING: u64 = 1_000;

/// What the ids of all jobs that make users begin with.
const FAMILY: &str = "users/";

/// Makes a user.
///
/// # Errors
///
/// It may not be so, no certificate was made in time, or the store can't be reached.
pub async fn create(api: &Api, id: Id, new: &UserNew) -> Answer<User> {
    let organization = organization(api, id).await?;
    permitted(new, &settings(api).await?)?;
    make(api, &organization, new).await
}

/// Makes several users; none if one may not be so. Few are made one after the other, many in the background.
///
/// # Errors
///
/// As [`create`], or so much is to be made already that nothing is taken on. Those that were made or taken on before
/// something else failed stay.
pub async fn create_many(api: &Api, id: Id, new: &[UserNew]) -> Answer<Done<Vec<reply::User>>> {
    let organization = organization(api, id).await?;
    let settings = settings(api).await?;
    new.iter().try_for_each(|new| permitted(new, &settings))?;
    if new.len() > AT_ONCE {
        take_on(api, &organization, new, &settings).await?;
        api.note(format!("{} users are being created in organization {}.", new.len(), organization.name)).await;
        let status_msg =
            format!("{} users are being created in the background and appear one after the other.", new.len());
        return Ok(Done::Later(Background { status: "users_background", status_msg, job: None }));
    }
    let mut made = Vec::with_capacity(new.len());
    for new in new {
        made.push(show_whole(api, make(api, &organization, new).await?).await?);
    }
    Ok(Done::Now(made))
}

fn permitted(new: &UserNew, settings: &Settings) -> Answer<()> {
    if !new.pin.is_empty() {
        check::pin(new.pin.reveal(), settings)?;
    }
    check::wish(Wish {
        auth_type: &new.auth_type,
        yubico_id: &new.yubico_id,
        network_links: &new.network_links,
        client_to_client: new.client_to_client,
        mac_addresses: &new.mac_addresses,
        dns_servers: &new.dns_servers,
        port_forwarding: &new.port_forwarding,
        bypass_secondary: new.bypass_secondary,
        pin: !new.pin.is_empty(),
    })
}

async fn make(api: &Api, organization: &Organization, new: &UserNew) -> Answer<User> {
    let pin = match new.pin.is_empty() {
        true => None,
        false => Some(api.hasher.hash(new.pin.reveal(), Cost::Pin).await?),
    };
    // The subject of the certificate was chosen when it was made.
    let user = |certificate: &Certificate| wanted(new, certificate.subject).user(organization.id, certificate.id);
    // Written with the user rather than behind it: users are what is made by the thousand.
    let message = format!("User {} was created in organization {}.", filter::name(&new.name), organization.name);
    let now = api.now().await?;
    let log = Log { id: Id::new(), timestamp: (now / 1000) as i64, message };
    let servers = server::attached(api, organization.id).await?;
    let with = |certificate: &Certificate| {
        let user = user(certificate);
        let mut writes = vec![insert(&user), insert(&secret(user.id, pin.clone())), insert(&log), still(organization)];
        writes.extend(servers.iter().map(|server| {
            let work = Work::AssignAddress { server: server.id, user: user.id };
            insert(&Job::new(format!("address/{}/{}", server.id, user.id), work, Priority::Normal, now))
        }));
        writes
    };
    let taken = take(api, Stock::Client(organization.id), with).await?;
    Ok(user(&taken))
}

/// Writes jobs that make users, each together with their secrets.
async fn take_on(api: &Api, organization: &Organization, new: &[UserNew], settings: &Settings) -> Answer<()> {
    if api.bus.count::<Job>(Query::under(FAMILY)).await? >= WAITING {
        let text = "So many users are to be made already that no more are taken on. Nothing was changed: try again in a \
                    minute. If that goes on, look in /v1/jobs for jobs that are dead, and retry or discard them.";
        return Err(No { later: true, ..No::new(StatusCode::TOO_MANY_REQUESTS, "users_background_busy", text) });
    }
    let size = match settings.user_key {
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => SLOW_CHUNK,
        KeyKind::P256 | KeyKind::P384 | KeyKind::Ed25519 => CHUNK,
    };
    let now = api.now().await?;
    let users = |new: &[UserNew]| new.iter().map(|new| wanted(new, Id::new())).collect();
    let chunks: Vec<Vec<NewUser>> = new.chunks(size).map(users).collect();
    let job = |users: &Vec<NewUser>| {
        let work = Work::Users { organization: organization.id, users: users.clone() };
        Job::new(format!("{FAMILY}{}/{}", organization.id, random::word(16)), work, Priority::Normal, now)
    };
    let mut jobs: Vec<Job> = chunks.iter().map(job).collect();
    culvert_jobs::place(&api.bus, &mut jobs).await?;
    for (place, ((job, users), new)) in jobs.iter().zip(chunks).zip(new.chunks(size)).enumerate() {
        let taken = async {
            let mut writes = vec![still(organization), insert(job)];
            for (user, new) in users.iter().zip(new) {
                writes.push(insert(&secret(user.id, hashed(api, new).await?)));
            }
            api.bus.write(writes).await?;
            Ok(())
        };
        taken.await.map_err(|no: No| match place * size {
            0 => no,
            done => {
                No { text: format!("{} The first {done} users are created, the others are not.", no.text).into(), ..no }
            }
        })?;
    }
    Ok(())
}

/// The hash of the user's PIN, if there is one.
async fn hashed(api: &Api, new: &UserNew) -> Answer<Option<String>> {
    match new.pin.is_empty() {
        true => Ok(None),
        false => api.hasher.hash_in_turn(new.pin.reveal(), Cost::Pin).await.map(Some),
    }
}

fn wanted(new: &UserNew, id: Id) -> NewUser {
    NewUser {
        id,
        name: filter::name(&new.name),
        email: filter::name_or_none(Some(&new.email)),
        groups: filter::set(&new.groups),
        disabled: new.disabled,
        pin: !new.pin.is_empty(),
        bypass_secondary: new.bypass_secondary,
        dns_servers: some(new.dns_servers.clone()),
        dns_suffix: filter::name_or_none(Some(&new.dns_suffix)),
    }
}

fn secret(id: Id, pin: Option<String>) -> UserSecret {
    UserSecret { id, pin, otp_secret: Some(otp_secret()), sync_token: None, sync_secret: None }
}

/// The organisation must still be there: who deletes one counts on it.
fn still(organization: &Organization) -> Write {
    Write::Check { kind: Kind::Organization, id: organization.id(), guard: Guard::default() }
}
