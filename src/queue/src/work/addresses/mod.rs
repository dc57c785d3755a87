//! The addresses of a server's users: each has one in the server's network, before the user connects for the first time.
//!
//! A server moves into another network like this: its lock names the job; that job writes beside each address the one
//! that it becomes ([`Address::next`]), which means nothing as yet; then it gives the server its new network, by which all
//! of them count at once; [`assign_all`] puts them into their places and unlocks. Should the job be given up before that,
//! the same function finds the old network, throws away what stands beside the addresses, and unlocks.

mod moving;
mod plan;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use culvert_model::network::{free, usable};
use culvert_model::record::{Address, Job, JobState, Priority, Progress, Server, User, Work};
use culvert_model::{Id, Kind};
use culvert_records::{BATCH, Failure, Guard, Key, Pages, Query, Stored, Write, delete, insert, update};
pub use moving::{give_up_move, move_all};
use plan::Roster;

use super::Trouble;
use crate::Desk;
use crate::claimed::Claimed;

/// How many addresses are tried that are likely to be free, before all that are given away are read.
const TRIES: u64 = 8;

/// For so long, users who were made are gathered before they get their addresses, milliseconds.
const GATHER: u64 = 1_000;

/// The job that does [`assign_all`], or has whoever is doing it look again. None, if it is damaged: it is done when an
/// administrator has repaired it.
pub async fn assign_soon(desk: &Desk, server: Id) -> Result<Option<Write>, Trouble> {
    let (_, now) = desk.bus.here().await?;
    let id = Job::of_addresses(server);
    let job = Job { not_before: now + GATHER, ..Job::new(id, Work::AssignAddresses { server }, Priority::Normal, now) };
    match culvert_jobs::anew(&desk.bus, job).await {
        Ok(write) => Ok(Some(write)),
        Err(Failure::Invalid(_)) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Gives every user of the server's organisations an address, takes away all others', and unlocks a server whose move has
/// ended, well or not.
pub async fn assign_all(claimed: &mut Claimed, id: Id) -> Result<Vec<Write>, Trouble> {
    let desk = claimed.desk.clone();
    let Some(stored) = settled(&desk, id).await? else { return Ok(Vec::new()) };
    let unchanged = Write::Check { kind: Kind::Server, id: id.to_string(), guard: stored.unchanged() };
    // Who deletes the server takes its addresses away after that; who attaches an organisation wants its users to have some.
    claimed.only_if(unchanged.clone());
    let mut roster = Roster::new(&stored.record, members(&desk, &stored.record.organizations).await?);
    let (mut done, mut of) = (0, 0);
    let mut pages = held(&desk, id);
    while let Some(page) = pages.next().await? {
        of += page.len() as u64;
        for user in roster.strangers(&page) {
            if may_connect(&desk, &stored.record, user).await? {
                roster.admit(user);
            }
        }
        claimed.put(roster.read(&page), None).await?;
    }
    // What follows the dash in ASCII is the dot.
    let [from, to] = ["-", "."].map(|end| Key::Text(format!("{id}{end}")));
    if desk.bus.count::<Address>(Query::all().from(from).to(to)).await? > of {
        // Some can't be read, or were given meanwhile: whoever has one is given no other.
        for user in roster.without() {
            if desk.bus.count::<Address>(Query::all().equal(Address::name(id, user, 0))).await? > 0 {
                roster.has(user);
            }
        }
    }
    let (used, mut settling) = roster.close();
    let mut free = free(stored.record.network, &used);
    let mut pages = held(&desk, id);
    while let Some(page) = pages.next().await? {
        for some in page.chunks(BATCH) {
            done += some.len() as u64;
            claimed.put(settling.settle(some, &mut free), Some(Progress { done, of: Some(of) })).await?;
        }
    }
    let mut given = settling.give(free);
    loop {
        let some: Vec<_> = given.by_ref().take(BATCH).collect();
        if some.is_empty() {
            break;
        }
        claimed.put(some, None).await?;
    }
    let unlocked = Server { network_lock: None, ..stored.record.clone() };
    Ok(vec![match unlocked == stored.record {
        true => unchanged,
        false => update(&unlocked, stored.unchanged()),
    }])
}

/// Gives one user an address, if the user may connect to the server and has none.
pub async fn assign(desk: &Desk, id: Id, user: Id) -> Result<Vec<Write>, Trouble> {
    let Some(server) = settled(desk, id).await? else { return Ok(Vec::new()) };
    let member = desk.bus.get::<User>(user).await?;
    if !member.is_some_and(|user| server.record.organizations.contains(&user.record.organization)) {
        return Ok(Vec::new());
    }
    let network = server.record.network;
    let there = desk.bus.get::<Address>(Address::name(id, user, 0)).await?;
    if there.as_ref().is_some_and(|there| there.record.within(network).is_some()) {
        return Ok(Vec::new());
    }
    let Some(address) = one_free(desk, &server.record).await? else {
        return Err(Trouble::Failed(format!("All addresses of the network {network} are given away.")));
    };
    let address = Address::new(id, user, 0, address);
    // Both must still be there: who deletes one takes the addresses away before, or after that.
    let user = Write::Check { kind: Kind::User, id: user.to_string(), guard: Guard::default() };
    let server = Write::Check { kind: Kind::Server, id: id.to_string(), guard: server.unchanged() };
    Ok(vec![there.map_or_else(|| insert(&address), |there| update(&address, there.unchanged())), user, server])
}

/// Takes a user's addresses on a server away.
pub async fn unassign(desk: &Desk, server: Id, user: Id) -> Result<Vec<Write>, Trouble> {
    let held = desk.bus.list::<Address>(Query::by("by_user").equal(user)).await?;
    let here = held.iter().filter(|held| held.record.server == server);
    Ok(here.map(|held| delete::<Address>(&held.record.id, held.unchanged())).collect())
}

/// As long as nobody was deleted, as many addresses are given away as lie before the lowest free one.
async fn one_free(desk: &Desk, server: &Server) -> Result<Option<Ipv4Addr>, Trouble> {
    let all = Query::by("by_address").equal(server.id);
    let given = desk.bus.count::<Address>(all.clone()).await?;
    for place in given + 2..given + 2 + TRIES {
        let address =
            u32::try_from(place).ok().and_then(|place| u32::from(server.network.network()).checked_add(place));
        let Some(address) = address.map(Ipv4Addr::from).filter(|address| usable(server.network, *address)) else {
            break;
        };
        if desk.bus.count::<Address>(all.clone().equal(address.to_string())).await? == 0 {
            return Ok(Some(address));
        }
    }
    let mut used = BTreeSet::new();
    let mut pages = held(desk, server.id);
    while let Some(page) = pages.next().await? {
        used.extend(page.iter().filter_map(|held| held.record.within(server.network)));
    }
    Ok(free(server.network, &used).next())
}

/// The servers that an organisation's users may connect to.
pub async fn attached(desk: &Desk, organization: Id) -> Result<Vec<Id>, Trouble> {
    let all = desk.bus.list::<Server>(Query::by("by_name")).await?;
    let all = all.into_iter().map(|stored| stored.record);
    Ok(all.filter(|server| server.organizations.contains(&organization)).map(|server| server.id).collect())
}

/// The server, unless it is gone or is being moved into another network: nobody gets an address meanwhile, and however the
/// move ends, [`assign_all`] gives them then.
async fn settled(desk: &Desk, server: Id) -> Result<Option<Stored<Server>>, Trouble> {
    let Some(stored) = desk.bus.get::<Server>(server).await? else { return Ok(None) };
    let Some(lock) = &stored.record.network_lock else { return Ok(Some(stored)) };
    let moving = desk.bus.get::<Job>(lock).await?;
    let moving = moving.is_some_and(|job| job.record.state == JobState::Open && !job.record.cancelled);
    Ok((!moving).then_some(stored))
}

/// Whether an address may be the user's, who was not found among the members: one may have been made since then, and of
/// whom nobody can read, nobody knows.
async fn may_connect(desk: &Desk, server: &Server, user: Id) -> Result<bool, Trouble> {
    match desk.bus.get::<User>(user).await {
        Ok(found) => Ok(found.is_some_and(|user| server.organizations.contains(&user.record.organization))),
        Err(Failure::Invalid(_)) => Ok(true),
        Err(failure) => Err(failure.into()),
    }
}

fn held(desk: &Desk, server: Id) -> Pages<'_, Address> {
    desk.bus.pages(Query::by("by_address").equal(server))
}

/// The users of these organisations. Page by page: their ids are a fraction of what they are.
async fn members(desk: &Desk, organizations: &[Id]) -> Result<BTreeSet<Id>, Trouble> {
    let mut members = BTreeSet::new();
    for organization in organizations {
        let mut pages = desk.bus.pages::<User>(Query::by("by_organization").equal(*organization));
        while let Some(page) = pages.next().await? {
            members.extend(page.iter().map(|found| found.record.id));
        }
    }
    Ok(members)
}
