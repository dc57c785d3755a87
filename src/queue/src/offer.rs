//! Which jobs that rest here are offered to other hosts.

use std::time::Duration;

use culvert_model::HostId;
use culvert_model::record::{Host, Job};
use culvert_records::Stored;

use crate::choice::{Held, Room};

/// How long a job rests before it is offered: what makes it rest is often done by then. Half a second is the most that it
/// may wait while another host has room for it.
pub const REST: Duration = Duration::from_millis(200);

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
