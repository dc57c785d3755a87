//! Several users at once, each with a key and certificate. What is made becomes visible in one batch with the check that
//! the organisation is still there; the users' secrets are in the store before.

use culvert_keys::Made;
use culvert_model::record::{
    Certificate, CertificateKey, CertificateState, Job, Log, NewUser, Organization, Purpose, User, UserSecret,
};
use culvert_model::{Bytes, Id, Kind, Record};
use culvert_records::{Guard, Write, insert};

use super::{Need, Trouble, addresses, certificate};
use crate::Desk;

pub async fn look(desk: &Desk, organization: Id, users: &[NewUser]) -> Result<Need, Trouble> {
    let Some(found) = super::organization(desk, organization).await? else {
        forget(desk, users).await?;
        return Ok(Need::Nothing("the organisation is gone"));
    };
    if there(desk, users).await? {
        return Ok(Need::Make(Vec::new()));
    }
    let subjects = users.iter().map(|user| user.id);
    Ok(Need::Make(certificate::recipes(desk, found, Purpose::Client, subjects).await?))
}

/// The users come first, and fit into one batch: all are there, or none. The servers that they may connect to give them
/// addresses after that.
pub async fn writes(
    desk: &Desk,
    job: &Job,
    organization: Id,
    users: &[NewUser],
    made: &[Made],
) -> Result<Vec<Write>, Trouble> {
    let Some(record) = super::organization(desk, organization).await? else {
        forget(desk, users).await?;
        return Ok(Vec::new());
    };
    let mut writes = Vec::new();
    if !there(desk, users).await? {
        writes.push(Write::Check { kind: Kind::Organization, id: record.id(), guard: Guard::default() });
        for (user, made) in users.iter().zip(made) {
            let Made::Pair(pair) = made else { return Err(Trouble::Failed("Something else was made.".into())) };
            let certificate = certificate::record(job, organization, Purpose::Client, pair);
            writes.push(insert(&CertificateKey { id: certificate.id, key: Bytes(pair.key.to_vec()) }));
            writes.push(insert(&Certificate { state: CertificateState::Taken, ..certificate }));
            writes.push(insert(&user.clone().user(organization, pair.subject)));
        }
        writes.push(insert(&log(desk, &record, users).await?));
    }
    for server in addresses::attached(desk, organization).await? {
        writes.extend(addresses::assign_soon(desk, server).await?);
    }
    Ok(writes)
}

/// Removes what is in the store of users who were not made, and never will be.
pub async fn forget(desk: &Desk, users: &[NewUser]) -> Result<(), Trouble> {
    if there(desk, users).await? {
        return Ok(());
    }
    for user in users {
        desk.bus.delete::<UserSecret>(user.id).await?;
    }
    Ok(())
}

/// Whether an earlier attempt has made them: all or none.
async fn there(desk: &Desk, users: &[NewUser]) -> Result<bool, Trouble> {
    let Some(first) = users.first() else { return Ok(true) };
    Ok(desk.bus.get::<User>(first.id).await?.is_some())
}

async fn log(desk: &Desk, organization: &Organization, users: &[NewUser]) -> Result<Log, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    let message = format!("Users were created in organization {}: {}.", organization.name, names.join(", "));
    Ok(Log { id: Id::new(), timestamp: (now / 1000) as i64, message })
}
