//! Which jobs to begin, which of those that are being done rest meanwhile, and when to look again.

use std::collections::HashSet;

use culvert_lease::{Last, may_claim};
use culvert_model::record::{Job, Priority, Work};
use culvert_model::{HostId, Millis};
use culvert_records::Stored;

use crate::fate::{Fate, backoff, fate};

/// How long a job that prefers another host waits for it, milliseconds. What it takes to hear of the job and to claim
/// it comes on top, and half a second is the most that it may wait while somebody has a core for it.
pub const PREFERENCE: Millis = 300;

/// What a holder takes to give back a lease after it has written that its attempt is over, milliseconds. Nobody is told.
const MOMENT: Millis = 50;

/// A job that has waited for so long is as good as one that prefers this host: its own may be gone.
const PATIENCE: Millis = 5_000;

/// How many jobs that are only writes are done at a time, besides those that take a core.
const LIGHT: usize = 4;

/// What there is to see besides the jobs.
#[derive(Debug, Clone)]
pub struct View {
    /// This host.
    pub host: HostId,
    /// Milliseconds since 1970 by the store's clock.
    pub now: Millis,
    /// For how long the store has answered.
    pub uninterrupted: Millis,
    /// How long a lease lasts.
    pub lease: Millis,
}

/// How urgent a job is: smaller comes first. Among those of one priority, what takes minutes makes way for the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    priority: Priority,
    long: bool,
}

impl Urgency {
    /// The job's.
    pub fn of(job: &Job) -> Self {
        Self { priority: job.priority, long: matches!(job.work, Work::DhParams { .. }) }
    }

    /// Whether a job that was begun with this urgency and has that one now is better begun anew: its thread gives way to
    /// all others and can't be made to stop that, and a search has nothing to lose.
    pub fn begins_anew(self, now: Self) -> bool {
        self.priority.in_background() && !now.priority.in_background() && now.long
    }
}

/// A job that this process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How urgent it is.
    pub urgency: Urgency,
    /// Whether it takes a core.
    pub heavy: bool,
    /// Whether an earlier attempt may have brought its process down: only writes are done beside it.
    pub suspect: bool,
}

impl Held {
    /// What there is to know about a job before it is begun.
    pub fn of(job: &Job) -> Self {
        Self { urgency: Urgency::of(job), heavy: !job.work.only_writes(), suspect: job.begun.is_some() }
    }

    /// Whether it may be done beside a suspect. Whatever it is, it is over in a moment: should both go down, it is not there
    /// again with each attempt of the suspect.
    pub const fn goes_beside(&self) -> bool {
        !self.heavy && !self.suspect
    }

    /// Whether it is as good to begin it anew as to go on: a search is as likely to end soon.
    pub const fn loses_nothing(&self) -> bool {
        self.urgency.long
    }
}

/// What a job that this process holds is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    Work,
    /// Rest, and keep what was done so far.
    Rest,
    /// Be given back, for this host or another to begin anew.
    Leave,
    /// Be removed.
    Cancel,
}

/// Jobs that can be claimed now, and when there will be more.
#[derive(Debug, Default)]
pub struct Ready {
    /// To be done, the most urgent first.
    pub work: Vec<Stored<Job>>,
    /// To be removed or given up.
    pub tidy: Vec<Stored<Job>>,
    /// In how many milliseconds there is another one, if nothing changes.
    pub again: Option<Millis>,
}

impl Ready {
    /// Sorts out more jobs. Those that this process holds are not among them, nor what only a newer release can do.
    pub fn add(&mut self, jobs: impl IntoIterator<Item = Stored<Job>>, held: &HashSet<String>, view: &View) {
        for job in jobs {
            if held.contains(&job.record.id) || job.record.work == Work::Unknown {
                continue;
            }
            match wait(&job, view) {
                0 if fate(&job.record, view.now) == Fate::Do => self.work.push(job),
                0 => self.tidy.push(job),
                wait => self.again = Some(self.again.map_or(wait, |again| again.min(wait))),
            }
        }
        self.work.sort_by_key(|Stored { record, .. }| {
            let young = record.created + PATIENCE > view.now;
            let theirs = young && record.preferred.is_some_and(|host| host != view.host);
            (Urgency::of(record), theirs, record.created)
        });
    }
}

/// How many milliseconds from now this host may claim the job.
pub fn wait(job: &Stored<Job>, view: &View) -> Millis {
    let record = &job.record;
    let held = job.held_for();
    let last = match &job.lease {
        None => Last::Nobody,
        Some(lease) if lease.host == view.host => Last::Us,
        Some(_) => Last::Another,
    };
    let outage = if may_claim(last, 0, view.lease, view.uninterrupted) {
        0
    } else {
        view.lease.saturating_sub(view.uninterrupted)
    };
    if fate(record, view.now) != Fate::Do {
        return held.max(outage);
    }
    // Whoever went down with it could not write when it is to be tried again.
    let rest = record.begun.map_or(0, |begun| begun + backoff(record.attempts));
    let ready = record.not_before.max(rest);
    let preferred = match record.preferred {
        Some(host) if host != view.host => record.created.max(ready) + PREFERENCE,
        _ => 0,
    };
    // Of an attempt that is not begun or has ended, the lease is about to change.
    let held = if record.begun.is_none() { held.min(MOMENT) } else { held };
    ready.max(preferred).saturating_sub(view.now).max(held).max(outage)
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// The places of the jobs that are to be claimed.
    pub claim: Vec<usize>,
    /// What each of those that are held is to do.
    pub wishes: Vec<Wish>,
    /// What would change nothing behind these.
    pub full: Full,
}

/// Of which jobs more would change nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Full {
    /// Of those that take a core.
    pub heavy: bool,
    /// Of those that are only writes.
    pub light: bool,
}

impl Full {
    /// Of those that are only writes, or of the others.
    pub const fn of(self, light: bool) -> bool {
        if light { self.light } else { self.heavy }
    }
}

/// The choice among jobs that are ready, the most urgent first.
///
/// - Those that take a core are no more than cores at a time. One that rests gives its core to a more urgent one; it has
///   it back before another of the same urgency is begun.
/// - No more than one is done in the background.
/// - A suspect has all cores to itself. It is given back for what is more urgent; what is less urgent is given back for it,
///   and so is a search, which has nothing to lose; what else is as urgent is waited for. What comes behind it waits, too,
///   but for what is only writes.
pub fn choose(ready: &[Held], held: &[Held], cores: usize) -> Choice {
    let mut room = Room::of(cores);
    let mut choice = Choice { wishes: vec![Wish::Rest; held.len()], ..Choice::default() };
    let behind = |job: &Held| job.urgency.priority.in_background();
    let may_fill = !held.iter().any(behind);
    let mut alone = held.iter().any(|job| job.suspect);
    // Those that are held come before those of the same urgency that are not.
    let mut order: Vec<usize> = (0..held.len()).collect();
    order.sort_by_key(|place| held[*place].urgency);
    let mut order = order.into_iter().peekable();
    for (place, job) in ready.iter().enumerate() {
        while let Some(place) = order.next_if(|place| held[*place].urgency <= job.urgency) {
            choice.grant(place, room.take(&held[place]));
        }
        alone |= job.suspect;
        let may = if alone { job.goes_beside() } else { may_fill || !behind(job) };
        if may && room.take(job) {
            choice.claim.push(place);
        }
    }
    order.for_each(|place| choice.grant(place, room.take(&held[place])));
    choice.make_way(ready, held);
    let enough = |left: usize, heavy: bool| {
        let last = ready.iter().rfind(|job| job.heavy == heavy);
        left == 0 || last.is_some_and(behind) && (!may_fill || !room.low)
    };
    choice.full = Full { heavy: alone || enough(room.heavy, true), light: enough(room.light, false) };
    choice
}

impl Choice {
    /// For the first suspect, or for what is more urgent than the one that is held.
    fn make_way(&mut self, ready: &[Held], held: &[Held]) {
        let waited_for = |job: &Held| !job.goes_beside() && !job.loses_nothing();
        if let Some(place) = held.iter().position(|job| job.suspect) {
            if ready.iter().any(|job| job.urgency < held[place].urgency && waited_for(job)) {
                self.wishes[place] = Wish::Leave;
            }
            return;
        }
        let Some(place) = ready.iter().position(|job| job.suspect) else { return };
        let suspect = &ready[place];
        let claimed = self.claim.iter().any(|place| waited_for(&ready[*place]));
        let waits = claimed || held.iter().any(|job| job.urgency <= suspect.urgency && waited_for(job));
        for (job, wish) in held.iter().zip(&mut self.wishes) {
            if !job.goes_beside() && (job.urgency > suspect.urgency || !waits && job.loses_nothing()) {
                *wish = Wish::Leave;
            }
        }
        if !waits {
            self.claim.retain(|place| ready[*place].goes_beside());
            if held.iter().all(Held::goes_beside) {
                self.claim.push(place);
            }
        }
    }

    fn grant(&mut self, place: usize, room: bool) {
        self.wishes[place] = if room { Wish::Work } else { Wish::Rest };
    }
}

/// What is left of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room {
    heavy: usize,
    light: usize,
    /// Whether something may be done in the background.
    low: bool,
}

impl Room {
    /// A host of so many cores that does nothing.
    pub const fn of(cores: usize) -> Self {
        Self { heavy: cores, light: LIGHT, low: true }
    }

    /// Whether there is room for the job, which has it then.
    pub fn take(&mut self, job: &Held) -> bool {
        let left = if job.heavy { &mut self.heavy } else { &mut self.light };
        let low = job.urgency.priority.in_background();
        if *left == 0 || low && !self.low {
            return false;
        }
        *left -= 1;
        self.low &= !low;
        true
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
