//! The table of tasks.

mod expired;
mod hosts;
mod orphans;
mod pools;
mod servers;

use culvert_model::record::Host;
use culvert_model::{HostId, Millis, Record};
use culvert_records::{Bus, Failure, Query, Stored};

/// A task: its name is the id of its record.
#[derive(Debug, PartialEq, Eq)]
pub struct Duty {
    /// The name.
    pub name: &'static str,
    /// What it does, for people.
    pub what: &'static str,
    /// How often it is due, milliseconds.
    pub period: Millis,
    /// How long it may take, milliseconds: the length of its reservation.
    pub timeout: Millis,
    work: Work,
}

#[derive(Debug, PartialEq, Eq)]
enum Work {
    LostHosts,
    LostServers,
    Expired,
    Pools,
    LostRecords,
}

const SECOND: Millis = 1_000;

/// All tasks.
pub static DUTIES: [Duty; 5] = [
    Duty {
        name: "lost-hosts",
        what: "Sets hosts offline that no longer report.",
        // It is due again when the first lease that it saw could run out.
        period: Host::LEASE,
        // Whoever dies while it runs has renewed its own lease at most a renewal before: this one ends first.
        timeout: 5 * SECOND,
        work: Work::LostHosts,
    },
    Duty {
        name: "lost-servers",
        what: "Frees server instances and removes connections of hosts that are lost.",
        period: 5 * SECOND,
        timeout: 15 * SECOND,
        work: Work::LostServers,
    },
    Duty {
        name: "expired",
        what: "Removes logins, nonces and profile links that have expired.",
        period: 60 * SECOND,
        timeout: 30 * SECOND,
        work: Work::Expired,
    },
    Duty {
        name: "pools",
        what: "Refills the pools of certificates, should a message have been lost.",
        period: 300 * SECOND,
        timeout: 60 * SECOND,
        work: Work::Pools,
    },
    Duty {
        name: "lost-records",
        what: "Removes users, certificates, addresses and connections whose organisation or server is gone.",
        period: 3_600 * SECOND,
        timeout: 300 * SECOND,
        work: Work::LostRecords,
    },
];

/// What came of a run that did what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What it did, for people.
    pub text: String,
    /// In how many milliseconds it is due again, if it is known: at the latest when its period is over.
    pub again: Option<Millis>,
}

impl Done {
    /// Due again in its period.
    #[must_use]
    pub fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), again: None }
    }
}

/// What a run gets to work with.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The records.
    pub bus: &'a Bus,
    /// This host.
    pub host: HostId,
    /// When the run began, milliseconds since 1970 by the store's clock.
    pub now: Millis,
}

impl Duty {
    /// Runs the task once.
    ///
    /// # Errors
    ///
    /// The store can't be reached: what was done stays done.
    pub async fn run(&self, desk: &Desk<'_>) -> Result<Done, Failure> {
        let text = match self.work {
            Work::LostHosts => return hosts::run(desk).await,
            Work::LostServers => servers::run(desk).await?,
            Work::Expired => expired::run(desk).await?,
            Work::Pools => pools::run(desk).await?,
            Work::LostRecords => orphans::run(desk).await?,
        };
        Ok(Done::of(text))
    }
}

/// All records of a kind as the store has them: what the bus remembers of an outage's beginning is no ground to act on.
async fn all<T: Record>(bus: &Bus, query: Query) -> Result<Vec<Stored<T>>, Failure> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = bus.find::<T>(query.clone().after(after.take())).await?;
        if page.cached {
            return Err(Failure::Unavailable);
        }
        all.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// `0 users`, `1 user`, `2 users`.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
