//! Users: people who may connect.

mod check;
mod creation;
mod listing;

use culvert_contract::body::{PinChange, UserChange};
use culvert_contract::reply;
use culvert_model::Id;
use culvert_model::record::{
    Address, Certificate, CertificateKey, NewUser, Organization, ProfileLink, Settings, User, UserSecret,
};
use culvert_records::{Failure, Guard, Query, Stored, delete, update as replace};

pub use creation::{create, create_many};
pub use listing::{detail, list};

use crate::answer::{Answer, No};
use crate::api::Api;
use crate::password::Cost;
use crate::{certificate, random};

/// The alphabet of secrets for one-time codes (RFC 4648 section 6).
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A user of an organisation.
///
/// # Errors
///
/// There is none, or the store can't be reached.
pub async fn find(api: &Api, organization: Id, user: Id) -> Answer<Stored<User>> {
    let found = api.have::<User>(user, "user").await?;
    if found.record.organization == organization { Ok(found) } else { Err(No::missing("user")) }
}

/// The organisation, or 404.
///
/// # Errors
///
/// It is not there, or the store can't be reached.
pub async fn organization(api: &Api, id: Id) -> Answer<Organization> {
    Ok(api.have::<Organization>(id, "organization").await?.record)
}

/// The user as it is shown. Its secret for one-time codes is told only where one user is asked for.
pub fn show(user: User, organization: &Organization, otp_secret: Option<String>) -> reply::User {
    reply::User {
        id: user.id,
        organization: user.organization,
        organization_name: organization.name.clone(),
        name: user.name,
        email: user.email,
        groups: user.groups,
        last_active: user.last_active,
        pin: user.pin,
        kind: "client",
        auth_type: user.auth_type,
        yubico_id: user.yubico_id,
        otp_secret,
        disabled: user.disabled,
        bypass_secondary: user.bypass_secondary,
        client_to_client: user.client_to_client,
        mac_addresses: user.mac_addresses,
        dns_servers: user.dns_servers,
        dns_suffix: user.dns_suffix,
        port_forwarding: user.port_forwarding,
        devices: Vec::new(),
    }
}

/// The user as it is shown, with everything.
///
/// # Errors
///
/// The store can't be reached.
pub async fn show_whole(api: &Api, user: User) -> Answer<reply::User> {
    let organization = organization(api, user.organization).await?;
    let secret = api.bus.get::<UserSecret>(user.id).await?;
    Ok(show(user, &organization, secret.and_then(|secret| secret.record.otp_secret)))
}

/// Changes a user. Who may connect no longer is cut off by `vpn`, which hears of the change.
///
/// # Errors
///
/// It may not be so, is not there, or the store can't be reached.
pub async fn update(api: &Api, organization: Id, id: Id, change: &UserChange) -> Answer<User> {
    let settings = settings(api).await?;
    let pin = match &change.pin {
        PinChange::Set(pin) => {
            check::pin(pin.reveal(), &settings)?;
            Some(api.hasher.hash(pin.reveal(), Cost::Pin).await?)
        }
        PinChange::Remove | PinChange::Keep => None,
    };
    for _ in 0..5 {
        let user = find(api, organization, id).await?;
        let guard = user.unchanged();
        let changed = check::changed(user.record, change)?;
        let mut writes = vec![replace(&changed, guard)];
        if change.pin != PinChange::Keep {
            let mut secret = api.have::<UserSecret>(id, "user").await?;
            let guard = secret.unchanged();
            secret.record.pin.clone_from(&pin);
            writes.push(replace(&secret.record, guard));
        }
        match api.bus.write(writes).await {
            Ok(_) => {
                api.note(format!("User {} was changed.", changed.name)).await;
                return Ok(changed);
            }
            Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Err(No::raced())
}

/// The cluster's settings.
///
/// # Errors
///
/// The store can't be reached.
pub async fn settings(api: &Api) -> Answer<Settings> {
    Ok(api.bus.get::<Settings>(Settings::ID).await?.map(|found| found.record).unwrap_or_default())
}

/// Removes a user, whose certificates are revoked and who is cut off by `vpn`.
///
/// # Errors
///
/// There is none, or the store can't be reached.
pub async fn remove(api: &Api, organization: Id, id: Id) -> Answer<()> {
    let user = find(api, organization, id).await?.record;
    certificate::revoke(api, id).await?;
    erase(api, &user).await?;
    // What a renewal made meanwhile: from here on nobody can.
    certificate::revoke(api, id).await?;
    api.note(format!("User {} was deleted.", user.name)).await;
    Ok(())
}

/// Removes a user with all that is the user's own. The user comes last, so that whoever is interrupted can ask again. What
/// is left of the user's certificates is not revoked: the CA goes, too.
///
/// # Errors
///
/// The store can't be reached.
pub async fn erase(api: &Api, user: &User) -> Answer<()> {
    // First of all the user is let in no more.
    let _ = api
        .change::<User, ()>(user.id, "user", |user| {
            user.disabled = true;
            Ok(())
        })
        .await;
    for link in api.bus.list::<ProfileLink>(Query::by("by_user").equal(user.id)).await? {
        api.bus.delete::<ProfileLink>(&link.record.id).await?;
    }
    for address in api.bus.list::<Address>(Query::by("by_user").equal(user.id)).await? {
        api.bus.delete::<Address>(&address.record.id).await?;
    }
    for certificate in api.bus.list::<Certificate>(Query::by("by_subject").equal(user.id)).await? {
        api.bus.delete::<CertificateKey>(certificate.record.id).await?;
        api.bus.delete::<Certificate>(certificate.record.id).await?;
    }
    api.bus.delete::<UserSecret>(user.id).await?;
    match api.bus.write(vec![delete::<User>(user.id, Guard::default())]).await {
        Ok(_) | Err(Failure::Refused { .. }) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Removes what is in the store of users who are not made any more.
///
/// # Errors
///
/// The store can't be reached.
pub async fn forget(api: &Api, users: &[NewUser]) -> Answer<()> {
    for user in users {
        api.bus.delete::<UserSecret>(user.id).await?;
    }
    Ok(())
}

/// Makes a new secret for one-time codes.
///
/// # Errors
///
/// There is no such user, or the store can't be reached.
pub async fn renew_otp(api: &Api, organization: Id, id: Id) -> Answer<User> {
    let user = find(api, organization, id).await?.record;
    api.change::<UserSecret, ()>(id, "user", |secret| {
        secret.otp_secret = Some(otp_secret());
        Ok(())
    })
    .await?;
    api.note(format!("The one-time code secret of user {} was renewed.", user.name)).await;
    Ok(user)
}

fn otp_secret() -> String {
    random::bytes::<16>().into_iter().map(|byte| BASE32[usize::from(byte & 31)] as char).collect()
}
