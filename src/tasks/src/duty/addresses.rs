//! Addresses, both ways: those that nobody can have any more, and users who have none.
//!
//! What a server's users have is settled by a job of the server: it gives and takes, and mends what a move of the network
//! left half done. Here is found where that is needed; and what no server's job would see goes at once.

use std::collections::{BTreeMap, BTreeSet};

use culvert_jobs::anew;
use culvert_model::Id;
use culvert_model::network::room;
use culvert_model::record::{Address, Instance, Job, JobState, Priority, Server, User, Work};
use culvert_records::{Failure, Query, Stored};

use super::{Done, counted};
use crate::desk::{Desk, Seen, unless_changed};

pub async fn run(desk: &Desk<'_>) -> Result<Done, Failure> {
    let (mut removed, mut unsettled) = (0, BTreeSet::new());
    // In this order the users of a page stand close together.
    let mut pages = desk.bus.pages::<Address>(Query::by("by_user"));
    while let Some(page) = pages.next().await? {
        removed += sweep(desk, page, &mut unsettled).await?;
    }
    let mut settled = 0;
    for server in unsettled_servers(desk, &unsettled).await? {
        settled += u64::from(settle(desk, &server).await?);
    }
    let removed = counted(removed, "address|addresses");
    Ok(Done::of(format!("{removed} removed, those of {} to be settled", counted(settled, "server"))))
}

/// What is to become of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It is right, or nobody can tell.
    Keep,
    /// The server's job knows.
    Settle,
    /// Nobody will ever have it.
    Remove,
    /// Nobody has it, as long as the server is as it was seen.
    RemoveOn,
}

/// How many addresses were removed. What they belong to is read after them: it was there before.
async fn sweep(desk: &Desk<'_>, page: Vec<Stored<Address>>, unsettled: &mut BTreeSet<Id>) -> Result<u64, Failure> {
    let users = page.iter().map(|address| address.record.user.to_string()).collect();
    let users = desk.see::<User>(&users).await?;
    let scene = Scene::look(desk, &page).await?;
    let mut sorted: BTreeMap<(Id, Fate), Vec<Stored<Address>>> = BTreeMap::new();
    for address in page {
        let fate = scene.fate(&address.record, &users);
        sorted.entry((address.record.server, fate)).or_default().push(address);
    }
    let mut removed = 0;
    for ((server, fate), addresses) in sorted {
        match fate {
            Fate::Keep => {}
            Fate::Settle => drop(unsettled.insert(server)),
            Fate::Remove => removed += desk.remove(&addresses, &[]).await?,
            Fate::RemoveOn => {
                let on = scene.servers.get(&server).map(unless_changed);
                removed += desk.remove(&addresses, on.as_slice()).await?;
            }
        }
    }
    Ok(removed)
}

/// The servers that addresses belong to.
struct Scene {
    servers: BTreeMap<Id, Stored<Server>>,
    gone: BTreeSet<String>,
    /// The servers that run, or could at any moment.
    running: BTreeSet<Id>,
}

impl Scene {
    async fn look(desk: &Desk<'_>, page: &[Stored<Address>]) -> Result<Self, Failure> {
        let gone =
            desk.absent::<Server>(&page.iter().map(|address| address.record.server.to_string()).collect()).await?;
        let servers = desk.all::<Server>(Query::all()).await?;
        let instances = desk.all::<Instance>(Query::all()).await?;
        let hosted = instances.iter().filter(|instance| instance.record.host.is_some() || instance.held_for() > 0);
        let online = servers.iter().filter(|server| server.record.online).map(|server| server.record.id);
        let running = hosted.map(|instance| instance.record.server).chain(online).collect();
        Ok(Self { servers: servers.into_iter().map(|server| (server.record.id, server)).collect(), gone, running })
    }

    fn fate(&self, address: &Address, users: &Seen<User>) -> Fate {
        let user = address.user.to_string();
        if users.absent.contains(&user) || self.gone.contains(&address.server.to_string()) {
            return Fate::Remove;
        }
        let (Some(user), Some(server)) = (users.there.get(&user), self.servers.get(&address.server)) else {
            return Fate::Keep;
        };
        let server = &server.record;
        // Under another id, it is a second one of the same device.
        let Some(device) = device(address) else { return Fate::Remove };
        let within = address.within(server.network) == Some(address.address) && address.next.is_none();
        if server.network_lock.is_some() {
            Fate::Keep
        } else if device > 0 && !self.running.contains(&server.id) {
            // A further device's address is its user's for as long as the server runs, which remembers it.
            Fate::RemoveOn
        } else if within && server.organizations.contains(&user.record.organization) {
            Fate::Keep
        } else {
            Fate::Settle
        }
    }
}

/// The number of the device, if the address stands under the id that it should.
fn device(address: &Address) -> Option<u16> {
    let number = Address::number(&address.id)?;
    (address.id == Address::name(address.server, address.user, number)).then_some(number)
}

/// Those of these servers, and those of which a user has no address though there are free ones. All users are read in the
/// order of their ids, and beside each page of them, for each server, the addresses of just these users.
async fn unsettled_servers(desk: &Desk<'_>, known: &BTreeSet<Id>) -> Result<Vec<Stored<Server>>, Failure> {
    let mut settled = desk.all::<Server>(Query::all()).await?;
    settled.retain(|server| server.record.network_lock.is_none());
    let mut unsettled: Vec<_> = settled.extract_if(.., |server| known.contains(&server.record.id)).collect();
    let mut pages = desk.bus.pages::<User>(Query::all());
    while let Some(users) = pages.next().await? {
        for server in std::mem::take(&mut settled) {
            let lacks = lacks(desk, &server.record, &users).await?;
            if lacks { &mut unsettled } else { &mut settled }.push(server);
        }
    }
    Ok(unsettled)
}

/// Whether one of these users may connect to the server and has no address there, and could have one.
async fn lacks(desk: &Desk<'_>, server: &Server, users: &[Stored<User>]) -> Result<bool, Failure> {
    let ours = users.iter().map(|user| &user.record).filter(|user| server.organizations.contains(&user.organization));
    let wanted: BTreeSet<String> = ours.map(|user| Address::name(server.id, user.id, 0)).collect();
    if desk.absent::<Address>(&wanted).await?.is_empty() {
        return Ok(false);
    }
    Ok(desk.bus.count::<Address>(Query::by("by_address").equal(server.id)).await? < room(server.network))
}

/// Has a server's addresses settled, and its network unlocked, unless somebody is about to do that. A job that died of it
/// is tried once more.
pub async fn settle(desk: &Desk<'_>, server: &Stored<Server>) -> Result<bool, Failure> {
    let id = server.record.id;
    let job = Job::new(Job::of_addresses(id), Work::AssignAddresses { server: id }, Priority::Normal, desk.now);
    match desk.bus.get::<Job>(&job.id).await {
        Ok(found) if found.as_ref().is_none_or(|found| found.record.state == JobState::Dead) => {
            desk.write(vec![unless_changed(server), anew(desk.bus, job).await?]).await
        }
        // One that cannot be read is an administrator's business.
        Ok(_) | Err(Failure::Invalid(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}
