//! Making users: each with a certificate out of the pool.

use culvert_contract::body::UserNew;
use culvert_model::Id;
use culvert_model::record::{Certificate, Log, Organization, Settings, User, UserSecret};
use culvert_model::{Kind, Record};
use culvert_pool::Stock;
use culvert_records::{Guard, Write, insert};

use super::check::{self, Wish, some};
use super::{organization, otp_secret, settings};
use crate::answer::{Answer, No};
use crate::api::Api;
use crate::filter;
use crate::password::Cost;
use crate::take::take;

/// The most users of one request.
const MOST: usize = 100;

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

/// Makes several users, one after the other; none if one may not be so.
///
/// # Errors
///
/// As [`create`]. Those that were made before something else failed stay.
pub async fn create_many(api: &Api, id: Id, new: &[UserNew]) -> Answer<Vec<User>> {
    let organization = organization(api, id).await?;
    if new.len() > MOST {
        let text = format!("At most {MOST} users can be made at once. Nothing was changed: send them in parts.");
        return Err(No::bad("users_too_many", text));
    }
    let settings = settings(api).await?;
    new.iter().try_for_each(|new| permitted(new, &settings))?;
    let mut made = Vec::with_capacity(new.len());
    for new in new {
        made.push(make(api, &organization, new).await?);
    }
    Ok(made)
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
    let user = |certificate: &Certificate| User {
        // The subject of the certificate was chosen when it was made.
        id: certificate.subject,
        organization: organization.id,
        name: filter::name(&new.name),
        email: filter::name_or_none(Some(&new.email)),
        groups: filter::set(&new.groups),
        disabled: new.disabled,
        auth_type: "local".into(),
        yubico_id: None,
        pin: pin.is_some(),
        bypass_secondary: new.bypass_secondary,
        client_to_client: false,
        mac_addresses: None,
        dns_servers: some(new.dns_servers.clone()),
        dns_suffix: filter::name_or_none(Some(&new.dns_suffix)),
        port_forwarding: None,
        network_links: Vec::new(),
        certificate: certificate.id,
        last_active: None,
    };
    // Written with the user rather than behind it: users are what is made by the thousand.
    let message = format!("User {} was created in organization {}.", filter::name(&new.name), organization.name);
    let log = Log { id: Id::new(), timestamp: (api.now().await? / 1000) as i64, message };
    let with = |certificate: &Certificate| {
        let user = user(certificate);
        let secret = UserSecret {
            id: user.id,
            pin: pin.clone(),
            otp_secret: Some(otp_secret()),
            sync_token: None,
            sync_secret: None,
        };
        // The organisation must still be there: who deletes one counts on it.
        let check = Write::Check { kind: Kind::Organization, id: organization.id(), guard: Guard::default() };
        vec![insert(&user), insert(&secret), insert(&log), check]
    };
    let taken = take(api, Stock::Client(organization.id), with).await?;
    Ok(user(&taken))
}
