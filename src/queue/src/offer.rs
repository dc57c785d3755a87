//! Which jobs that rest here are offered to other hosts.

use std::time::Duration;

use culvert_model::HostId;
use culvert_model::record::{Host, Job};
use culvert_records::Stored;

use crate::choice::{Held, Room, View};

/// How long a job rests before it is offered: what makes it rest is often done by then. Who has room elsewhere is looked
/// for no more often. Half a second, for both and for the other host's claim, is the most that it may wait while there is
/// room for it.
pub const REST: Duration = Duration::from_millis(150);

/// A job that rests here.
#[derive(Debug, Clone, Copy)]
pub struct Resting {
    /// The job.
    pub job: Held,
    /// For how long.
    pub rested: Duration,
    /// Whether this process had it before and got it again.
    pub again: bool,
    /// Whether a part of it is made.
    pub made: bool,
}

impl Resting {
    /// Whether another host may begin it anew, if there is room for it.
    ///
    /// Room is what a host's record and its jobs tell. That its queue runs, and does not do a suspect alone, they don't.
    /// So a job that nobody else took when it could is kept from then on, and what is made is never thrown away: however
    /// often something urgent comes, a host loses the time for one key of it, once. A search loses nothing. What is only
    /// writes goes on even if it is told to rest.
    pub const fn may_go(&self) -> bool {
        self.job.loses_nothing() || self.job.heavy && !self.again && !self.made
    }
}

/// In how long to look who has room, if that was looked for so long ago; none, if nothing may go. After an outage nobody
/// takes what another had for a lease's length ([`culvert_lease::may_claim`]), and it is likely to be everybody's.
pub fn due(resting: &[Resting], looked: Duration, view: &View) -> Option<Duration> {
    let longest = resting.iter().filter(|job| job.may_go()).map(|job| job.rested).max()?;
    let contact = Duration::from_millis(view.lease.saturating_sub(view.uninterrupted));
    Some(contact.max(REST.saturating_sub(longest.min(looked))))
}

/// What is free on each of the other hosts, as far as these open jobs tell.
pub fn rooms(hosts: &[Host], open: &[Stored<Job>], here: HostId) -> Vec<Room> {
    let room = |host: &Host| {
        let does = |job: &&Stored<Job>| job.lease.as_ref().is_some_and(|lease| lease.left > 0 && lease.host == host.id);
        let mut room = Room::of(host.cores.into());
        for job in open.iter().filter(does) {
            // It has more than it has room for when something rests there.
            let _ = room.take(&Held::of(&job.record));
        }
        room
    };
    hosts.iter().filter(|host| host.id != here).map(room).collect()
}

/// The places of the resting jobs for which there is room elsewhere, once the more urgent ones of those that wait have
/// theirs. They are to be given back: another host begins them anew, sooner than this one goes on.
pub fn offers(resting: &[Held], waiting: &[Held], mut rooms: Vec<Room>) -> Vec<usize> {
    let resting = resting.iter().enumerate().map(|(place, job)| (job, Some(place)));
    let mut all: Vec<_> = resting.chain(waiting.iter().map(|job| (job, None))).collect();
    // Among those that are as urgent, what rests comes first.
    all.sort_by_key(|(job, _)| job.urgency);
    let placed = all.into_iter().filter(|(job, _)| rooms.iter_mut().any(|room| room.take(job)));
    placed.filter_map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests;
