//! Records whose organisation or server is gone.
//!
//! What may be orphaned is read before what it belongs to: it can only have been made while that was there.

use std::collections::HashSet;

use culvert_model::record::{
    Address, Certificate, CertificateKey, Connection, Host, Organization, Server, Usage, User, UserSecret,
};
use culvert_model::{Id, Record};
use culvert_records::{Failure, Query};

use super::{Desk, all, counted, servers};

pub async fn run(desk: &Desk<'_>) -> Result<String, Failure> {
    let users = users(desk).await?;
    let certificates = certificates(desk).await?;
    let addresses = addresses(desk).await?;
    usage(desk).await?;
    let connections = servers::remove(desk, all::<Connection>(desk.bus, Query::all()).await?).await?;
    let [users, certificates, connections] =
        [counted(users, "user"), counted(certificates, "certificate"), counted(connections, "connection")];
    let es = if addresses == 1 { "" } else { "es" };
    Ok(format!("{users}, {certificates}, {connections} and {addresses} address{es} removed"))
}

async fn ids<T: Record>(desk: &Desk<'_>, id: impl Fn(T) -> Id) -> Result<HashSet<Id>, Failure> {
    Ok(all::<T>(desk.bus, Query::all()).await?.into_iter().map(|stored| id(stored.record)).collect())
}

async fn users(desk: &Desk<'_>) -> Result<u64, Failure> {
    let users = all::<User>(desk.bus, Query::all()).await?;
    let organizations = ids(desk, |organization: Organization| organization.id).await?;
    let mut count = 0;
    for user in users.iter().map(|stored| &stored.record) {
        if !organizations.contains(&user.organization) {
            desk.bus.delete::<UserSecret>(user.id).await?;
            desk.bus.delete::<User>(user.id).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn certificates(desk: &Desk<'_>) -> Result<u64, Failure> {
    let certificates = all::<Certificate>(desk.bus, Query::all()).await?;
    let organizations = ids(desk, |organization: Organization| organization.id).await?;
    let mut count = 0;
    for certificate in certificates.iter().map(|stored| &stored.record) {
        if !organizations.contains(&certificate.organization) {
            desk.bus.delete::<CertificateKey>(certificate.id).await?;
            desk.bus.delete::<Certificate>(certificate.id).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn addresses(desk: &Desk<'_>) -> Result<u64, Failure> {
    let addresses = all::<Address>(desk.bus, Query::all()).await?;
    let users = ids(desk, |user: User| user.id).await?;
    let servers = ids(desk, |server: Server| server.id).await?;
    let mut count = 0;
    for address in addresses.iter().map(|stored| &stored.record) {
        if !servers.contains(&address.server) || !users.contains(&address.user) {
            desk.bus.delete::<Address>(&address.id).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// The figures of hosts that were removed while they were being written.
async fn usage(desk: &Desk<'_>) -> Result<(), Failure> {
    let usage = all::<Usage>(desk.bus, Query::all()).await?;
    let hosts: HashSet<_> =
        all::<Host>(desk.bus, Query::all()).await?.into_iter().map(|stored| stored.record.id).collect();
    for usage in usage.iter().map(|stored| &stored.record).filter(|usage| !hosts.contains(&usage.host)) {
        desk.bus.delete::<Usage>(&usage.id).await?;
    }
    Ok(())
}
