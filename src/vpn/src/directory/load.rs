//! Reading the whole directory from the store.

use culvert_model::record::{Certificate, Organization, Revocation, Server, Settings};
use culvert_model::{HostId, Record};
use culvert_records::{Bus, Failure, Query};

use super::Directory;

impl Directory {
    /// Everything that matters to this host.
    ///
    /// # Errors
    ///
    /// The store can't be reached.
    pub async fn load(bus: &Bus, host: HostId) -> Result<Self, Failure> {
        let mut directory = Self::default();
        each(bus, Query::all(), |server: Server| drop(directory.servers.insert(server.id, server))).await?;
        each(bus, Query::all(), |organization: Organization| {
            directory.organizations.insert(organization.id, organization);
        })
        .await?;
        if let Some(stored) = bus.get::<Settings>(Settings::ID).await? {
            directory.settings = stored.record;
        }
        for organization in directory.wanted(host) {
            let members = Query::by("by_organization").equal(organization);
            each(bus, members, |user| directory.put_user(user)).await?;
            let taken = Query::by("by_pool").equal(organization).equal("client").equal("taken");
            each(bus, taken, |certificate: Certificate| directory.put_certificate(&certificate)).await?;
            let revoked = Query::by("by_organization").equal(organization);
            each(bus, revoked, |revocation: Revocation| {
                directory.put_revocation(revocation.organization, revocation.serial);
            })
            .await?;
            directory.covered.insert(organization);
        }
        Ok(directory)
    }
}

/// Each record of a query, page by page. What the bus remembers of a store that is away is not good enough: on its
/// strength a server could be stopped.
///
/// # Errors
///
/// The store can't be reached.
pub(crate) async fn each<T: Record>(bus: &Bus, query: Query, mut take: impl FnMut(T)) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = bus.find::<T>(query.clone().after(after.take())).await?;
        if page.cached {
            return Err(Failure::Unavailable);
        }
        page.items.into_iter().for_each(|stored| take(stored.record));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}
